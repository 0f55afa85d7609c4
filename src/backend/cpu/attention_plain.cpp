#include "backend/cpu/lanes_plain.h"
// After its lanes.
#include "backend/cpu/attention_kernels.h"

namespace quern::cpu {
constinit const AttentionKernels kAttentionPlain = make_attention_kernels("plain");
}  // namespace quern::cpu
