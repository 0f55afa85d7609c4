// Sampling with 8 logits at a time.
#include "backend/cpu/kernels.h"
#include "backend/cpu/sample_loops.h"

namespace quern::cpu {
namespace {
struct Avx2 {};
}  // namespace

namespace {

// A named function: a lambda here would be a weak symbol with AVX2 code in it.
bool supports(const SampleArgs&, const DeviceInfo& device) { return device.avx2; }

}  // namespace

const KernelRow<SampleArgs> kSampleAvx2 = {"sample_avx2", &supports, &SampleLoopsFor<Avx2>::run};

}  // namespace quern::cpu
