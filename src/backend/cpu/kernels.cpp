// The tables of the CPU, fastest first; the scalar rows are last and take every format in the canonical layout.
#include "backend/cpu/kernels.h"

#include <vector>

#include "backend/cpu/panels.h"

namespace quern::cpu {
namespace {

template <class Args>
std::vector<KernelRow<Args>> rows(std::span<const KernelRow<Args>> fast, const KernelRow<Args>& scalar) {
  std::vector<KernelRow<Args>> all(fast.begin(), fast.end());
  all.push_back(scalar);
  return all;
}

}  // namespace

const DeviceTables& tables() {
  static const std::vector<KernelRow<QkvArgs>> qkv = rows(qkv_panel_rows(), kQkvScalar);
  static const std::vector<KernelRow<LinearArgs>> linear = rows(linear_panel_rows(), kLinearScalar);
  static const std::vector<KernelRow<GateUpArgs>> gate_up = rows(gate_up_panel_rows(), kGateUpScalar);
  static const std::vector<KernelRow<HeadArgs>> head = rows(head_panel_rows(), kHeadScalar);
  static const KernelRow<EmbedArgs> embed[] = {kEmbedScalar};
  static const std::vector<KernelRow<AttentionArgs>> attention = rows(attention_rows(), kAttentionScalar);
  static const KernelRow<SampleArgs> sample[] = {
#ifdef __x86_64__
      kSampleAvx2,
#endif
      kSampleScalar};
  static const DeviceTables tables = {.embed = embed,
                                      .qkv = qkv,
                                      .attention = attention,
                                      .linear = linear,
                                      .gate_up = gate_up,
                                      .head = head,
                                      .sample = sample,
                                      .layouts = {&kPanelLayout, 1}};
  return tables;
}

}  // namespace quern::cpu
