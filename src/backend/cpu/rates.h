// The limits of this CPU with the pool's threads, measured when called (about 0.1 s each): reading memory, multiply-adds in registers.
#pragma once
#include "backend/kernel_row.h"
#include "base/thread_pool.h"

namespace quern::cpu {

double read_bandwidth(ThreadPool& pool);                              // bytes a second
double operation_rate(ThreadPool& pool, const DeviceInfo& features);  // f32 operations a second

// `rounds` rounds of multiply-adds in independent chains; the result keeps them from being left out.
inline constexpr size_t kFmaChains = 12;
float fma_rounds_avx2(size_t rounds);    // kFmaChains * 8 multiply-adds a round
float fma_rounds_avx512(size_t rounds);  // kFmaChains * 16 multiply-adds a round

}  // namespace quern::cpu
