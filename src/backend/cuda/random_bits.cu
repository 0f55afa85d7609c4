// splitmix64 of (seed, index): each value depends on its place alone.
#include "backend/cuda/launch.h"
#include "backend/cuda/random_bits.h"
#include "backend/cuda/values.cuh"

namespace quern::cuda {
namespace {

constexpr unsigned kBlocks = 2048, kThreads = 256;

QUERN_DEVICE uint32_t random_word(uint64_t seed, size_t i) {
  uint64_t z = seed * 0xd1342543de82ef95ULL + i * 0x9e3779b97f4a7c15ULL;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
  return static_cast<uint32_t>(z >> 32);
}

__global__ void write_bits(uint32_t* to, size_t words, uint64_t seed) {
  wait_for_previous();
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < words; i += static_cast<size_t>(gridDim.x) * blockDim.x)
    to[i] = random_word(seed, i);
}

__global__ void write_halves(uint16_t* to, size_t count, uint64_t seed) {
  wait_for_previous();
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += static_cast<size_t>(gridDim.x) * blockDim.x)
    to[i] = half_from_float(static_cast<float>(static_cast<int32_t>(random_word(seed, i))) * 0x1p-31F);
}

}  // namespace

void fill_random_bits(std::byte* to, size_t bytes, uint64_t seed, CudaStream& stream) {
  launch("write_bits", &write_bits, {kBlocks, kThreads}, stream, reinterpret_cast<uint32_t*>(to), bytes / 4, seed);
}
void fill_random_halves(uint16_t* to, size_t count, uint64_t seed, CudaStream& stream) {
  launch("write_halves", &write_halves, {kBlocks, kThreads}, stream, to, count, seed);
}

}  // namespace quern::cuda
