// The attention kernels, written once over Lanes. Included by attention_<isa>.cpp after lanes_<isa>.h; everything has internal linkage.
#pragma once
#include <cstdint>

#include "backend/cpu/attention_product.h"
#include "backend/cpu/kv_codes.h"
#include "backend/cpu/lanes_math.h"
#include "backend/cpu/row_tiles.h"

namespace quern::cpu {
namespace {

using F = Lanes::F;
constexpr size_t kWidth = 16;

struct F32Cache {
  static constexpr size_t kBytes = 4;
  static constexpr bool kHasScales = false;
  static F load(const std::byte* p) { return Lanes::load(reinterpret_cast<const float*>(p)); }
};
struct F16Cache {
  static constexpr size_t kBytes = 2;
  static constexpr bool kHasScales = false;
  static F load(const std::byte* p) { return Lanes::load_f16(p); }
};
struct Bf16Cache {
  static constexpr size_t kBytes = 2;
  static constexpr bool kHasScales = false;
  static F load(const std::byte* p) { return Lanes::load_bf16(p); }
};
struct I8Cache {
  static constexpr size_t kBytes = 1;
  static constexpr bool kHasScales = true;
  static F load(const std::byte* p) { return Lanes::sub(Lanes::from_bytes(p), Lanes::all(kCodeZero)); }
};

// Positions that one row sees, relative to the start of a chunk.
struct Visible {
  size_t begin = 0, end = 0;
};

inline Visible visible(const AttentionUnit& u, size_t row, size_t chunk) {
  const auto last = static_cast<size_t>(u.positions[row / u.group]);
  const size_t start = chunk * kChunk, first = u.window == 0 || last + 1 < u.window ? 0 : last + 1 - u.window;
  if (last < start || first >= start + kChunk) return {};
  return {first < start ? 0 : first - start, last + 1 - start < kChunk ? last + 1 - start : kChunk};
}

// Rows of a tile that see something of a chunk.
struct View {
  const Visible* rows;
  size_t begin = 0, end = kChunk;          // what every row sees; empty when begin >= end
  size_t any_begin = kChunk, any_end = 0;  // what some row sees
};

// Scores of 16 positions: q . k * scale. k: vectors of 16 positions, `k_step` bytes from one dimension to the next; q: `q_step` floats
// from one dimension to the next, the rows side by side. Blocks lie anywhere and are short, so that the processor's own prefetchers find
// neither K nor V: 16 later positions of K and the same 16 of V (next_k, next_v; null: none) are asked for along the way, a line or two at
// a time, because a burst of prefetches holds up the loads behind it.
template <class Cache>
struct ScoreKernel {
  template <int M>
  static void run(const std::byte* k, size_t k_step, const float* q, size_t q_step, size_t head_dim, float scale, const std::byte* next_k,
                  const std::byte* next_v, float* scores) {
    F even[M], odd[M];
    LANES_UNROLL
    for (int m = 0; m < M; ++m) even[m] = odd[m] = Lanes::zero();
    for (size_t d = 0; d < head_dim; d += 2, k += 2 * k_step, q += 2 * q_step) {
      if (next_k != nullptr) {
        Lanes::prefetch(next_k + d * k_step);
        if (k_step >= 64) Lanes::prefetch(next_k + (d + 1) * k_step);
      }
      if (next_v != nullptr) {
        for (size_t i = 0; i < 2 * kWidth * Cache::kBytes; i += 64) Lanes::prefetch_far(next_v + d * kWidth * Cache::kBytes + i);
      }
      const F k0 = Cache::load(k), k1 = Cache::load(k + k_step);
      LANES_UNROLL
      for (int m = 0; m < M; ++m) {
        even[m] = Lanes::fma(k0, Lanes::all(q[m]), even[m]);
        odd[m] = Lanes::fma(k1, Lanes::all(q[q_step + static_cast<size_t>(m)]), odd[m]);
      }
    }
    LANES_UNROLL
    for (int m = 0; m < M; ++m) {
      Lanes::store(scores + static_cast<size_t>(m) * kChunk, Lanes::mul(Lanes::add(even[m], odd[m]), Lanes::all(scale)));
    }
  }
};

// sums[m][16 dimensions] = weights[m] . v over the positions that row m sees. Positions that not every row sees are taken row by row, so
// that nothing of a position reaches a row that does not see it.
template <class Cache>
struct SumKernel {
  template <int M>
  static void run(const AttentionUnit& u, const View& view, const std::byte* v, const int32_t* blocks, const float* weights, float* sums) {
    const size_t v_step = u.head_dim * Cache::kBytes;
    F even[M], odd[M];
    LANES_UNROLL
    for (int m = 0; m < M; ++m) even[m] = odd[m] = Lanes::zero();
    const auto row_by_row = [&](size_t begin, size_t end) {
      for (size_t j = begin; j < end; ++j) {
        const F value = Cache::load(v + static_cast<size_t>(blocks[j / u.block_tokens]) * u.block_bytes + j % u.block_tokens * v_step);
        LANES_UNROLL
        for (int m = 0; m < M; ++m) {
          if (j < view.rows[m].begin || j >= view.rows[m].end) continue;
          F& sum = j % 2 == 0 ? even[m] : odd[m];
          sum = Lanes::fma(value, Lanes::all(weights[static_cast<size_t>(m) * kChunk + j]), sum);
        }
      }
    };
    const bool has_common = view.begin < view.end;
    const size_t begin = has_common ? view.begin + view.begin % 2 : view.any_end, end = has_common ? view.end - view.end % 2 : view.any_end;
    row_by_row(view.any_begin, begin);
    F e[M], o[M];  // the sums again, of which nobody takes the address: they stay in registers
    LANES_UNROLL
    for (int m = 0; m < M; ++m) e[m] = even[m], o[m] = odd[m];
    for (size_t j = begin; j < end;) {
      const size_t inside = j % u.block_tokens, rest = u.block_tokens - inside, stop = end - j < rest ? end : j + rest;
      const std::byte* p = v + static_cast<size_t>(blocks[j / u.block_tokens]) * u.block_bytes + inside * v_step;
      for (; j < stop; j += 2, p += 2 * v_step) {
        const F v0 = Cache::load(p), v1 = Cache::load(p + v_step);
        LANES_UNROLL
        for (int m = 0; m < M; ++m) {
          e[m] = Lanes::fma(v0, Lanes::all(weights[static_cast<size_t>(m) * kChunk + j]), e[m]);
          o[m] = Lanes::fma(v1, Lanes::all(weights[static_cast<size_t>(m) * kChunk + j + 1]), o[m]);
        }
      }
    }
    LANES_UNROLL
    for (int m = 0; m < M; ++m) even[m] = e[m], odd[m] = o[m];
    if (has_common) row_by_row(end, view.any_end);
    LANES_UNROLL
    for (int m = 0; m < M; ++m) Lanes::store(sums + static_cast<size_t>(m) * u.head_dim, Lanes::add(even[m], odd[m]));
  }
};

struct Softmax {
  float largest, sum;
};

// Scores of one row to weights exp(score - largest), 0 where the row sees nothing.
inline Softmax weigh(float* scores, Visible seen) {
  const size_t begin = seen.begin / kWidth * kWidth, end = (seen.end + kWidth - 1) / kWidth * kWidth;
  const auto fill_unseen = [&](float value) {
    for (size_t j = begin; j < seen.begin; ++j) scores[j] = value;
    for (size_t j = seen.end; j < end; ++j) scores[j] = value;
  };
  fill_unseen(-__builtin_inff());
  F most = Lanes::load(scores + begin);
  for (size_t j = begin + kWidth; j < end; j += kWidth) most = Lanes::max(most, Lanes::load(scores + j));
  const float largest = largest_lane(most);
  for (size_t j = begin; j < end; j += kWidth)
    Lanes::store(scores + j, exp_lanes(Lanes::sub(Lanes::load(scores + j), Lanes::all(largest))));
  fill_unseen(0);
  F sum = Lanes::zero();
  for (size_t j = begin; j < end; j += kWidth) sum = Lanes::add(sum, Lanes::load(scores + j));
  return {largest, sum_lanes(sum)};
}

// One chunk's sum, largest score and sum of weights into a row's partial. A row that has seen nothing yet has a sum of weights of 0.
inline void merge_row(float* partial, const float* sums, Softmax chunk, size_t head_dim) {
  float& largest = partial[head_dim];
  float& total = partial[head_dim + 1];
  if (total == 0) {
    for (size_t d = 0; d < head_dim; d += kWidth) Lanes::store(partial + d, Lanes::load(sums + d));
    largest = chunk.largest;
    total = chunk.sum;
    return;
  }
  const float most = chunk.largest > largest ? chunk.largest : largest;
  const float keep = first_lane(exp_lanes(Lanes::all(largest - most))), add = first_lane(exp_lanes(Lanes::all(chunk.largest - most)));
  for (size_t d = 0; d < head_dim; d += kWidth) {
    const F kept = Lanes::mul(Lanes::load(partial + d), Lanes::all(keep));
    Lanes::store(partial + d, Lanes::fma(Lanes::load(sums + d), Lanes::all(add), kept));
  }
  largest = most;
  total = total * keep + chunk.sum * add;
}

constexpr size_t kAhead = 64;  // positions whose K is asked for before it is wanted

// 16 positions of K from `position` on: the first dimension; the next is block_tokens values away.
template <class Cache>
inline const std::byte* keys(const AttentionUnit& u, size_t position) {
  return u.k + static_cast<size_t>(u.blocks[position / u.block_tokens]) * u.block_bytes + position % u.block_tokens * Cache::kBytes;
}

// V of a position.
template <class Cache>
inline const std::byte* values(const AttentionUnit& u, size_t position) {
  return u.v + static_cast<size_t>(u.blocks[position / u.block_tokens]) * u.block_bytes +
         position % u.block_tokens * u.head_dim * Cache::kBytes;
}

// scores[m][16 positions from `position` on] times the scales of those positions in `half`, which is u.k or u.v.
inline void multiply_scales(const AttentionUnit& u, const std::byte* half, size_t position, float* scores, size_t rows) {
  const std::byte* block = half + static_cast<size_t>(u.blocks[position / u.block_tokens]) * u.block_bytes;
  const std::byte* at = block + scales_offset(u.block_tokens, u.head_dim) + position % u.block_tokens * sizeof(float);
  const F scales = Lanes::load(reinterpret_cast<const float*>(at));
  for (size_t m = 0; m < rows; ++m, scores += kChunk) Lanes::store(scores, Lanes::mul(Lanes::load(scores), scales));
}

template <class Cache>
void attend_chunk(const AttentionUnit& u, const Tiles& tiles, size_t chunk) {
  const int32_t* blocks = u.blocks + chunk * (kChunk / u.block_tokens);
  for (size_t t = 0; t < tiles.count; ++t) {
    const size_t tile_first = tiles.first(t), tile_rows = tiles.rows(t);
    Visible rows[Lanes::kFloatTile];
    size_t first = 0, count = 0;  // the rows that see the chunk are neighbours: positions rise with the row
    View view{rows};
    for (size_t m = 0; m < tile_rows; ++m) {
      const Visible seen = visible(u, tile_first + m, chunk);
      if (seen.begin == seen.end) continue;
      if (count == 0) first = m;
      rows[count++] = seen;
      if (seen.begin > view.begin) view.begin = seen.begin;
      if (seen.end < view.end) view.end = seen.end;
      if (seen.begin < view.any_begin) view.any_begin = seen.begin;
      if (seen.end > view.any_end) view.any_end = seen.end;
    }
    if (count == 0) continue;
    const float* queries = u.queries + tile_first * u.head_dim + first;
    for (size_t j = view.any_begin / kWidth * kWidth; j < view.any_end; j += kWidth) {
      const size_t position = chunk * kChunk + j, later = position + kAhead;
      const bool is_later_seen = t == 0 && later <= static_cast<size_t>(u.positions[u.tokens - 1]);
      with_rows<ScoreKernel<Cache>, Lanes::kFloatTile>(count, keys<Cache>(u, position), u.block_tokens * Cache::kBytes, queries, tile_rows,
                                                       u.head_dim, u.scale, is_later_seen ? keys<Cache>(u, later) : nullptr,
                                                       t == 0 ? values<Cache>(u, position) : nullptr, u.scores + j);
      if constexpr (Cache::kHasScales) multiply_scales(u, u.k, position, u.scores + j, count);
    }
    Softmax softmax[Lanes::kFloatTile];
    for (size_t m = 0; m < count; ++m) softmax[m] = weigh(u.scores + m * kChunk, rows[m]);
    if constexpr (Cache::kHasScales) {  // a position that a row does not see may become NaN here, and is not read
      for (size_t j = view.any_begin / kWidth * kWidth; j < view.any_end; j += kWidth) {
        multiply_scales(u, u.v, chunk * kChunk + j, u.scores + j, count);
      }
    }
    for (size_t d = 0; d < u.head_dim; d += kWidth) {
      with_rows<SumKernel<Cache>, Lanes::kFloatTile>(count, u, view, u.v + d * Cache::kBytes, blocks, u.scores, u.sums + d);
    }
    const size_t stride = partial_floats(u.head_dim);
    for (size_t m = 0; m < count; ++m)
      merge_row(u.partials + (tile_first + first + m) * stride, u.sums + m * u.head_dim, softmax[m], u.head_dim);
  }
}

template <class Cache>
void attend(const AttentionUnit& u, size_t begin, size_t end) {
  const size_t rows = u.tokens * u.group, stride = partial_floats(u.head_dim);
  const Tiles tiles(rows, Lanes::kFloatTile);
  for (size_t t = 0; t < tiles.count; ++t) {  // queries of a tile side by side: [head_dim][rows]
    const size_t first = tiles.first(t), count = tiles.rows(t);
    for (size_t m = 0; m < count; ++m) {
      const float* q = u.q + (first + m) / u.group * u.stride + (first + m) % u.group * u.head_dim;
      for (size_t d = 0; d < u.head_dim; ++d) u.queries[first * u.head_dim + d * count + m] = q[d];
    }
  }
  for (size_t row = 0; row < rows; ++row) u.partials[row * stride + u.head_dim + 1] = 0;
  for (size_t chunk = begin; chunk < end; ++chunk) attend_chunk<Cache>(u, tiles, chunk);
}

void merge(const AttentionUnit& u, const float* more) {
  const size_t stride = partial_floats(u.head_dim);
  for (size_t row = 0; row < u.tokens * u.group; ++row, more += stride) {
    if (more[u.head_dim + 1] == 0) continue;  // saw nothing
    merge_row(u.partials + row * stride, more, {more[u.head_dim], more[u.head_dim + 1]}, u.head_dim);
  }
}

void finish(const AttentionUnit& u) {
  const float* partial = u.partials;
  for (size_t row = 0; row < u.tokens * u.group; ++row, partial += partial_floats(u.head_dim)) {
    float* y = u.y + row / u.group * u.stride + row % u.group * u.head_dim;
    const F total = Lanes::all(partial[u.head_dim + 1]);
    for (size_t d = 0; d < u.head_dim; d += kWidth) Lanes::store(y + d, Lanes::div(Lanes::load(partial + d), total));
  }
}

constexpr AttentionKernels make_attention_kernels(const char* name) {
  return {name, Lanes::kFloatTile, {attend<F32Cache>, attend<F16Cache>, attend<Bf16Cache>, attend<I8Cache>}, merge, finish};
}

}  // namespace
}  // namespace quern::cpu
