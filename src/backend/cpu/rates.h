// The limits of this CPU with the pool's threads, measured when called (about 0.1 s each): reading memory, multiply-adds in registers.
#pragma once
#include <cstdint>

#include "backend/device_runtime.h"
#include "base/thread_pool.h"

namespace quern::cpu {

// Bytes a second: the better of plain loads and of wide loads that prefetch, median of a few passes.
double read_bandwidth(ThreadPool& pool, const DeviceInfo& features);
// Of the unit that multiplies weights of this format.
UnitRate operation_rate(ThreadPool& pool, const DeviceInfo& features, Format weights);

// Multiply-adds in independent chains, `rounds` times kUnitChains vectors; the result keeps them from being left out.
inline constexpr size_t kUnitChains = 12;
float fma_rounds_avx2(size_t rounds);     // 8 multiply-adds of f32 a vector
float fma_rounds_avx512(size_t rounds);   // 16
float bf16_rounds_avx512(size_t rounds);  // 32 of bf16, summed in f32; needs AVX512_BF16
float byte_rounds_avx2(size_t rounds);    // 32 multiply-adds of bytes, summed in 32 bits
float byte_rounds_avx512(size_t rounds);  // 64

// Reads `bytes` bytes, a multiple of 512, in order; returns something of all of them.
uint64_t read_lines_avx512(const std::byte* data, size_t bytes);

}  // namespace quern::cpu
