// The tables of CUDA, fastest first; the generic rows are last and take everything.
#include "backend/cuda/kernels.h"
#include "backend/cuda/layouts.h"

namespace quern::cuda {

const DeviceTables& tables() {
  static const KernelRow<EmbedArgs> embed[] = {kEmbedRows};
  static const KernelRow<QkvArgs> qkv[] = {kQkvGeneric};
  static const KernelRow<AttentionArgs> attention[] = {kAttentionGeneric};
  static const KernelRow<LinearArgs> linear[] = {kLinearGeneric};
  static const KernelRow<GateUpArgs> gate_up[] = {kGateUpGeneric};
  static const KernelRow<HeadArgs> head[] = {kHeadGeneric};
  static const WeightLayout layouts[] = {kScaledHalfLayout, kGranulesLayout};
  static const DeviceTables tables = {.embed = embed,
                                      .qkv = qkv,
                                      .attention = attention,
                                      .linear = linear,
                                      .gate_up = gate_up,
                                      .head = head,
                                      .sample = {},
                                      .layouts = layouts};
  return tables;
}

}  // namespace quern::cuda
