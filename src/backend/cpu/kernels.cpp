// The tables of the CPU, fastest first; the scalar rows are last and take every format in the canonical layout.
#include "backend/cpu/kernels.h"

namespace quern::cpu {

const DeviceTables& tables() {
  static const KernelRow<EmbedArgs> embed[] = {kEmbedScalar};
  static const KernelRow<QkvArgs> qkv[] = {kQkvScalar};
  static const KernelRow<AttentionArgs> attention[] = {kAttentionScalar};
  static const KernelRow<LinearArgs> linear[] = {kLinearScalar};
  static const KernelRow<GateUpArgs> gate_up[] = {kGateUpScalar};
  static const KernelRow<HeadArgs> head[] = {kHeadScalar};
  static const KernelRow<SampleArgs> sample[] = {
#ifdef __x86_64__
      kSampleAvx2,
#endif
      kSampleScalar};
  static const DeviceTables tables = {
      .embed = embed, .qkv = qkv, .attention = attention, .linear = linear, .gate_up = gate_up, .head = head, .sample = sample, .layouts = {}};
  return tables;
}

}  // namespace quern::cpu
