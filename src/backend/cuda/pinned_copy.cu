#include <algorithm>
#include <cstring>

#include "backend/cuda/cuda_check.h"
#include "backend/cuda/pinned_copy.h"
#include "base/thread_pool.h"

namespace quern::cuda {
namespace {

constexpr size_t kMaxReaders = 8, kGrain = size_t{256} << 10;

}  // namespace

PinnedCopy::PinnedCopy(cudaStream_t stream) : stream_(stream) {
  for (Buffer& buffer : buffers_) {
    cuda_check(cudaMallocHost(reinterpret_cast<void**>(&buffer.data), kBufferBytes), "pinned host memory");
    cuda_check(cudaEventCreateWithFlags(&buffer.free, cudaEventDisableTiming), "pinned host memory");
  }
}

PinnedCopy::~PinnedCopy() {
  for (const Buffer& buffer : buffers_) {
    if (buffer.free != nullptr) cudaEventDestroy(buffer.free);
    if (buffer.data != nullptr) cudaFreeHost(buffer.data);
  }
}

PinnedCopy::Buffer& PinnedCopy::next_buffer() {
  Buffer& buffer = buffers_[next_++ % kBuffers];
  cuda_check(cudaEventSynchronize(buffer.free), "copying to the GPU");
  return buffer;
}

void PinnedCopy::upload(std::byte* device, const void* host, size_t bytes) {
  const auto* from = static_cast<const std::byte*>(host);
  if (bytes > kBufferBytes && readers_ == nullptr) readers_ = std::make_unique<ThreadPool>(std::min(usable_cores(), kMaxReaders));
  for (size_t done = 0; done < bytes;) {
    const size_t part = std::min(bytes - done, kBufferBytes);
    const Buffer& buffer = next_buffer();
    if (readers_ != nullptr && part > kGrain) {
      readers_->parallel_for(part, kGrain,
                             [&](size_t begin, size_t end) { std::memcpy(buffer.data + begin, from + done + begin, end - begin); });
    } else {
      std::memcpy(buffer.data, from + done, part);
    }
    cuda_check(cudaMemcpyAsync(device + done, buffer.data, part, cudaMemcpyHostToDevice, stream_), "copying to the GPU");
    cuda_check(cudaEventRecord(buffer.free, stream_), "copying to the GPU");
    done += part;
  }
}

void PinnedCopy::download(void* host, const std::byte* device, size_t bytes) {
  auto* to = static_cast<std::byte*>(host);
  for (size_t done = 0; done < bytes;) {
    const size_t part = std::min(bytes - done, kBufferBytes);
    const Buffer& buffer = next_buffer();
    cuda_check(cudaMemcpyAsync(buffer.data, device + done, part, cudaMemcpyDeviceToHost, stream_), "copying from the GPU");
    cuda_check(cudaStreamSynchronize(stream_), "copying from the GPU");
    std::memcpy(to + done, buffer.data, part);
    done += part;
  }
  if (bytes == 0) cuda_check(cudaStreamSynchronize(stream_), "copying from the GPU");
}

}  // namespace quern::cuda
