#include "backend/cpu/lanes_avx2.h"
// After its lanes.
#include "backend/cpu/attention_kernels.h"

namespace quern::cpu {
constinit const AttentionKernels kAttentionAvx2 = make_attention_kernels("avx2");
}  // namespace quern::cpu
