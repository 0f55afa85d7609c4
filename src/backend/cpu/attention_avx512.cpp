#include "backend/cpu/lanes_avx512.h"
// After its lanes.
#include "backend/cpu/attention_kernels.h"

namespace quern::cpu {
constinit const AttentionKernels kAttentionAvx512 = make_attention_kernels("avx512");
}  // namespace quern::cpu
