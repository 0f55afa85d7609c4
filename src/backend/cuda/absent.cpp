// A build without CUDA: no device, no tables.
#include "backend/device_runtime.h"

namespace quern {

std::unique_ptr<DeviceRuntime> open_cuda(const BackendOptions&) {
  raise(incompatible, "--device cuda: this build has no CUDA backend; want a build with the cuda preset");
}
size_t num_cuda_devices() { return 0; }

}  // namespace quern
