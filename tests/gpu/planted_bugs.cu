// One bug a tool of compute-sanitizer, so that a silent tool is not taken for a clean run: planted_bugs
// memcheck|racecheck|initcheck|synccheck.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>

namespace {

__global__ void write_behind_the_end(int* data, int count) { data[threadIdx.x + static_cast<unsigned>(count) - 31] = 1; }

__global__ void read_without_a_barrier(int* data) {
  __shared__ int shared[64];
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  data[threadIdx.x] = shared[63 - threadIdx.x];  // of the other warp
}

__global__ void read_what_nobody_wrote(int* data) { data[threadIdx.x] = data[threadIdx.x + 32] + 1; }

__global__ void leave_before_the_barrier(int* data) {
  if (threadIdx.x % 2 == 0) __syncthreads();
  data[threadIdx.x] = 1;
}

}  // namespace

int main(int argc, char** argv) {
  int* data = nullptr;
  if (argc != 2 || cudaMalloc(&data, 64 * sizeof(int)) != cudaSuccess) return 2;
  const auto is = [&](const char* tool) { return std::strcmp(argv[1], tool) == 0; };
  if (is("memcheck")) write_behind_the_end<<<1, 32>>>(data, 64);
  if (is("racecheck")) read_without_a_barrier<<<1, 64>>>(data);
  if (is("initcheck")) read_what_nobody_wrote<<<1, 32>>>(data);
  if (is("synccheck")) leave_before_the_barrier<<<1, 32>>>(data);
  std::printf("%s\n", cudaGetErrorString(cudaDeviceSynchronize()));
  return 0;
}
