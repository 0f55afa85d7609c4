// What differs between devices besides kernels: memory, copies, waiting, captured steps. Implemented by cpu/runtime.cpp and
// cuda/runtime.cu (or cuda/absent.cpp in a build without CUDA). Owned by Backend; used on the engine thread.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>

#include "backend/kernel_row.h"

namespace quern {

struct BackendOptions {
  Device device;
  size_t num_threads = 0;  // CPU: 0 = usable_cores()
  std::string forced_off;  // CPU: instruction sets not to use, comma-separated ("avx512,avx2"); QUERN_CPU_OFF adds to it
  std::string kernels;     // "op=row,op=row": run this row or fail (--kernel)
};

// What the unit that multiplies weights of some format can do.
struct UnitRate {
  const char* unit = "";  // type of the products: f32, bf16, int8
  double operations = 0;  // a second; a multiply-add is two. 0: not measured
};

class DeviceRuntime {
 public:
  virtual ~DeviceRuntime() = default;

  virtual const DeviceInfo& info() const = 0;
  virtual const DeviceTables& tables() const = 0;
  virtual Stream& stream() = 0;

  // Memory on the device, 64-byte aligned or better, not cleared. Throws resource with needed and available bytes.
  virtual Storage allocate(size_t bytes) = 0;
  // Copies between host memory and the device; both are ordered with the stream. upload may return before the copy is done, the source
  // having been read; download waits.
  virtual void upload(std::byte* device, const void* host, size_t bytes) = 0;
  virtual void download(void* host, const std::byte* device, size_t bytes) = 0;
  virtual void clear(std::byte* device, size_t bytes) = 0;
  virtual void synchronize() = 0;

  // Runs `body`, which only launches work on the stream and whose launches depend on `key` alone. A device with graphs captures it
  // the first time and replays it afterwards.
  virtual void step(uint64_t key, const std::function<void()>& body) = 0;
  // Forgets all captured steps. Whoever owns memory that steps use calls it before that memory goes.
  virtual void forget_steps() {}
  // The number of rows that a decode step of `rows` sequences is padded to, so that few keys occur. CPU: rows.
  virtual size_t padded_rows(size_t rows) const = 0;

  // See backend/measure.h. 0: this device has no such measurement.
  virtual double measure_read_bandwidth() { return 0; }
  virtual UnitRate measure_operations(Format /*weights*/) { return {}; }
};

std::unique_ptr<DeviceRuntime> open_cpu(const BackendOptions& options);
std::unique_ptr<DeviceRuntime> open_cuda(const BackendOptions& options);  // throws incompatible in a build without CUDA
size_t num_cuda_devices();                                                // 0 without CUDA, driver or GPU

}  // namespace quern
