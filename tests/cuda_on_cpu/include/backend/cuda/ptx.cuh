// The instructions of src/backend/cuda/ptx.cuh in plain C++. A background copy is done at random when it is issued or when it is waited
// for, so that a kernel that reads too early, or overwrites too early, fails its test.
#pragma once
#include <cuda_runtime.h>

#include "base/float16.h"

namespace quern::cuda {

#define QUERN_DEVICE inline
#define QUERN_DEVICE_HOST inline

inline void wait_for_previous() {}
inline void let_next_start() {}
inline void trap() {}  // tests of a lost GPU do not run here

inline unsigned char* dynamic_smem() { return emulation::current().block->smem_data; }
inline uint4 load16(const void* at) { return *static_cast<const uint4*>(at); }

inline uint64_t evict_first_policy() { return 0; }
inline void copy16(void* smem, const void* global) {
  emulation::Copy copy{smem, global, 16, (emulation::random_bits() & 1) != 0};
  if (reinterpret_cast<uintptr_t>(smem) % 16 != 0 || reinterpret_cast<uintptr_t>(global) % 16 != 0) std::abort();
  if (copy.done) std::memcpy(smem, global, 16);
  emulation::current().open.push_back(copy);
}
inline void copy16(void* smem, const void* global, uint64_t) { copy16(smem, global); }
inline void prefetch_l2(const void*, uint32_t) {}
inline void copy_commit() {
  auto& thread = emulation::current();
  thread.groups.push_back(std::move(thread.open));
  thread.open.clear();
}
template <int kPending>
void copy_wait() {
  auto& groups = emulation::current().groups;
  while (groups.size() > kPending) {
    for (const emulation::Copy& copy : groups.front()) {
      if (!copy.done) std::memcpy(copy.to, copy.from, copy.bytes);
    }
    groups.erase(groups.begin());
  }
}

inline float quotient_of(float a, float b) { return a / b; }
inline float exp2_of(float x) { return std::exp2(x); }

inline float half_low(uint32_t v) { return f16_to_f32(static_cast<uint16_t>(v)); }
inline float half_high(uint32_t v) { return f16_to_f32(static_cast<uint16_t>(v >> 16)); }
inline uint32_t half2_from_floats(float low, float high) { return f32_to_f16(low) | static_cast<uint32_t>(f32_to_f16(high)) << 16; }
inline uint32_t bfloat2_from_floats(float low, float high) { return f32_to_bf16(low) | static_cast<uint32_t>(f32_to_bf16(high)) << 16; }
inline uint32_t half2_subtract(uint32_t a, uint32_t b) { return half2_from_floats(half_low(a) - half_low(b), half_high(a) - half_high(b)); }
inline uint32_t half2_fma(uint32_t a, uint32_t b, uint32_t c) {
  return half2_from_floats(std::fma(half_low(a), half_low(b), half_low(c)), std::fma(half_high(a), half_high(b), half_high(c)));
}
inline uint16_t half_from_float(float value) { return f32_to_f16(value); }
inline float float_from_half(uint16_t value) { return f16_to_f32(value); }
inline uint32_t permute_bytes(uint32_t a, uint32_t b, uint32_t selector) {
  uint32_t d = 0;
  const uint64_t bytes = a | static_cast<uint64_t>(b) << 32;
  for (int i = 0; i < 4; ++i) d |= static_cast<uint32_t>(bytes >> ((selector >> (4 * i) & 7) * 8) & 0xff) << (8 * i);
  return d;
}
inline uint32_t and_or(uint32_t value, uint32_t mask, uint32_t bits) { return (value & mask) | bits; }

struct MmaArguments {
  float4* d;
  uint32_t a[4], b[2];
};
template <float (*kValue)(uint16_t)>
void multiply(void** arguments) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& m = *static_cast<MmaArguments*>(arguments[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int r = 0; r < 4; ++r) {
      for (int i = 0; i < 2; ++i) a[g + r % 2 * 8][2 * t + i + r / 2 * 8] = kValue(static_cast<uint16_t>(m.a[r] >> (16 * i)));
    }
    for (int r = 0; r < 2; ++r) {
      for (int i = 0; i < 2; ++i) b[2 * t + i + 8 * r][g] = kValue(static_cast<uint16_t>(m.b[r] >> (16 * i)));
    }
  }
  const auto sum = [&](int row, int column, float start) {
    double total = 0;
    for (int k = 0; k < 16; ++k) total += static_cast<double>(a[row][k]) * b[k][column];
    return static_cast<float>(total + start);
  };
  for (int lane = 0; lane < 32; ++lane) {
    float4& d = *static_cast<MmaArguments*>(arguments[lane])->d;
    const int g = lane / 4, t = lane % 4;
    d = {sum(g, 2 * t, d.x), sum(g, 2 * t + 1, d.y), sum(g + 8, 2 * t, d.z), sum(g + 8, 2 * t + 1, d.w)};
  }
}
inline void mma_f16(float4& d, uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
  MmaArguments arguments{&d, {a0, a1, a2, a3}, {b0, b1}};
  emulation::meet(&arguments, &multiply<&f16_to_f32>);
}
inline void mma_bf16(float4& d, uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
  MmaArguments arguments{&d, {a0, a1, a2, a3}, {b0, b1}};
  emulation::meet(&arguments, &multiply<&bf16_to_f32>);
}

struct MatricesArguments {
  const void* row;
  uint4 v;
};
template <bool kTransposed>
void read_matrices(void** arguments) {
  for (int matrix = 0; matrix < 4; ++matrix) {
    uint16_t values[8][8];
    for (int row = 0; row < 8; ++row) {
      std::memcpy(values[row], static_cast<MatricesArguments*>(arguments[matrix * 8 + row])->row, 16);
    }
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, t = lane % 4;
      const uint16_t low = kTransposed ? values[2 * t][g] : values[g][2 * t],
                     high = kTransposed ? values[2 * t + 1][g] : values[g][2 * t + 1];
      (&static_cast<MatricesArguments*>(arguments[lane])->v.x)[matrix] = low | static_cast<uint32_t>(high) << 16;
    }
  }
}
inline uint4 load_matrices(const void* row) {
  MatricesArguments arguments{row, {}};
  emulation::meet(&arguments, &read_matrices<false>);
  return arguments.v;
}
inline uint4 load_matrices_transposed(const void* row) {
  MatricesArguments arguments{row, {}};
  emulation::meet(&arguments, &read_matrices<true>);
  return arguments.v;
}

template <class T>
struct ShuffleArguments {
  T value, result;
  int lane;
};
template <class T>
T shuffle(T value, int lane) {
  ShuffleArguments<T> arguments{value, {}, lane & 31};
  emulation::meet(&arguments, [](void** all) {
    for (int i = 0; i < 32; ++i) {
      auto& mine = *static_cast<ShuffleArguments<T>*>(all[i]);
      mine.result = static_cast<ShuffleArguments<T>*>(all[mine.lane])->value;
    }
  });
  return arguments.result;
}
template <class T>
T shuffle_xor(T value, int mask) {
  return shuffle(value, emulation::current().lane ^ mask);
}
template <class T>
T shuffle_xor_any(const T& value, int mask) {
  return shuffle_xor(value, mask);
}
inline void sync_warp() {
  emulation::meet(nullptr, [](void**) {});
}
inline void sync_threads(int barrier, int threads) { emulation::wait_at(emulation::current().block->barriers[barrier], threads); }
inline void sync_block() { sync_threads(0, emulation::current().block->threads); }

inline uint32_t cluster_rank() { return emulation::current().block->rank; }
inline void arrive_cluster() { emulation::arrive_at(*emulation::current().block->cluster); }
inline void wait_cluster() { emulation::wait_for(*emulation::current().block->cluster); }
inline void sync_cluster() {
  arrive_cluster();
  wait_cluster();
}
template <class T>
T load_cluster(const void* at, uint32_t rank) {
  const auto& block = *emulation::current().block;
  const auto offset = static_cast<const unsigned char*>(at) - block.smem_data;
  return *reinterpret_cast<const T*>(block.cluster->blocks[rank]->smem_data + offset);
}
inline float4 load_cluster16(const void* at, uint32_t rank) { return load_cluster<float4>(at, rank); }
inline float2 load_cluster8(const void* at, uint32_t rank) { return load_cluster<float2>(at, rank); }
inline float load_cluster4(const void* at, uint32_t rank) { return load_cluster<float>(at, rank); }

inline float load_l2(const float* at) { return *at; }
inline float2 load_l2_8(const float* at) { return *reinterpret_cast<const float2*>(at); }
inline float4 load_l2_16(const float* at) { return *reinterpret_cast<const float4*>(at); }
template <class T>
T atomic_add(T* at, T value) {
  const T before = *at;
  *at += value;
  return before;
}
inline void atomic_max(unsigned* at, unsigned value) { *at = std::max(*at, value); }
inline int arrive(int32_t* counter, int count) { return atomic_add(counter, count); }

}  // namespace quern::cuda
