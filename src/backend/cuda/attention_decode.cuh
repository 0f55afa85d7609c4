// Attention of sequences with one query token. Each warp walks through its range of steps (attention_split.cuh) alone, with all query heads
// of the KV head as rows of the matrix instructions, and keeps a ring of the next steps' K and V on the way, from before the kernel before
// this one has ended. A chunk is summed by itself; chunks are added in order of position: in registers where a warp has a pair from its
// beginning on, and through memory where a pair is cut between warps, by the block that arrives last.
#pragma once
#include "backend/cuda/attention_chunk.cuh"

namespace quern::cuda {

struct DecodeArgs {
  AttentionView view;
  float* partials;    // [pairs or warps][num_chunks][group * head_dim + kPartialTail]: sums, then each row's maximum and weight
  int32_t* counters;  // [sequences, kv heads]
  int num_chunks;     // of the longest context
  int num_warps;      // that the steps are dealt to
  bool is_by_pair;    // partials of a cut pair lie at its own place, or at that of the warp that has its beginning
};

// Part `part` of the pair whose beginning warp `owner` has.
QUERN_DEVICE float* part_at(const DecodeArgs& a, int pair, int owner, int part, int part_floats) {
  const auto place = static_cast<size_t>(a.is_by_pair ? pair : owner);
  return a.partials + (place * static_cast<size_t>(a.num_chunks) + static_cast<size_t>(part)) * static_cast<size_t>(part_floats);
}

// A stretch of a cut pair that a warp has summed, and what adding the pair's parts takes.
struct Stretch {
  int pair, chunks;        // sequence * kv heads + head; chunks summed, 0: no such stretch
  int pair_chunks, token;  // of all of the pair; the row of q and y
  int owner, skipped;      // the warp that has its first chunks; how many of them its one part holds, less one
  int is_last;             // the pair is complete
};

template <int kHeadDim>
struct DecodeSmem {
  static constexpr int kRowBytes = kHeadDim * 2, kHalfBytes = kStepTokens * kRowBytes;  // K or V of a step
  static constexpr int kRing = 24 * 1024 / (2 * kHalfBytes);                            // steps of a warp on the way
  static constexpr size_t kKv = size_t{kDecodeWarps} * kRing * 2 * kHalfBytes;
  static constexpr size_t kStretches = size_t{2} * kDecodeWarps * sizeof(Stretch);
  static constexpr size_t bytes(int num_decode) { return kKv + kStretches + (static_cast<size_t>(num_decode) + 1) * sizeof(int); }
};

// One row of a cut pair: its parts added in order, a lane kHeadDim / 32 dimensions.
template <int kHeadDim>
QUERN_DEVICE void merge_row(const DecodeArgs& a, const Stretch& pair, int row, int lane) {
  constexpr int kDims = kHeadDim / kWarp, kAtOnce = 8;
  const AttentionView& v = a.view;
  const int group = v.num_heads / v.kv.num_kv_heads, part_floats = group * kHeadDim + kPartialTail;
  const int parts = pair.pair_chunks - pair.skipped;
  const float* const all = part_at(a, pair.pair, pair.owner, 0, part_floats);
  RowState state;
  float sums[kDims] = {};
  for (int from = 0; from < parts; from += kAtOnce) {
    float values[kAtOnce][kDims];
    float2 states[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int part = min(from + i, parts - 1), chunk = part == 0 ? 0 : part + pair.skipped;
      const float* const at = all + static_cast<size_t>(chunk) * static_cast<size_t>(part_floats);
      states[i] = load_l2_8(at + group * kHeadDim + 2 * row);
      const float* const mine = at + row * kHeadDim + kDims * lane;
      if constexpr (kDims == 4) {
        const float4 four = load_l2_16(mine);
        values[i][0] = four.x, values[i][1] = four.y, values[i][2] = four.z, values[i][3] = four.w;
      } else {
        const float2 two = load_l2_8(mine);
        values[i][0] = two.x, values[i][1] = two.y;
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (from + i >= parts) break;
      const float2 factors = state.add(states[i].x, states[i].y);
#pragma unroll
      for (int d = 0; d < kDims; ++d) sums[d] = fmaf(values[i][d], factors.y, sums[d] * factors.x);
    }
  }
  auto* const y = static_cast<uint16_t*>(v.y) +
                  (static_cast<size_t>(pair.token) * static_cast<size_t>(v.num_heads) +
                   static_cast<size_t>(pair.pair % v.kv.num_kv_heads * group + row)) *
                      kHeadDim +
                  kDims * lane;
  const float inverse = 1.F / state.weight;
#pragma unroll
  for (int d = 0; d < kDims; d += 2) *reinterpret_cast<uint32_t*>(y + d) = half2_from(sums[d] * inverse, sums[d + 1] * inverse);
}

template <int kHeadDim, bool kBfloat>
__global__ void __launch_bounds__(kDecodeWarps* kWarp, 2) attention_decode(const __grid_constant__ DecodeArgs a) {
  using Smem = DecodeSmem<kHeadDim>;
  using Sums = ChunkSums<kHeadDim, kBfloat>;
  constexpr int kSteps = Sums::kSteps, kRing = Smem::kRing;
  let_next_start();
  const AttentionView& v = a.view;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
  const int group = v.num_heads / v.kv.num_kv_heads, part_floats = group * kHeadDim + kPartialTail;
  unsigned char* const ring = dynamic_smem() + warp * kRing * 2 * Smem::kHalfBytes;
  auto* const stretches = reinterpret_cast<Stretch*>(dynamic_smem() + Smem::kKv);
  int* const ends = reinterpret_cast<int*>(dynamic_smem() + Smem::kKv + Smem::kStretches);
  if (warp == 0) count_steps(v, ends, lane);
  if (threadIdx.x < 2 * kDecodeWarps) stretches[threadIdx.x].chunks = 0;
  sync_block();
  const Schedule schedule = {v, ends, a.num_warps};
  const int global_warp = static_cast<int>(blockIdx.x) * kDecodeWarps + warp;

  // The range, and for a pair that it begins inside: the warp that has the pair's first chunks, and how many less one.
  Cursor use = {}, make = {};
  int to_use = 0, first_owner = global_warp, first_skipped = 0, first_part = 0;
  const int total_steps = schedule.total();
  if (global_warp < a.num_warps && schedule.boundary(global_warp) < total_steps) {
    int at = schedule.boundary(global_warp), begin = 0;
#pragma unroll 1
    for (int i = 0; i < 3; ++i) {  // one copy of the search: this code is read from memory before every launch
      Cursor found = {};
      const int place = at >= total_steps ? total_steps : schedule.find(at, found);
      if (i == 0) {
        use = found;
        begin = place;
        at = schedule.boundary(global_warp + 1);
      } else if (i == 1) {
        to_use = place - begin;
        if (to_use == 0 || use.step == use.first) break;
        first_owner = schedule.warp_of(begin - (use.step - use.first));
        at = schedule.boundary(first_owner + 1);
      } else {
        const int first_chunk = chunk_of(use.first * kStepTokens);
        first_part = chunk_of(use.step * kStepTokens) - first_chunk;
        first_skipped = chunk_of((use.step - (begin - place)) * kStepTokens) - first_chunk - 1;
      }
    }
  }
  make = use;
  int to_make = to_use, slot = 0, made_slot = 0;
  // Pages of the 32 steps from paged_step on of the pair that is being copied, one a lane.
  int pages = 0, paged_step = -1;
  const auto begin_copy = [&] {  // the step's first row in the cache, in bytes
    if (paged_step < 0 || make.step - paged_step >= kWarp) {
      const int32_t* const table = v.block_tables + static_cast<size_t>(make.sequence) * static_cast<size_t>(v.block_table_stride);
      pages = table[(min(make.step + lane, make.end - 1) * kStepTokens) >> v.page_shift];
      paged_step = make.step;
    }
    const auto row = static_cast<uint32_t>(shuffle(pages, make.step - paged_step) * v.kv.num_kv_heads + make.head);
    const auto offset = static_cast<uint32_t>(make.step * kStepTokens & (v.kv.block_tokens - 1));
    return ((static_cast<size_t>(row) << v.page_shift) + offset) * Smem::kRowBytes;
  };
  size_t made_row = 0;
  const auto copy_k = [&] {
    if (to_make > 0) {
      made_row = begin_copy();
      copy_step_rows<kHeadDim>(ring + made_slot * 2 * Smem::kHalfBytes, v.kv.k + made_row, make.context - 1 - make.step * kStepTokens,
                               lane);
    }
    copy_commit();
  };
  const auto copy_v = [&] {
    if (to_make > 0) {
      copy_step_rows<kHeadDim>(ring + made_slot * 2 * Smem::kHalfBytes + Smem::kHalfBytes, v.kv.v + made_row,
                               make.context - 1 - make.step * kStepTokens, lane);
      made_slot = made_slot == kRing - 1 ? 0 : made_slot + 1;
      if (--to_make > 0) {
        schedule.next(make);
        if (make.step == make.first) paged_step = -1;
      }
    }
    copy_commit();
  };
  uint32_t q[kSteps][2];
  Sums sums;             // of the chunk
  float4 total[kSteps];  // of the chunks before it, in the same places
  RowState total_state;  // of query head g
  bool is_prefix = false, is_new_pair = true;
  int chunks_done = 0, token = 0, chunk_end = 0;  // the step behind the chunk
  bool has_waited = false;
  int filling = kRing;  // the first turns only fill the ring
  while (to_use > 0) {
    const bool sums_up = filling == 0;
    // Only the newest position is written in this step: everything before it is there already.
    if (!has_waited && (sums_up || (to_make > 0 && make.step == make.end - 1))) {
      wait_for_previous();
      has_waited = true;
    }
    if (sums_up && is_new_pair) {
      is_new_pair = false;
      if (chunk_end == 0) chunk_end = chunk_begin(chunk_of(use.step * kStepTokens) + 1) / kStepTokens;
      is_prefix = use.step == use.first;
      chunks_done = 0;
      total_state = {};
#pragma unroll
      for (int i = 0; i < kSteps; ++i) total[i] = float4{};
      sums.clear();
      token = v.query_start[use.sequence];
      Sums::load_queries(v, token, use.head, lane, q);
    }
    unsigned char* const k_rows = ring + slot * 2 * Smem::kHalfBytes;
    unsigned char* const v_rows = k_rows + Smem::kHalfBytes;

    typename Sums::Scores scores;
    if (sums_up) {
      slot = slot == kRing - 1 ? 0 : slot + 1;
      copy_wait<2 * kRing - 1>();
      sync_warp();
      scores = Sums::multiply_keys(q, k_rows, lane);
      sync_warp();
    }
    copy_k();
    if (!sums_up) {
      copy_v();
      --filling;
      continue;
    }

    const auto weights = sums.weigh(scores, v, use.step, use.context, lane);

    copy_wait<2 * kRing - 1>();
    sync_warp();
    sums.add_values(v_rows, weights, lane);
    sync_warp();
    copy_v();

    --to_use;
    const bool is_pair_end = use.step + 1 == use.end;
    if (!is_pair_end && use.step + 1 != chunk_end) {
      ++use.step;
      continue;
    }

    // The chunk is complete.
    ++chunks_done;
    sums.finish();
    if (is_prefix) {
      const float2 factors = total_state.add(sums.most, sums.weight);
      const float low_mine = shuffle(factors.x, 8 * t), high_mine = shuffle(factors.x, 8 * t + 4);
      const float low = shuffle(factors.y, 8 * t), high = shuffle(factors.y, 8 * t + 4);
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        total[i] = make_float4(fmaf(sums.of[i].x, low, total[i].x * low_mine), fmaf(sums.of[i].y, high, total[i].y * high_mine),
                               fmaf(sums.of[i].z, low, total[i].z * low_mine), fmaf(sums.of[i].w, high, total[i].w * high_mine));
      }
    } else {
      total_state.most = sums.most, total_state.weight = sums.weight;
#pragma unroll
      for (int i = 0; i < kSteps; ++i) total[i] = sums.of[i];
    }
    sums.clear();

    const bool is_range_end = is_pair_end || to_use == 0;
    const int pair = use.sequence * v.kv.num_kv_heads + use.head;
    if (is_prefix && is_pair_end) {  // all of the pair
      const float inverse = 1.F / total_state.weight, low = shuffle(inverse, 8 * t), high = shuffle(inverse, 8 * t + 4);
      auto* const y =
          static_cast<uint16_t*>(v.y) +
          (static_cast<size_t>(token) * static_cast<size_t>(v.num_heads) + static_cast<size_t>(use.head * group + 2 * t)) * kHeadDim + g;
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        if (2 * t < group) y[16 * i] = half_from(total[i].x * low), y[16 * i + 8] = half_from(total[i].z * low);
        if (2 * t + 1 < group) {
          y[kHeadDim + 16 * i] = half_from(total[i].y * high);
          y[kHeadDim + 16 * i + 8] = half_from(total[i].w * high);
        }
      }
    } else if (!is_prefix || is_range_end) {
      float* const to = part_at(a, pair, is_prefix ? global_warp : first_owner, is_prefix ? 0 : first_part + chunks_done - 1, part_floats);
      store_part<kHeadDim>(to, group, lane, total, total_state.most, total_state.weight);
      if (is_range_end && lane == 0) {
        stretches[2 * warp + (is_prefix ? 1 : 0)] = {.pair = pair,
                                                     .chunks = chunks_done,
                                                     .pair_chunks = schedule.chunks(use.context),
                                                     .token = token,
                                                     .owner = is_prefix ? global_warp : first_owner,
                                                     .skipped = is_prefix ? chunks_done - 1 : first_skipped,
                                                     .is_last = 0};
      }
    }
    is_new_pair = is_pair_end;
    schedule.next(use);
    chunk_end = chunk_begin(chunk_of(use.step * kStepTokens) + 1) / kStepTokens;
  }
  if (!has_waited) wait_for_previous();
  copy_wait<0>();

  // Pairs that are cut between warps: the last to arrive adds their parts.
  sync_block();
  if (threadIdx.x < 2 * kDecodeWarps) {
    Stretch& mine = stretches[threadIdx.x];
    if (mine.chunks > 0) {
      int32_t* const counter = a.counters + mine.pair;
      mine.is_last = arrive(counter, mine.chunks) + mine.chunks == mine.pair_chunks;
      if (mine.is_last) *counter = 0;
    }
  }
  sync_block();
  for (int task = warp; task < 2 * kDecodeWarps * group; task += kDecodeWarps) {
    const Stretch& pair = stretches[task / group];
    if (pair.chunks > 0 && pair.is_last) merge_row<kHeadDim>(a, pair, task % group, lane);
  }
}

}  // namespace quern::cuda
