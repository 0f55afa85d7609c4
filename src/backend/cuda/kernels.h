// The CUDA backend's kernel rows. Each is defined in the file <op>_<how>.cu; kernels.cu puts them in order.
#pragma once
#include "backend/kernel_row.h"

namespace quern::cuda {

extern const KernelRow<EmbedArgs> kEmbedRows;
extern const KernelRow<QkvArgs> kQkvStream, kQkvTiles, kQkvCublaslt, kQkvGeneric;
extern const KernelRow<AttentionArgs> kAttentionMma, kAttentionGeneric;
extern const KernelRow<LinearArgs> kLinearStream, kLinearTiles, kLinearCublaslt, kLinearGeneric;
extern const KernelRow<GateUpArgs> kGateUpStream, kGateUpTiles, kGateUpCublaslt, kGateUpGeneric;
extern const KernelRow<HeadArgs> kHeadStream, kHeadTiles, kHeadCublaslt, kHeadGeneric;
extern const KernelRow<SampleArgs> kSampleRow;

const DeviceTables& tables();

}  // namespace quern::cuda
