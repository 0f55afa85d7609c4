// The limits that benches and figures are a share of. H100 80GB: 3.1 TB/s; 0.70 to 0.80 PFLOP/s, by the card's clocks under load.
#include <algorithm>
#include <cmath>

#include "backend/cuda/cublaslt.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/measure.h"
#include "backend/cuda/ptx.cuh"
#include "backend/cuda/random_bits.h"

namespace quern::cuda {
namespace {

constexpr size_t kReadBytes = size_t{2} << 30, kSide = 8192;
constexpr unsigned kReadThreads = 512, kLoads = 8;  // 16-byte loads of a thread, all under way at one time
constexpr size_t kReadBlockBytes = size_t{kReadThreads} * kLoads * 16;
constexpr int kPasses = 10;

// The sum keeps the loads alive; it is written when it equals a number that random data do not give.
__global__ void __launch_bounds__(kReadThreads) read_all(const uint4* data, uint32_t* out) {
  wait_for_previous();
  const uint4* const mine = data + static_cast<size_t>(blockIdx.x) * kReadThreads * kLoads + threadIdx.x;
  uint4 v[kLoads];
#pragma unroll
  for (unsigned i = 0; i < kLoads; ++i) v[i] = __ldcs(mine + i * kReadThreads);
  uint32_t sum = 0;
#pragma unroll
  for (unsigned i = 0; i < kLoads; ++i) sum ^= v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
  if (sum == 0x5eed5eed) *out = sum;
}

// Seconds of the fastest of kPasses calls of work().
template <class Work>
double fastest(cudaStream_t stream, const Work& work) {
  cudaEvent_t begin = nullptr, end = nullptr;
  cuda_check(cudaEventCreate(&begin), "measuring");
  cuda_check(cudaEventCreate(&end), "measuring");
  float best = INFINITY;
  for (int pass = 0; pass < kPasses; ++pass) {
    cuda_check(cudaEventRecord(begin, stream), "measuring");
    work();
    cuda_check(cudaEventRecord(end, stream), "measuring");
    cuda_check(cudaEventSynchronize(end), "measuring");
    float ms = 0;
    cuda_check(cudaEventElapsedTime(&ms, begin, end), "measuring");
    if (pass > 1) best = std::min(best, ms);  // the first ones warm the clocks
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return static_cast<double>(best) * 1e-3;
}

// `wanted` bytes, or as many as are free, a multiple of a block's.
size_t affordable(const CudaStream& stream, size_t wanted) {
  return std::min(wanted, static_cast<size_t>(stream.info->free_bytes) / 2) / kReadBlockBytes * kReadBlockBytes;
}

}  // namespace

double measure_reads(CudaStream& stream) {
  const size_t bytes = affordable(stream, kReadBytes);
  if (bytes == 0) return 0;
  const Storage data = stream.runtime->allocate(bytes + 256);
  fill_random_bits(data.data(), bytes, 1, stream);
  auto* const out = reinterpret_cast<uint32_t*>(data.data() + bytes);
  const double seconds = fastest(stream.handle, [&] {
    launch("read_all", &read_all, {static_cast<unsigned>(bytes / kReadBlockBytes), kReadThreads}, stream,
           reinterpret_cast<const uint4*>(data.data()), out);
  });
  return static_cast<double>(bytes) / seconds;
}

double measure_products(CudaStream& stream) {
  Cublaslt* const library = stream.cublaslt();
  constexpr size_t kMatrix = kSide * kSide * sizeof(uint16_t);
  if (library == nullptr || stream.info->free_bytes < 4 * kMatrix) return 0;
  const Storage memory = stream.runtime->allocate(3 * kMatrix + Cublaslt::kWorkspaceBytes);
  std::byte* const x = memory.data();
  fill_random_halves(reinterpret_cast<uint16_t*>(x), 2 * kSide * kSide, 2, stream);
  const Gemm product = {.x = x,
                        .w = x + kMatrix,
                        .y = x + 2 * kMatrix,
                        .rows = kSide,
                        .columns = kSide,
                        .features = kSide,
                        .y_stride = kSide,
                        .y_format = Format::f16};
  const double seconds = fastest(stream.handle, [&] { library->run(product, x + 3 * kMatrix, stream); });
  return 2.0 * kSide * kSide * kSide / seconds;
}

}  // namespace quern::cuda
