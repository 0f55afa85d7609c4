// The CPU as a device: memory from the system, copies at once, steps run where they are called.
#include <sys/mman.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "backend/cpu/features.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/rates.h"
#include "backend/device_runtime.h"
#include "base/checked.h"
#include "base/host_memory.h"
#include "base/thread_pool.h"

namespace quern {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;  // mappings from this size on are aligned to it and advised to use such pages
constexpr size_t kLine = 64;

[[noreturn]] void raise_memory(size_t bytes, uint64_t available) {
  raise(resource, "memory: want {} bytes, {} are available", bytes, available);
}

// A mapping of `bytes` bytes that starts at a multiple of kHugePage, or null.
std::byte* map_huge(size_t bytes) {
  const size_t span = bytes + kHugePage;
  void* raw = mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(raw) % kHugePage) % kHugePage, behind = span - bytes - before;
  std::byte* data = static_cast<std::byte*>(raw) + before;
  if (before != 0) munmap(raw, before);
  if (behind != 0) munmap(data + bytes, behind);
  madvise(data, bytes, MADV_HUGEPAGE);  // a refusal only costs speed
  return data;
}

class CpuRuntime final : public DeviceRuntime {
 public:
  explicit CpuRuntime(const BackendOptions& options) : pool_(options.num_threads) {
    CpuFeatures features = without(detect_cpu_features(), options.forced_off, "instruction sets to switch off");
    if (const char* off = std::getenv("QUERN_CPU_OFF")) features = without(features, off, "QUERN_CPU_OFF");
    const HostMemory memory = host_memory();
    info_.name = fmt::format("{}, {} threads, {}", cpu_name(), pool_.num_threads(), features.text());
    info_.memory_bytes = memory.total_bytes;
    info_.free_bytes = memory.available_bytes;
    info_.num_threads = pool_.num_threads();
    info_.avx2 = features.avx2;
    info_.avx512 = features.avx512;
    info_.avx512_vnni = features.avx512_vnni;
    info_.avx512_bf16 = features.avx512_bf16;
    // Its rows are right but not faster in all that was measured (docs/performance.md).
    info_.amx = features.amx && std::getenv("QUERN_CPU_AMX") != nullptr;
    stream_ = {.info = &info_, .pool = &pool_};
  }

  const DeviceInfo& info() const override { return info_; }
  const DeviceTables& tables() const override { return cpu::tables(); }
  Stream& stream() override { return stream_; }

  Storage allocate(size_t bytes) override {
    const Checked wanted = Checked(bytes < kLine ? kLine : bytes).align_up(bytes < kHugePage ? kLine : 4096);
    const size_t size = wanted.overflowed() ? bytes : wanted.or_throw("memory");
    if (bytes >= kHugePage) {  // the system would promise more than it has and end the process later
      if (const uint64_t available = host_memory().available_bytes; size > available) raise_memory(bytes, available);
      std::byte* data = map_huge(size);
      if (data == nullptr) raise_memory(bytes, host_memory().available_bytes);
      return Storage(data, bytes, info_.device, [size](std::byte* p) { munmap(p, size); });
    }
    auto* data = static_cast<std::byte*>(std::aligned_alloc(kLine, size));
    if (data == nullptr) raise_memory(bytes, host_memory().available_bytes);
    return Storage(data, bytes, info_.device, [](std::byte* p) { std::free(p); });
  }

  void upload(std::byte* device, const void* host, size_t bytes) override {
    if (bytes != 0) std::memcpy(device, host, bytes);
  }
  void download(void* host, const std::byte* device, size_t bytes) override {
    if (bytes != 0) std::memcpy(host, device, bytes);
  }
  void clear(std::byte* device, size_t bytes) override {
    if (bytes != 0) std::memset(device, 0, bytes);
  }
  void synchronize() override {}
  void step(uint64_t, const std::function<void()>& body) override { body(); }
  size_t padded_rows(size_t rows) const override { return rows; }
  double measure_read_bandwidth() override { return cpu::read_bandwidth(pool_, info_); }
  UnitRate measure_operations(Format weights) override { return cpu::operation_rate(pool_, info_, weights); }

 private:
  ThreadPool pool_;
  DeviceInfo info_;
  Stream stream_;
};

}  // namespace

std::unique_ptr<DeviceRuntime> open_cpu(const BackendOptions& options) { return std::make_unique<CpuRuntime>(options); }

}  // namespace quern
