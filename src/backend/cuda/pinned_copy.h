// Copies between pageable host memory and the GPU through pinned buffers: the source may be reused when upload returns, and the GPU
// copies one piece while the next is read. Owned by the runtime; engine thread.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <memory>

namespace quern {
class ThreadPool;
}

namespace quern::cuda {

class PinnedCopy {
 public:
  explicit PinnedCopy(cudaStream_t stream);
  ~PinnedCopy();
  PinnedCopy(const PinnedCopy&) = delete;
  PinnedCopy& operator=(const PinnedCopy&) = delete;

  void upload(std::byte* device, const void* host, size_t bytes);
  void download(void* host, const std::byte* device, size_t bytes);  // waits for the stream

 private:
  static constexpr size_t kBuffers = 4, kBufferBytes = size_t{8} << 20;

  struct Buffer {
    std::byte* data = nullptr;
    cudaEvent_t free = nullptr;  // recorded when its copy was issued
  };
  Buffer& next_buffer();

  cudaStream_t stream_;
  Buffer buffers_[kBuffers];
  size_t next_ = 0;
  std::unique_ptr<ThreadPool> readers_;  // for large copies: one core cannot read as fast as the GPU takes
};

}  // namespace quern::cuda
