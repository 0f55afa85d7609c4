// Sampling on any processor.
#include "backend/cpu/kernels.h"
#include "backend/cpu/sample_loops.h"

namespace quern::cpu {
namespace {
struct Scalar {};
}  // namespace

const KernelRow<SampleArgs> kSampleScalar = {"sample_scalar", [](const SampleArgs&, const DeviceInfo&) { return true; },
                                             &SampleLoopsFor<Scalar>::run};

}  // namespace quern::cpu
