// The CUDA backend's kernel rows. Each is defined in the file <op>_<how>.cu; kernels.cu puts them in order.
#pragma once
#include "backend/kernel_row.h"

namespace quern::cuda {

extern const KernelRow<EmbedArgs> kEmbedRows;
extern const KernelRow<QkvArgs> kQkvGeneric;
extern const KernelRow<AttentionArgs> kAttentionGeneric;
extern const KernelRow<LinearArgs> kLinearGeneric;
extern const KernelRow<GateUpArgs> kGateUpGeneric;
extern const KernelRow<HeadArgs> kHeadGeneric;
extern const KernelRow<SampleArgs> kSampleRow;

const DeviceTables& tables();

}  // namespace quern::cuda
