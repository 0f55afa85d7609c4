// The instructions that kernels use beyond plain C++, one function each.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

namespace quern::cuda {

#define QUERN_DEVICE __device__ __forceinline__
#define QUERN_DEVICE_HOST __host__ __device__ inline

// Launches that overlap (sm_90).

// Until here a kernel may only touch weights and step tables; from here on everything before it in the stream is done and visible.
QUERN_DEVICE void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel in the stream start once every block has come here; it still waits for this one's end where it must.
QUERN_DEVICE void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Ends the kernel and takes the GPU away from the program.
QUERN_DEVICE void trap() { asm volatile("trap;"); }

// Shared memory.

extern __shared__ __align__(128) unsigned char dynamic_smem_bytes[];
QUERN_DEVICE unsigned char* dynamic_smem() { return dynamic_smem_bytes; }

QUERN_DEVICE uint32_t smem_address(const void* at) { return static_cast<uint32_t>(__cvta_generic_to_shared(at)); }

QUERN_DEVICE uint4 load16(const void* at) { return *static_cast<const uint4*>(at); }

// Copies 16 bytes from global to shared memory in the background. `stream_policy`: an L2 policy of evict_first_policy(), for data that
// is read once.
QUERN_DEVICE uint64_t evict_first_policy() { return 0; }
QUERN_DEVICE void copy16(void* smem, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(smem_address(smem)), "l"(global) : "memory");
}
QUERN_DEVICE void copy16(void* smem, const void* global, uint64_t) { copy16(smem, global); }
// Brings `bytes` (a multiple of 16) of global memory into the second-level cache, in the background.
QUERN_DEVICE void prefetch_l2(const void* global, uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(global), "r"(bytes) : "memory");
#endif
}
QUERN_DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most kPending of this thread's latest groups are under way.
template <int kPending>
QUERN_DEVICE void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// a / b to within two units in the last place; 0 where b is above 2^126.
QUERN_DEVICE float quotient_of(float a, float b) {
  float d;
  asm("div.approx.f32 %0, %1, %2;" : "=f"(d) : "f"(a), "f"(b));
  return d;
}
// 2^x to within two units in the last place; below 2^-126 it is 0.
QUERN_DEVICE float exp2_of(float x) {
  float d;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(d) : "f"(x));
  return d;
}

// 16-bit values, two in a register: the low half is the first.

QUERN_DEVICE uint32_t half2_subtract(uint32_t a, uint32_t b) {
  uint32_t d;
  asm("sub.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}
QUERN_DEVICE uint32_t half2_fma(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
QUERN_DEVICE uint32_t half2_from_floats(float low, float high) {
  uint32_t d;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
  return d;
}
QUERN_DEVICE uint32_t bfloat2_from_floats(float low, float high) {
  uint32_t d;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
  return d;
}
QUERN_DEVICE uint16_t half_from_float(float value) {
  uint16_t d;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(d) : "f"(value));
  return d;
}
QUERN_DEVICE float float_from_half(uint16_t value) {
  float d;
  asm("cvt.f32.f16 %0, %1;" : "=f"(d) : "h"(value));
  return d;
}
QUERN_DEVICE uint32_t permute_bytes(uint32_t a, uint32_t b, uint32_t selector) { return __byte_perm(a, b, selector); }
QUERN_DEVICE uint32_t and_or(uint32_t value, uint32_t mask, uint32_t bits) {
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(value), "r"(mask), "r"(bits));
  return d;
}

// Matrix instructions: d += a b, a 16 x 16, b 16 x 8, f32 sums.
// Lane 4 g + t holds of a: rows g (a0, a2) and g + 8 (a1, a3), columns 2 t, 2 t + 1 (a0, a1) and 8 more (a2, a3); of b: column g, rows
// 2 t, 2 t + 1 (b0) and 8 more (b1); of d: row g (x, y) and g + 8 (z, w), columns 2 t, 2 t + 1.

QUERN_DEVICE void mma_f16(float4& d, uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d.x), "+f"(d.y), "+f"(d.z), "+f"(d.w)
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
QUERN_DEVICE void mma_bf16(float4& d, uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d.x), "+f"(d.y), "+f"(d.z), "+f"(d.w)
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Four 8 x 8 matrices of 16-bit values; lane i gives the address of row i % 8 of matrix i / 8. Lane 4 g + t receives of each: row g,
// columns 2 t and 2 t + 1; transposed: rows 2 t and 2 t + 1 of column g.
QUERN_DEVICE uint4 load_matrices(const void* row) {
  uint4 v;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(smem_address(row))
               : "memory");
  return v;
}
QUERN_DEVICE uint4 load_matrices_transposed(const void* row) {
  uint4 v;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(smem_address(row))
               : "memory");
  return v;
}

// Between the threads of a warp or a block.

template <class T>
QUERN_DEVICE T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xffffffffU, value, mask);
}
template <class T>
QUERN_DEVICE T shuffle(T value, int lane) {
  return __shfl_sync(0xffffffffU, value, lane);
}
// For any type of whole words.
template <class T>
QUERN_DEVICE T shuffle_xor_any(const T& value, int mask) {
  static_assert(sizeof(T) % 4 == 0);
  uint32_t words[sizeof(T) / 4];
  memcpy(words, &value, sizeof(T));
#pragma unroll
  for (uint32_t& word : words) word = shuffle_xor(word, mask);
  T result;
  memcpy(&result, words, sizeof(T));
  return result;
}
QUERN_DEVICE void sync_warp() { __syncwarp(); }
QUERN_DEVICE void sync_block() { __syncthreads(); }
// A barrier of `threads` threads (whole warps), one of 1..15.
QUERN_DEVICE void sync_threads(int barrier, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory"); }

// Between the blocks of a cluster (sm_90).

QUERN_DEVICE uint32_t cluster_rank() {
#if __CUDA_ARCH__ >= 900
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
#else
  return 0;
#endif
}
// The two halves of sync_cluster(): between them a thread may work on what the barrier does not order.
QUERN_DEVICE void arrive_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
QUERN_DEVICE void wait_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}
QUERN_DEVICE void sync_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}
// 16 bytes at this block's shared address `at`, in the block of `rank`.
QUERN_DEVICE float4 load_cluster16(const void* at, uint32_t rank) {
  float4 v = {};
#if __CUDA_ARCH__ >= 900
  uint32_t address;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(smem_address(at)), "r"(rank));
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(address) : "memory");
#endif
  return v;
}

// The same of 8 and 4 bytes.
QUERN_DEVICE float2 load_cluster8(const void* at, uint32_t rank) {
  float2 v = {};
#if __CUDA_ARCH__ >= 900
  uint32_t address;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(smem_address(at)), "r"(rank));
  asm volatile("ld.shared::cluster.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(address) : "memory");
#endif
  return v;
}
QUERN_DEVICE float load_cluster4(const void* at, uint32_t rank) {
  float v = 0;
#if __CUDA_ARCH__ >= 900
  uint32_t address;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(smem_address(at)), "r"(rank));
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(v) : "r"(address) : "memory");
#endif
  return v;
}

// Between the blocks of a grid.

// A value that another block of this grid has written.
QUERN_DEVICE float load_l2(const float* at) { return __ldcg(at); }
QUERN_DEVICE float2 load_l2_8(const float* at) { return __ldcg(reinterpret_cast<const float2*>(at)); }
QUERN_DEVICE float4 load_l2_16(const float* at) { return __ldcg(reinterpret_cast<const float4*>(at)); }
template <class T>
QUERN_DEVICE T atomic_add(T* at, T value) {
  return atomicAdd(at, value);
}
QUERN_DEVICE void atomic_max(unsigned* at, unsigned value) { atomicMax(at, value); }

// Adds `count` to *counter after this block's writes are visible to the whole device; returns the value before, and makes what others
// wrote before they arrived visible. To be called between two block barriers.
QUERN_DEVICE int arrive(int32_t* counter, int count) {
  int before;
  asm volatile("atom.acq_rel.gpu.global.add.s32 %0, [%1], %2;" : "=r"(before) : "l"(counter), "r"(count) : "memory");
  return before;
}

}  // namespace quern::cuda
