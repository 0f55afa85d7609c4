// The tables of CUDA, fastest first; the generic rows are last and take everything.
#include "backend/cuda/kernels.h"
#include "backend/cuda/layouts.h"

namespace quern::cuda {

const DeviceTables& tables() {
  static const KernelRow<EmbedArgs> embed[] = {kEmbedRows};
  static const KernelRow<QkvArgs> qkv[] = {kQkvStream, kQkvTiles, kQkvCublaslt, kQkvGeneric};
  static const KernelRow<AttentionArgs> attention[] = {kAttentionMma, kAttentionGeneric};
  static const KernelRow<LinearArgs> linear[] = {kLinearStream, kLinearTiles, kLinearCublaslt, kLinearGeneric};
  static const KernelRow<GateUpArgs> gate_up[] = {kGateUpStream, kGateUpTiles, kGateUpCublaslt, kGateUpGeneric};
  static const KernelRow<HeadArgs> head[] = {kHeadStream, kHeadTiles, kHeadCublaslt, kHeadGeneric};
  static const KernelRow<SampleArgs> sample[] = {kSampleRow};
  static const WeightLayout layouts[] = {kScaledHalfLayout, kGranulesLayout};
  static const DeviceTables tables = {.embed = embed,
                                      .qkv = qkv,
                                      .attention = attention,
                                      .linear = linear,
                                      .gate_up = gate_up,
                                      .head = head,
                                      .sample = sample,
                                      .layouts = layouts};
  return tables;
}

}  // namespace quern::cuda
