// Attention of few sequences with one query token, where the time is that of one chunk and not of memory: a cluster of blocks a pair, every
// warp a chunk at a time, parts in the blocks' shared memory. Its code is small, since every launch reads it from memory, and nothing goes
// through global memory but q, K, V and y.
#pragma once
#include "backend/cuda/attention_chunk.cuh"

namespace quern::cuda {

constexpr int kFewWarps = 4;

struct FewArgs {
  AttentionView view;
  int block_shift;  // log2 of a cluster's blocks
};

template <int kHeadDim>
struct FewSmem {
  static constexpr int kRowBytes = kHeadDim * 2, kHalfBytes = kStepTokens * kRowBytes;  // K or V of a step
  static constexpr int kRing = 24 * 1024 / (2 * kHalfBytes);                            // steps of a warp on the way
  static constexpr size_t kKv = size_t{kFewWarps} * kRing * 2 * kHalfBytes;
  // `rounds`: chunks of a warp.
  static constexpr size_t bytes(int group, int rounds) {
    return kKv + static_cast<size_t>(kFewWarps * rounds * (group * kHeadDim + kPartialTail)) * sizeof(float);
  }
};

template <int kHeadDim, bool kBfloat>
__global__ void __launch_bounds__(kFewWarps* kWarp, 2) attention_few(const __grid_constant__ FewArgs a) {
  using Smem = FewSmem<kHeadDim>;
  using Sums = ChunkSums<kHeadDim, kBfloat>;
  constexpr int kRing = Smem::kRing;
  let_next_start();
  const AttentionView& v = a.view;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int group = v.num_heads / v.kv.num_kv_heads, part_floats = group * kHeadDim + kPartialTail;
  const int blocks = 1 << a.block_shift, warps = kFewWarps << a.block_shift;
  const int mine = (warp << a.block_shift) + static_cast<int>(cluster_rank());
  const int pair = static_cast<int>(blockIdx.x) >> a.block_shift, sequence = pair / v.kv.num_kv_heads, head = pair % v.kv.num_kv_heads;
  unsigned char* const ring = dynamic_smem() + warp * kRing * 2 * Smem::kHalfBytes;
  auto* const parts = reinterpret_cast<float*>(dynamic_smem() + Smem::kKv);

  const int context = v.context_lengths[sequence], first = first_step(v, context), end = end_step(context);
  const int first_chunk = chunk_of(first * kStepTokens), chunks = context <= 0 ? 0 : chunk_of(context - 1) - first_chunk + 1;
  // Chunks mine, mine + warps, ..: a step of one of them.
  struct Place {
    int chunk, step, end;
  };
  const auto enter = [&](Place& p, int chunk) {
    p = {chunk, max(first, chunk_begin(first_chunk + chunk) / kStepTokens), min(end, chunk_begin(first_chunk + chunk + 1) / kStepTokens)};
  };

  bool has_waited = false;
  Place make;
  enter(make, mine);
  const int32_t* const table = v.block_tables + static_cast<size_t>(sequence) * static_cast<size_t>(v.block_table_stride);
  const auto copy_next = [&](int slot) {
    if (make.chunk < chunks) {
      if (!has_waited && make.step == end - 1) {  // the newest position is written in this step: everything before it is there already
        wait_for_previous();
        has_waited = true;
      }
      const int position = make.step * kStepTokens;
      const auto row = static_cast<unsigned>(table[position >> v.page_shift] * v.kv.num_kv_heads + head);
      const size_t from =
          ((static_cast<size_t>(row) << v.page_shift) + static_cast<size_t>(position & (v.kv.block_tokens - 1))) * Smem::kRowBytes;
      unsigned char* const rows = ring + slot * 2 * Smem::kHalfBytes;
      copy_step_rows<kHeadDim>(rows, v.kv.k + from, context - 1 - position, lane);
      copy_step_rows<kHeadDim>(rows + Smem::kHalfBytes, v.kv.v + from, context - 1 - position, lane);
      if (++make.step == make.end) enter(make, make.chunk + warps);
    }
    copy_commit();
  };
#pragma unroll 1
  for (int i = 0; i < kRing; ++i) copy_next(i);
  if (!has_waited) wait_for_previous();
  has_waited = true;

  const int token = v.query_start[sequence];
  uint32_t q[Sums::kSteps][2];
  Sums::load_queries(v, token, head, lane, q);
  int slot = 0;
  float* part = parts + warp * part_floats;
#pragma unroll 1
  for (int chunk = mine; chunk < chunks; chunk += warps) {
    Place use;
    enter(use, chunk);
    Sums sums;
#pragma unroll 1
    for (; use.step < use.end; ++use.step) {
      unsigned char* const rows = ring + slot * 2 * Smem::kHalfBytes;
      copy_wait<kRing - 1>();
      sync_warp();
      const auto weights = sums.weigh(Sums::multiply_keys(q, rows, lane), v, use.step, context, lane);
      sums.add_values(rows + Smem::kHalfBytes, weights, lane);
      sync_warp();
      copy_next(slot);
      slot = slot == kRing - 1 ? 0 : slot + 1;
    }
    sums.finish();
    store_part<kHeadDim>(part, group, lane, sums.of, sums.most, sums.weight);
    part += kFewWarps * part_floats;
  }
  copy_wait<0>();
  sync_cluster();

  // Parts are added in order, a lane a dimension.
  constexpr int kTasks = kHeadDim / kWarp, kAtOnce = 8;
#pragma unroll 1
  for (int task = mine; task < group * kTasks && chunks > 0; task += warps) {
    const int row = task / kTasks, d = task % kTasks * kWarp + lane;
    RowState state;
    float sum = 0;
#pragma unroll 1
    for (int from = 0; from < chunks; from += kAtOnce) {
      float values[kAtOnce];
      float2 states[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int chunk = min(from + i, chunks - 1), owner = chunk & (warps - 1);
        const float* const at = parts + ((chunk / warps) * kFewWarps + (owner >> a.block_shift)) * part_floats;
        values[i] = load_cluster4(at + row * kHeadDim + d, static_cast<uint32_t>(owner & (blocks - 1)));
        states[i] = load_cluster8(at + group * kHeadDim + 2 * row, static_cast<uint32_t>(owner & (blocks - 1)));
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (from + i >= chunks) break;
        const float2 factors = state.add(states[i].x, states[i].y);
        sum = fmaf(values[i], factors.y, sum * factors.x);
      }
    }
    const size_t out = static_cast<size_t>(token) * static_cast<size_t>(v.num_heads) + static_cast<size_t>(head * group + row);
    static_cast<uint16_t*>(v.y)[out * kHeadDim + static_cast<size_t>(d)] = half_from(sum * (1.F / state.weight));
  }
  sync_cluster();  // no block ends while another reads its shared memory
}

}  // namespace quern::cuda
