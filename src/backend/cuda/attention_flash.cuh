// Attention of prompt chunks: a block has 128 query tokens of one head, 16 a warp, and walks over the visible positions 64 at a time with
// a running maximum, the next 64 on their way. Positions are cut at multiples of 64, so that a token's bits do not depend on its chunk.
#pragma once
#include "backend/cuda/attention_tiles.cuh"

namespace quern::cuda {

constexpr int kFlashWarps = 8, kQueryTokens = 16 * kFlashWarps, kKeyTokens = 64;

template <int kHeadDim>
struct FlashSmem {
  static constexpr int kTileBytes = kKeyTokens * kHeadDim * 2;
  static constexpr size_t kBytes = size_t{4} * kTileBytes;  // K and V, twice
};

// 64 rows of K and of V from position `first`; positions beyond the context repeat the last.
template <int kHeadDim>
QUERN_DEVICE void copy_key_rows(unsigned char* k_rows, unsigned char* v_rows, const AttentionView& v, const int32_t* table, int kv_head,
                                int first, int context) {
  constexpr int kChunks = kHeadDim / 8, kRowsAtOnce = kFlashWarps * kWarp / kChunks, kTurns = kKeyTokens / kRowsAtOnce;
  const int thread = static_cast<int>(threadIdx.x), chunk = thread % kChunks;
  size_t from[kTurns];  // found before the first copy, so that the table is read at once
#pragma unroll
  for (int i = 0; i < kTurns; ++i) {
    const int position = min(first + i * kRowsAtOnce + thread / kChunks, context - 1);
    from[i] = cache_offset<kHeadDim>(v, table, kv_head, position) + static_cast<size_t>(chunk) * 16;
  }
#pragma unroll
  for (int i = 0; i < kTurns; ++i) {
    const int token = i * kRowsAtOnce + thread / kChunks;
    copy16(row_chunk<kHeadDim>(k_rows, token, chunk), v.kv.k + from[i]);
    copy16(row_chunk<kHeadDim>(v_rows, token, chunk), v.kv.v + from[i]);
  }
}

template <int kHeadDim, bool kBfloat>
__global__ void __launch_bounds__(kFlashWarps* kWarp, 1) attention_flash(const __grid_constant__ AttentionView v) {
  constexpr int kSteps = kHeadDim / 16, kTile = FlashSmem<kHeadDim>::kTileBytes;
  wait_for_previous();
  let_next_start();
  const int sequence = v.num_decode + static_cast<int>(blockIdx.z), head = static_cast<int>(blockIdx.x);
  const int query_begin = v.query_start[sequence], query_tokens = v.query_start[sequence + 1] - query_begin;
  const int query_tiles = (query_tokens + kQueryTokens - 1) / kQueryTokens;
  const int query_tile = query_tiles - 1 - static_cast<int>(blockIdx.y);  // of all heads the longest first
  if (query_tile < 0) return;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
  const int kv_head = head / (v.num_heads / v.kv.num_kv_heads), context = v.context_lengths[sequence];
  const int32_t* const table = v.block_tables + static_cast<size_t>(sequence) * static_cast<size_t>(v.block_table_stride);
  const int first_position = context - query_tokens;  // of the chunk
  const int tile_position = first_position + query_tile * kQueryTokens;
  const int last_position = min(tile_position + kQueryTokens, context) - 1;
  const int begin = v.window == 0 || tile_position + 1 < v.window ? 0 : (tile_position + 1 - v.window) / kKeyTokens * kKeyTokens;
  const int num_tiles = (last_position - begin) / kKeyTokens + 1;
  unsigned char* const smem = dynamic_smem();

  const auto copy_tile = [&](int tile) {
    if (tile < num_tiles) {
      unsigned char* const to = smem + tile % 2 * 2 * kTile;
      copy_key_rows<kHeadDim>(to, to + kTile, v, table, kv_head, begin + tile * kKeyTokens, context);
    }
    copy_commit();
  };
  copy_tile(0);

  const int rows[2] = {query_tile * kQueryTokens + warp * 16 + g, query_tile * kQueryTokens + warp * 16 + g + 8};  // in the chunk
  const int warp_position = tile_position + warp * 16;
  const int positions[2] = {first_position + rows[0], first_position + rows[1]};
  uint32_t q[kSteps][4];
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const auto token = static_cast<size_t>(query_begin + min(rows[r % 2], query_tokens - 1));
      const size_t at = (token * static_cast<size_t>(v.num_heads) + static_cast<size_t>(head)) * kHeadDim +
                        static_cast<size_t>(16 * i + r / 2 * 8 + 2 * t);
      q[i][r] = q_pair<kBfloat>(*reinterpret_cast<const uint32_t*>(v.q + at));
    }
  }
  float4 sums[2 * kSteps] = {};
  float most[2] = {-INFINITY, -INFINITY}, weight[2] = {};

  for (int tile = 0; tile < num_tiles; ++tile) {
    copy_wait<0>();
    sync_block();  // K and V of this tile are there for all; all have finished the tile before it
    copy_tile(tile + 1);
    const int first = begin + tile * kKeyTokens;
    if (first > warp_position + 15) continue;  // nothing that this warp's rows may see
    unsigned char* const k_rows = smem + tile % 2 * 2 * kTile;
    unsigned char* const v_rows = k_rows + kTile;
    float4 scores[kKeyTokens / 8] = {};
#pragma unroll
    for (int i = 0; i < kSteps; i += 2) {  // the sums of eight positions each do not wait for one another
      uint4 b[kKeyTokens / 8];
#pragma unroll
      for (int n = 0; n < kKeyTokens / 8; ++n) {
        b[n] = load_matrices(row_chunk<kHeadDim>(k_rows, 8 * n + lane % 8, 2 * i + lane / 8));
        mma_16<kBfloat>(scores[n], q[i][0], q[i][1], q[i][2], q[i][3], b[n].x, b[n].y);
      }
#pragma unroll
      for (int n = 0; n < kKeyTokens / 8; ++n) {
        mma_16<kBfloat>(scores[n], q[i + 1][0], q[i + 1][1], q[i + 1][2], q[i + 1][3], b[n].z, b[n].w);
      }
    }
    // Scores as they are: the scale comes in with the exponential.
    float next_most[2] = {most[0], most[1]};
    if (first + kKeyTokens - 1 > warp_position || (v.window != 0 && first <= warp_position + 15 - v.window)) {
      const auto hide = [&](float& score, int j, int position) {
        if (j > position || (v.window != 0 && j <= position - v.window)) score = -INFINITY;
      };
#pragma unroll
      for (int n = 0; n < kKeyTokens / 8; ++n) {
        const int j = first + 8 * n + 2 * t;
        hide(scores[n].x, j, positions[0]);
        hide(scores[n].y, j + 1, positions[0]);
        hide(scores[n].z, j, positions[1]);
        hide(scores[n].w, j + 1, positions[1]);
      }
    }
#pragma unroll
    for (int n = 0; n < kKeyTokens / 8; ++n) {
      next_most[0] = fmaxf(next_most[0], fmaxf(scores[n].x, scores[n].y));
      next_most[1] = fmaxf(next_most[1], fmaxf(scores[n].z, scores[n].w));
    }
    float keep[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      next_most[r] = fmaxf(next_most[r], shuffle_xor(next_most[r], 1));
      next_most[r] = fmaxf(next_most[r], shuffle_xor(next_most[r], 2));
      keep[r] = most[r] == -INFINITY ? 0.F : exp2_of((most[r] - next_most[r]) * v.scale);
      most[r] = next_most[r];
      weight[r] *= keep[r];
    }
    // A row that has seen nothing yet keeps weights of 0.
    const float base[2] = {most[0] == -INFINITY ? 0.F : -most[0] * v.scale, most[1] == -INFINITY ? 0.F : -most[1] * v.scale};
#pragma unroll
    for (int n = 0; n < kKeyTokens / 8; ++n) {
      scores[n].x = exp2_of(fmaf(scores[n].x, v.scale, base[0]));
      scores[n].y = exp2_of(fmaf(scores[n].y, v.scale, base[0]));
      scores[n].z = exp2_of(fmaf(scores[n].z, v.scale, base[1]));
      scores[n].w = exp2_of(fmaf(scores[n].w, v.scale, base[1]));
      weight[0] += scores[n].x + scores[n].y;
      weight[1] += scores[n].z + scores[n].w;
    }
#pragma unroll
    for (int i = 0; i < 2 * kSteps; ++i) {
      sums[i].x *= keep[0];
      sums[i].y *= keep[0];
      sums[i].z *= keep[1];
      sums[i].w *= keep[1];
    }
#pragma unroll
    for (int part = 0; part < kKeyTokens / 16; ++part) {
      const float4 &low = scores[2 * part], &high = scores[2 * part + 1];
      const uint32_t p[4] = {pair_from<kBfloat>(low.x, low.y), pair_from<kBfloat>(low.z, low.w), pair_from<kBfloat>(high.x, high.y),
                             pair_from<kBfloat>(high.z, high.w)};
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        const uint4 b = load_matrices_transposed(row_chunk<kHeadDim>(v_rows, 16 * part + lane % 16, 2 * i + lane / 16));
        mma_16<kBfloat>(sums[2 * i], p[0], p[1], p[2], p[3], b.x, b.y);
        mma_16<kBfloat>(sums[2 * i + 1], p[0], p[1], p[2], p[3], b.z, b.w);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    weight[r] += shuffle_xor(weight[r], 1);
    weight[r] += shuffle_xor(weight[r], 2);
    const float inverse = 1.F / weight[r];
    if (rows[r] >= query_tokens) continue;
    auto* const out =
        static_cast<uint16_t*>(v.y) +
        (static_cast<size_t>(query_begin + rows[r]) * static_cast<size_t>(v.num_heads) + static_cast<size_t>(head)) * kHeadDim + 2 * t;
#pragma unroll
    for (int i = 0; i < 2 * kSteps; ++i) {
      const float low = r == 0 ? sums[i].x : sums[i].z, high = r == 0 ? sums[i].y : sums[i].w;
      *reinterpret_cast<uint32_t*>(out + 8 * i) = half2_from(low * inverse, high * inverse);
    }
  }
  copy_wait<0>();
}

}  // namespace quern::cuda
