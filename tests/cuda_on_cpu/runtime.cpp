// The CUDA backend's device where kernels run on the CPU: host memory, immediate copies, four multiprocessors.
#include <cstdlib>
#include <cstring>

#include "backend/cuda/cuda_stream.h"
#include "backend/cuda/kernels.h"

namespace quern {
namespace cuda {

// No library here: its rows take nothing.
class Cublaslt {};
Cublaslt* CudaStream::cublaslt() { return nullptr; }

template <class Args>
constexpr KernelRow<Args> kNothing = {"none", [](const Args&, const DeviceInfo&) { return false; }, nullptr};
const KernelRow<LinearArgs> kLinearCublaslt = kNothing<LinearArgs>;
const KernelRow<QkvArgs> kQkvCublaslt = kNothing<QkvArgs>;
const KernelRow<GateUpArgs> kGateUpCublaslt = kNothing<GateUpArgs>;
const KernelRow<HeadArgs> kHeadCublaslt = kNothing<HeadArgs>;

namespace {

class EmulatedRuntime final : public DeviceRuntime {
 public:
  EmulatedRuntime() {
    info_.device = {Device::Kind::cuda, 0};
    info_.name = "emulation";
    info_.sm = 90;
    info_.num_sms = 4;
    info_.smem_per_block = 227 * 1024;
    info_.activations = Format::f16;
    stream_.info = &info_;
    stream_.runtime = this;
    stream_.overlaps_launches = true;
    counters_ = allocate(CudaStream::kNumCounters * 4);
    clear(counters_.data(), counters_.bytes());
    stream_.counters = reinterpret_cast<int32_t*>(counters_.data());
  }
  const DeviceInfo& info() const override { return info_; }
  const DeviceTables& tables() const override { return cuda::tables(); }
  Stream& stream() override { return stream_; }
  Storage allocate(size_t bytes) override {
    auto* data = static_cast<std::byte*>(std::aligned_alloc(256, (bytes + 511) / 256 * 256));
    return Storage(data, bytes, info_.device, [](std::byte* p) { std::free(p); });
  }
  void upload(std::byte* device, const void* host, size_t bytes) override { std::memcpy(device, host, bytes); }
  void download(void* host, const std::byte* device, size_t bytes) override { std::memcpy(host, device, bytes); }
  void clear(std::byte* device, size_t bytes) override { std::memset(device, 0, bytes); }
  void synchronize() override {}
  void step(uint64_t, const std::function<void()>& body) override { body(); }
  size_t padded_rows(size_t rows) const override { return rows; }

 private:
  DeviceInfo info_;
  CudaStream stream_;
  Storage counters_;
};

}  // namespace
}  // namespace cuda

std::unique_ptr<DeviceRuntime> open_cuda(const BackendOptions&) { return std::make_unique<cuda::EmulatedRuntime>(); }
size_t num_cuda_devices() { return 1; }

}  // namespace quern
