// Attention of sequences with one query token, split over the context: a work item is a chunk of one KV head's context of one sequence,
// with all its query heads as rows of the matrix instructions. Chunk boundaries depend on positions alone; the last block to finish a
// chunk of a head merges all of them in order. Blocks take items in turn; the next 128 tokens are on their way while these are summed.
#pragma once
#include "backend/cuda/attention_tiles.cuh"

namespace quern::cuda {

constexpr int kDecodeWarps = 4, kWarpTokens = 32, kTileTokens = kDecodeWarps * kWarpTokens;
constexpr int kMaxGroup = 8, kMaxDecode = 1024;

// Chunks of 128 tokens up to 4096, of 512 up to 16384, then of 2048.
constexpr QUERN_DEVICE_HOST int chunk_begin(int chunk) {
  return chunk <= 32 ? 128 * chunk : chunk <= 56 ? 4096 + 512 * (chunk - 32) : 16384 + 2048 * (chunk - 56);
}
constexpr QUERN_DEVICE_HOST int chunk_of(int position) {
  return position < 4096 ? position / 128 : position < 16384 ? 32 + (position - 4096) / 512 : 56 + (position - 16384) / 2048;
}

struct DecodeArgs {
  AttentionView view;
  float* partials;    // [items, kMaxGroup, head_dim + 2]: sums, maximum, weight
  int32_t* counters;  // [sequences, kv heads]
};

// One stretch of up to kTileTokens tokens of an item.
struct DecodeUnit {
  int item, sequence, kv_head, chunk, num_chunks;  // chunk counts from the first visible one
  int begin, end;                                  // the item's visible positions
  int tile;                                        // first position of the stretch
};

template <int kHeadDim>
struct DecodeSmem {
  static constexpr int kRowBytes = kHeadDim * 2, kWarpBytes = 2 * kWarpTokens * kRowBytes;
  static constexpr size_t kKv = size_t{kDecodeWarps} * kWarpBytes;
  static constexpr size_t kSums = size_t{kDecodeWarps} * kMaxGroup * (kHeadDim + 2) * sizeof(float);
  static constexpr size_t bytes(int num_decode) { return kKv + kSums + (static_cast<size_t>(num_decode) + 2) * sizeof(int); }
};

QUERN_DEVICE int first_visible(const AttentionView& v, int context) { return v.window == 0 || context < v.window ? 0 : context - v.window; }

// ends[s + 1]: items of the sequences up to s, times 1 for one KV head. By the first warp.
QUERN_DEVICE void count_items(const AttentionView& v, int* ends, int lane) {
  int total = 0;
  if (lane == 0) ends[0] = 0;
  for (int first = 0; first < v.num_decode; first += kWarp) {
    const int s = first + lane;
    int count = 0;
    if (s < v.num_decode) {
      const int context = v.context_lengths[s];
      count = context <= 0 ? 0 : chunk_of(context - 1) - chunk_of(first_visible(v, context)) + 1;
    }
    for (int step = 1; step < kWarp; step *= 2) {
      const int below = shuffle(count, lane - step < 0 ? 0 : lane - step);
      if (lane >= step) count += below;
    }
    if (s < v.num_decode) ends[s + 1] = total + count;
    total += shuffle(count, kWarp - 1);
  }
}

QUERN_DEVICE bool find_item(const AttentionView& v, const int* ends, int item, DecodeUnit& unit) {
  const int kv_heads = v.kv.num_kv_heads;
  if (item >= ends[v.num_decode] * kv_heads) return false;
  int low = 0, high = v.num_decode - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (item < ends[middle + 1] * kv_heads)
      high = middle;
    else
      low = middle + 1;
  }
  unit.item = item;
  unit.sequence = low;
  unit.num_chunks = ends[low + 1] - ends[low];
  const int inside = item - ends[low] * kv_heads, context = v.context_lengths[low], first = first_visible(v, context);
  unit.kv_head = inside / unit.num_chunks;
  unit.chunk = inside % unit.num_chunks;
  const int chunk = chunk_of(first) + unit.chunk;
  unit.begin = max(first, chunk_begin(chunk));
  unit.end = min(context, chunk_begin(chunk + 1));
  unit.tile = chunk_begin(chunk);
  return true;
}

// Rows in the cache of the warp's 32 tokens, a lane each; positions that do not count repeat one that does.
QUERN_DEVICE uint32_t find_row(const AttentionView& v, const DecodeUnit& unit, int first, int lane) {
  const int32_t* const table = v.block_tables + static_cast<size_t>(unit.sequence) * static_cast<size_t>(v.block_table_stride);
  const int position = min(max(first + lane, unit.begin), unit.end - 1);
  const auto page = static_cast<uint32_t>(table[position >> v.page_shift] * v.kv.num_kv_heads + unit.kv_head);
  return (page << v.page_shift) + static_cast<uint32_t>(position & (v.kv.block_tokens - 1));
}
// Copies the warp's rows of K or V.
template <int kHeadDim>
QUERN_DEVICE void copy_rows(unsigned char* rows, const std::byte* cache, uint32_t row_of_lane, int lane) {
  constexpr int kChunks = kHeadDim / 8, kRowsAtOnce = kWarp / kChunks;
#pragma unroll 4
  for (int i = 0; i < kWarpTokens / kRowsAtOnce; ++i) {
    const int token = i * kRowsAtOnce + lane / kChunks;
    const uint32_t row = shuffle(row_of_lane, token);
    copy16(row_chunk<kHeadDim>(rows, token, lane % kChunks),
           cache + static_cast<size_t>(row) * kHeadDim * 2 + static_cast<size_t>(lane % kChunks) * 16);
  }
}

template <int kHeadDim, bool kBfloat>
__global__ void __launch_bounds__(kDecodeWarps* kWarp, 3) attention_decode(const __grid_constant__ DecodeArgs a) {
  using Smem = DecodeSmem<kHeadDim>;
  constexpr int kSteps = kHeadDim / 16, kStride = kHeadDim + 2;
  let_next_start();
  const AttentionView& v = a.view;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
  const int group = v.num_heads / v.kv.num_kv_heads;
  unsigned char* const k_rows = dynamic_smem() + warp * Smem::kWarpBytes;
  unsigned char* const v_rows = k_rows + kWarpTokens * Smem::kRowBytes;
  float* const meeting = reinterpret_cast<float*>(dynamic_smem() + Smem::kKv);  // [warps, kMaxGroup, kStride]
  int* const ends = reinterpret_cast<int*>(dynamic_smem() + Smem::kKv + Smem::kSums);
  __shared__ int arrived_before;

  if (warp == 0) count_items(v, ends, lane);
  sync_block();
  DecodeUnit now, next;
  bool is_item = find_item(v, ends, static_cast<int>(blockIdx.x), now);
  const auto first_of = [&](const DecodeUnit& unit) { return unit.tile + warp * kWarpTokens; };
  const auto counts = [&](const DecodeUnit& unit) { return first_of(unit) < unit.end && first_of(unit) + kWarpTokens > unit.begin; };
  uint32_t row = 0;  // of the unit whose K was copied last
  const auto copy_k = [&](const DecodeUnit& unit) {
    if (!counts(unit)) return;
    row = find_row(v, unit, first_of(unit), lane);
    copy_rows<kHeadDim>(k_rows, v.kv.k, row, lane);
  };
  const auto copy_v = [&](const DecodeUnit& unit) {
    if (counts(unit)) copy_rows<kHeadDim>(v_rows, v.kv.v, row, lane);
  };
  // Only the newest position is written in this step: everything before it is there already.
  const bool is_early = is_item && min(first_of(now) + kWarpTokens, now.end) < v.context_lengths[now.sequence];
  if (is_early) copy_k(now);
  if (is_early) copy_commit(), copy_v(now), copy_commit();
  wait_for_previous();
  if (is_item && !is_early) copy_k(now), copy_commit(), copy_v(now), copy_commit();

  uint32_t q[kSteps][2];
  const auto load_q = [&](const DecodeUnit& unit) {  // rows beyond the group repeat its last
    const auto head = static_cast<size_t>(unit.kv_head * group + min(g, group - 1));
    const uint16_t* const values =
        v.q + (static_cast<size_t>(v.query_start[unit.sequence]) * static_cast<size_t>(v.num_heads) + head) * kHeadDim;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      q[i][0] = *reinterpret_cast<const uint32_t*>(values + 16 * i + 2 * t);
      q[i][1] = *reinterpret_cast<const uint32_t*>(values + 16 * i + 8 + 2 * t);
    }
  };
  if (is_item) load_q(now);
  float4 sums[kSteps];                 // of dimensions 16 i + g (x, y) and 8 more (z, w) for the query heads 2 t (x, z) and 2 t + 1
  float most = -INFINITY, weight = 0;  // of query head kv_head * group + g
  int loaded_item = -1;
  while (is_item) {
    const auto token = static_cast<size_t>(v.query_start[now.sequence]);
    if (now.item != loaded_item) {
      loaded_item = now.item;
#pragma unroll
      for (int i = 0; i < kSteps; ++i) sums[i] = float4{};
      most = -INFINITY;
      weight = 0;
    }
    next = now;
    next.tile += kTileTokens;
    bool is_next = true;
    if (next.tile >= next.end) is_next = find_item(v, ends, now.item + static_cast<int>(gridDim.x), next);

    // Scores of 8 query heads (rows) with 32 tokens.
    copy_wait<1>();
    sync_warp();
    const int first = first_of(now);
    const bool is_counted = counts(now);
    float4 scores[4] = {};
    if (is_counted) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int i = 0; i < kSteps; i += 2) {
          const uint4 b = load_matrices(row_chunk<kHeadDim>(k_rows, 8 * n + lane % 8, 2 * i + lane / 8));
          mma_16<kBfloat>(scores[n], q_pair<kBfloat>(q[i][0]), 0, q_pair<kBfloat>(q[i][1]), 0, b.x, b.y);
          mma_16<kBfloat>(scores[n], q_pair<kBfloat>(q[i + 1][0]), 0, q_pair<kBfloat>(q[i + 1][1]), 0, b.z, b.w);
        }
      }
    }
    sync_warp();
    if (is_next) copy_k(next);
    copy_commit();
    if (is_next && next.item != now.item) load_q(next);

    float next_most = most;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int position = first + 8 * n + 2 * t;
      const auto visible = [&](int p) { return is_counted && p >= now.begin && p < now.end; };
      scores[n].x = visible(position) ? scores[n].x * v.scale : -INFINITY;
      scores[n].y = visible(position + 1) ? scores[n].y * v.scale : -INFINITY;
      next_most = fmaxf(next_most, fmaxf(scores[n].x, scores[n].y));
    }
    next_most = fmaxf(next_most, shuffle_xor(next_most, 1));
    next_most = fmaxf(next_most, shuffle_xor(next_most, 2));
    const float keep = weight_of(most, next_most);
    most = next_most;
    float added = 0;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      scores[n].x = weight_of(scores[n].x, most);
      scores[n].y = weight_of(scores[n].y, most);
      added += scores[n].x + scores[n].y;
    }
    added += shuffle_xor(added, 1);
    added += shuffle_xor(added, 2);
    weight = fmaf(weight, keep, added);

    copy_wait<1>();
    sync_warp();
    if (is_counted) {
      const float low_keep = shuffle(keep, 8 * t), high_keep = shuffle(keep, 8 * t + 4);  // of heads 2 t and 2 t + 1
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
        sums[i] = make_float4(sums[i].x * low_keep, sums[i].y * high_keep, sums[i].z * low_keep, sums[i].w * high_keep);
#pragma unroll
      for (int half = 0; half < 2; ++half) {  // 16 tokens each: V^T times the weights
        const uint32_t p0 = pair_from<kBfloat>(scores[2 * half].x, scores[2 * half].y);
        const uint32_t p1 = pair_from<kBfloat>(scores[2 * half + 1].x, scores[2 * half + 1].y);
#pragma unroll
        for (int i = 0; i < kSteps; ++i) {
          const uint4 w = load_matrices_transposed(row_chunk<kHeadDim>(v_rows, 16 * half + lane / 16 * 8 + lane % 8, 2 * i + lane / 8 % 2));
          mma_16<kBfloat>(sums[i], w.x, w.y, w.z, w.w, p0, p1);
        }
      }
    }
    sync_warp();
    if (is_next) copy_v(next);
    copy_commit();

    if (!is_next || next.item != now.item) {  // the item is complete: the warps' parts, then the chunks' parts, in order
      float* const mine = meeting + (warp * kMaxGroup + 2 * t) * kStride;
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        mine[16 * i + g] = sums[i].x;
        mine[kStride + 16 * i + g] = sums[i].y;
        mine[16 * i + g + 8] = sums[i].z;
        mine[kStride + 16 * i + g + 8] = sums[i].w;
      }
      float* const head = meeting + (warp * kMaxGroup + g) * kStride;
      if (t == 0) head[kHeadDim] = most, head[kHeadDim + 1] = weight;
      sync_block();
      const auto out_at = [&](int row) {
        return (token * static_cast<size_t>(v.num_heads) + static_cast<size_t>(now.kv_head * group + row)) * kHeadDim;
      };
      float* const parts = a.partials + static_cast<size_t>(now.item) * kMaxGroup * kStride;
      for (int i = static_cast<int>(threadIdx.x); i < group * kHeadDim; i += kDecodeWarps * kWarp) {
        const int row = i / kHeadDim, d = i % kHeadDim;
        float total_most = -INFINITY, total_weight = 0, sum = 0;
#pragma unroll
        for (int w = 0; w < kDecodeWarps; ++w) total_most = fmaxf(total_most, meeting[(w * kMaxGroup + row) * kStride + kHeadDim]);
#pragma unroll
        for (int w = 0; w < kDecodeWarps; ++w) {
          const float* const part = meeting + (w * kMaxGroup + row) * kStride;
          const float share = weight_of(part[kHeadDim], total_most);
          total_weight = fmaf(part[kHeadDim + 1], share, total_weight);
          sum = fmaf(part[d], share, sum);
        }
        if (now.num_chunks == 1) {
          static_cast<uint16_t*>(v.y)[out_at(row) + static_cast<size_t>(d)] = half_from(sum / total_weight);
        } else {
          parts[row * kStride + d] = sum;
          if (d == 0) parts[row * kStride + kHeadDim] = total_most, parts[row * kStride + kHeadDim + 1] = total_weight;
        }
      }
      if (now.num_chunks > 1) {
        int32_t* const counter = a.counters + now.sequence * v.kv.num_kv_heads + now.kv_head;
        sync_block();
        if (threadIdx.x == 0) arrived_before = arrive(counter);
        sync_block();
        if (arrived_before == now.num_chunks - 1) {
          const float* const all = parts - static_cast<ptrdiff_t>(now.chunk) * kMaxGroup * kStride;
          for (int i = static_cast<int>(threadIdx.x); i < group * kHeadDim; i += kDecodeWarps * kWarp) {
            const int row = i / kHeadDim, d = i % kHeadDim;
            float total_most = -INFINITY, total_weight = 0, sum = 0;
            for (int c = 0; c < now.num_chunks; ++c)
              total_most = fmaxf(total_most, load_l2(all + (c * kMaxGroup + row) * kStride + kHeadDim));
            for (int c = 0; c < now.num_chunks; ++c) {
              const float* const part = all + (c * kMaxGroup + row) * kStride;
              const float share = weight_of(load_l2(part + kHeadDim), total_most);
              total_weight = fmaf(load_l2(part + kHeadDim + 1), share, total_weight);
              sum = fmaf(load_l2(part + d), share, sum);
            }
            static_cast<uint16_t*>(v.y)[out_at(row) + static_cast<size_t>(d)] = half_from(sum / total_weight);
          }
          if (threadIdx.x == 0) *counter = 0;
        }
      }
      sync_block();
    }
    now = next;
    is_item = is_next;
  }
  copy_wait<0>();
}

}  // namespace quern::cuda
