// What the CUDA backend's kernels and packers know beyond Stream. Made and owned by runtime.cu; engine thread.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "backend/device_runtime.h"

namespace quern::cuda {

class Cublaslt;

struct CudaStream : Stream {
  DeviceRuntime* runtime = nullptr;
  cudaStream_t handle = nullptr;
  bool overlaps_launches = false;  // sm_90 on: a kernel may start before the one before it has ended, and waits where it must

  // Arrival counters of kernels whose last block to arrive finishes the work: zero between kernels.
  int32_t* counters = nullptr;
  static constexpr size_t kNumCounters = size_t{1} << 18;

  // Device memory for weights on their way to a private layout; made by the first weight, freed by the first step.
  Storage staging;

  // Null when the library cannot be opened; the first call looks for it.
  Cublaslt* cublaslt();
  std::shared_ptr<Cublaslt> cublaslt_library;
  bool looked_for_cublaslt = false;
};

inline CudaStream& cuda_stream(Stream& stream) { return static_cast<CudaStream&>(stream); }

// Part of the workspace of a kernel row, cut from the front; 256-byte aligned.
class Workspace {
 public:
  explicit Workspace(const Stream& stream) : next_(stream.workspace), left_(stream.workspace_bytes) {}

  template <class T>
  T* take(size_t count) {
    const size_t bytes = aligned(count * sizeof(T));
    CHECK(bytes <= left_, "workspace: want {} more bytes, {} are left", bytes, left_);
    T* const taken = reinterpret_cast<T*>(next_);
    next_ += bytes;
    left_ -= bytes;
    return taken;
  }

  static constexpr size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

 private:
  std::byte* next_;
  size_t left_;
};

}  // namespace quern::cuda
