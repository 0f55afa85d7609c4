// The sum of one chunk of one pair (attention_split.cuh) by a warp: 16 positions at a time by running maximum, all query heads of the KV
// head as rows of the matrix instructions. Every kernel for decode rows sums chunks through this and adds them through RowState in order
// of position, so that a token's bits do not depend on the kernel.
#pragma once
#include "backend/cuda/attention_split.cuh"

namespace quern::cuda {

// Floats of a chunk's part in memory behind its sums [group][head_dim]: each row's maximum and weight.
constexpr int kPartialTail = 2 * kMaxGroup;

// A row's maximum and weight, and the factors that two of them take when they are added.
struct RowState {
  float most = -INFINITY, weight = 0;
  QUERN_DEVICE float2 add(float other_most, float other_weight) {
    const float next = fmaxf(most, other_most), mine = weight_of(most, next), theirs = weight_of(other_most, next);
    most = next;
    weight = fmaf(other_weight, theirs, weight * mine);
    return make_float2(mine, theirs);
  }
};

// 16 rows of K or V into shared memory, in the background; `last`: the last of them that exists, which those behind it repeat.
template <int kHeadDim>
QUERN_DEVICE void copy_step_rows(unsigned char* rows, const std::byte* from, int last, int lane) {
  constexpr int kChunks = kHeadDim / 8, kRowsAtOnce = kWarp / kChunks;
#pragma unroll
  for (int i = 0; i < kStepTokens / kRowsAtOnce; ++i) {
    const int token = i * kRowsAtOnce + lane / kChunks;
    copy16(row_chunk<kHeadDim>(rows, token, lane % kChunks), from + min(token, last) * kHeadDim * 2 + lane % kChunks * 16);
  }
}

template <int kHeadDim, bool kBfloat>
struct ChunkSums {
  static constexpr int kSteps = kHeadDim / 16;
  float4 of[kSteps];                   // dimensions 16 i + g (x, y) and 8 more (z, w) of the query heads 2 t (x, z) and 2 t + 1
  float most = -INFINITY, weight = 0;  // of query head g; the weight is of this lane's tokens until finish()

  QUERN_DEVICE ChunkSums() { clear(); }
  QUERN_DEVICE void clear() {
    most = -INFINITY, weight = 0;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) of[i] = float4{};
  }
  QUERN_DEVICE void finish() {
    weight += shuffle_xor(weight, 1);
    weight += shuffle_xor(weight, 2);
  }

  // Rows of q as the first operand; rows beyond the group repeat its last.
  QUERN_DEVICE static void load_queries(const AttentionView& v, int token, int kv_head, int lane, uint32_t (&q)[kSteps][2]) {
    const int group = v.num_heads / v.kv.num_kv_heads, g = lane / 4, t = lane % 4;
    const auto head = static_cast<size_t>(kv_head * group + min(g, group - 1));
    const uint16_t* const values = v.q + (static_cast<size_t>(token) * static_cast<size_t>(v.num_heads) + head) * kHeadDim;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      q[i][0] = q_pair<kBfloat>(*reinterpret_cast<const uint32_t*>(values + 16 * i + 2 * t));
      q[i][1] = q_pair<kBfloat>(*reinterpret_cast<const uint32_t*>(values + 16 * i + 8 + 2 * t));
    }
  }

  // q k of query head g and the positions 8 n + 2 t (x) and 1 more (y) of a step.
  struct Scores {
    float2 of[2];
  };
  QUERN_DEVICE static Scores multiply_keys(const uint32_t (&q)[kSteps][2], unsigned char* k_rows, int lane) {
    float4 even[2] = {}, odd[2] = {};
#pragma unroll
    for (int i = 0; i < kSteps; i += 2) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const uint4 b = load_matrices(row_chunk<kHeadDim>(k_rows, 8 * n + lane % 8, 2 * i + lane / 8));
        mma_16<kBfloat>(even[n], q[i][0], 0, q[i][1], 0, b.x, b.y);
        mma_16<kBfloat>(odd[n], q[i + 1][0], 0, q[i + 1][1], 0, b.z, b.w);
      }
    }
    return {{make_float2(even[0].x + odd[0].x, even[0].y + odd[0].y), make_float2(even[1].x + odd[1].x, even[1].y + odd[1].y)}};
  }

  // A step's softmax weights as the second operand, and what the sums so far are multiplied with.
  struct StepWeights {
    uint32_t pairs[2];
    float low_keep, high_keep;
  };
  QUERN_DEVICE StepWeights weigh(Scores scores, const AttentionView& v, int step, int context, int lane) {
    const int t = lane % 4, begin = first_visible(v, context);
    float next_most = most;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const int position = step * kStepTokens + 8 * n + 2 * t;
      const auto visible = [&](int p) { return p >= begin && p < context; };
      scores.of[n].x = visible(position) ? scores.of[n].x * v.scale : -INFINITY;
      scores.of[n].y = visible(position + 1) ? scores.of[n].y * v.scale : -INFINITY;
      next_most = fmaxf(next_most, fmaxf(scores.of[n].x, scores.of[n].y));
    }
    next_most = fmaxf(next_most, shuffle_xor(next_most, 1));
    next_most = fmaxf(next_most, shuffle_xor(next_most, 2));
    const float keep = weight_of(most, next_most);
    most = next_most;
#pragma unroll
    for (int n = 0; n < 2; ++n) scores.of[n] = make_float2(weight_of(scores.of[n].x, most), weight_of(scores.of[n].y, most));
    weight = fmaf(weight, keep, scores.of[0].x + scores.of[0].y + (scores.of[1].x + scores.of[1].y));
    return {{pair_from<kBfloat>(scores.of[0].x, scores.of[0].y), pair_from<kBfloat>(scores.of[1].x, scores.of[1].y)},
            shuffle(keep, 8 * t),
            shuffle(keep, 8 * t + 4)};
  }

  // V^T times the weights.
  QUERN_DEVICE void add_values(unsigned char* v_rows, const StepWeights& w, int lane) {
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      of[i] = make_float4(of[i].x * w.low_keep, of[i].y * w.high_keep, of[i].z * w.low_keep, of[i].w * w.high_keep);
      const uint4 values = load_matrices_transposed(row_chunk<kHeadDim>(v_rows, lane / 16 * 8 + lane % 8, 2 * i + lane / 8 % 2));
      mma_16<kBfloat>(of[i], values.x, values.y, values.z, values.w, w.pairs[0], w.pairs[1]);
    }
  }
};

// Writes sums and each row's maximum and weight as a part.
template <int kHeadDim>
QUERN_DEVICE void store_part(float* part, int group, int lane, const float4 (&sums)[kHeadDim / 16], float most, float weight) {
  const int g = lane / 4, t = lane % 4;
  float* const row = part + 2 * t * kHeadDim + g;
#pragma unroll
  for (int i = 0; i < kHeadDim / 16; ++i) {
    if (2 * t < group) row[16 * i] = sums[i].x, row[16 * i + 8] = sums[i].z;
    if (2 * t + 1 < group) row[kHeadDim + 16 * i] = sums[i].y, row[kHeadDim + 16 * i + 8] = sums[i].w;
  }
  if (t == 0 && g < group) *reinterpret_cast<float2*>(part + group * kHeadDim + 2 * g) = make_float2(most, weight);
}

}  // namespace quern::cuda
