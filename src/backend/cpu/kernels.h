// The CPU's kernel rows. Each is defined in the file <op>_<how>.cpp; kernels.cpp puts them in order.
#pragma once
#include "backend/kernel_row.h"

namespace quern::cpu {

// product.cpp: rows for the layout of panels.h, fastest first.
std::span<const KernelRow<LinearArgs>> linear_panel_rows();
std::span<const KernelRow<QkvArgs>> qkv_panel_rows();
std::span<const KernelRow<GateUpArgs>> gate_up_panel_rows();
std::span<const KernelRow<HeadArgs>> head_panel_rows();
// attention.cpp, for blocks and heads of a multiple of 16.
std::span<const KernelRow<AttentionArgs>> attention_rows();

extern const KernelRow<EmbedArgs> kEmbedScalar;
extern const KernelRow<QkvArgs> kQkvScalar;
extern const KernelRow<AttentionArgs> kAttentionScalar;
extern const KernelRow<LinearArgs> kLinearScalar;
extern const KernelRow<GateUpArgs> kGateUpScalar;
extern const KernelRow<HeadArgs> kHeadScalar;
extern const KernelRow<SampleArgs> kSampleScalar, kSampleAvx2;

const DeviceTables& tables();

}  // namespace quern::cpu
