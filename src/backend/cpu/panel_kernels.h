// The panel kernels, written once over Lanes. Included by panels_<isa>.cpp after lanes_<isa>.h; everything has internal linkage.
// Prediction and measurement of each choice: docs/performance.md.
#pragma once
#include "backend/cpu/lanes_math.h"
#include "backend/cpu/panel_product.h"
#include "backend/cpu/panel_sources.h"
#include "backend/cpu/row_tiles.h"

namespace quern::cpu {
namespace {

// A thread reads its panels in order, which the processor's own prefetchers follow best when nothing else asks for lines: instructions
// that prefetch 2 KiB ahead cost a third of the bandwidth. Blocks of 256 columns are the exception, because their fields are read out of
// order: there 4 KiB ahead give q4_k a sixth more and q6_k three quarters.
template <class S>
inline void fetch_ahead(const std::byte* block) {
  if constexpr (S::kBlock == 256) {
    for (int i = 0; i < S::kBytes; i += 64) Lanes::prefetch_far(block + 4096 + i);
  }
}

// ---- Integer weights. A view of a group offers code(q), scale(i), offset(i).

template <int kHalves>
struct LoadedGroup {
  const Group<kHalves>& group;
  Codes code(int q) const { return group.codes[q]; }
  F scale(int i) const { return group.scale[i]; }
  F offset(int i) const { return group.offset[i]; }
};

template <class U>
struct UnpackedGroup {
  const std::byte* p;
  Codes code(int q) const { return Lanes::load_codes(p + q * kVector); }
  F scale(int i) const { return Lanes::load(reinterpret_cast<const float*>(p + U::kScales + i * kVector)); }
  F offset(int i) const { return Lanes::load(reinterpret_cast<const float*>(p + U::kOffsets + i * kVector)); }
};

// A group of M rows of x as a tile has it: code(q, m) points at 4 codes, word(w, m) at a word.
template <int M>
struct TileGroup {
  const int8_t* codes;
  const float* words;
  const int8_t* code(int q, int m) const { return codes + (q * M + m) * 4; }
  const float* word(int w, int m) const { return words + w * M + m; }
};

// Neighbouring remainders of one group.
struct RemainderGroup {
  const Remainder* remainders;
  const int8_t* code(int q, int m) const { return remainders[m].codes + q * 4; }
  const float* word(int w, int m) const { return remainders[m].words + w; }
};

// y[m] += x's group . the group, for M rows.
template <class S, int M, class View, class X>
inline void add_group(const View& view, const X& x, F (&y)[M]) {
  constexpr int kQuads = 8 / S::kHalves;
  LANES_UNROLL
  for (int half = 0; half < S::kHalves; ++half) {
    const int minus_sum = S::kHalves == 1 ? kMinusSum : kMinusSum0 + half, scaled_sum = S::kHalves == 1 ? kScaledSum : kScaledSum0 + half;
    typename Lanes::Dot<S::kMaxCode, kQuads> dots[M];
    LANES_UNROLL
    for (int m = 0; m < M; ++m) {
      if constexpr (S::kShift >= 0) {
        dots[m].start(Lanes::shift_left<S::kShift>(Lanes::load_all_i(x.word(minus_sum, m))));
      } else {
        dots[m].start(Lanes::all_i(0));
      }
    }
    LANES_UNROLL
    for (int q = 0; q < kQuads; ++q) {
      const Codes code = view.code(half * kQuads + q);
      LANES_UNROLL
      for (int m = 0; m < M; ++m) dots[m].add(code, x.code(half * kQuads + q, m), q);
    }
    LANES_UNROLL
    for (int m = 0; m < M; ++m) {
      const F sum = Lanes::to_float(dots[m].end()), x_scale = Lanes::all(*x.word(kScale, m));
      if constexpr (S::kScaled) {
        y[m] = Lanes::fma(sum, Lanes::mul(view.scale(half), x_scale), y[m]);
      } else {
        y[m] = Lanes::fma(sum, x_scale, y[m]);
      }
      if constexpr (S::kOffset) y[m] = Lanes::fma(view.offset(half), Lanes::all(*x.word(scaled_sum, m)), y[m]);
    }
  }
}

// rest[remainder's row] += remainder . the group.
template <class S, class View>
inline void add_remainder(const View& view, const Remainder* remainder, F& rest) {
  F y[1] = {rest};
  add_group<S, 1>(view, RemainderGroup{remainder}, y);
  rest = y[0];
}

// Few rows: straight from the panel.
template <class S>
struct DirectKernel {
  template <int M>
  static void run(const std::byte* panel, size_t columns, const int8_t* codes, const float* words, const Remainder* remainder, float* out) {
    F y[M], rest[M];
    for (int m = 0; m < M; ++m) y[m] = rest[m] = Lanes::zero();
    for (size_t k = 0; k < columns; k += S::kBlock, panel += S::kBytes) {
      fetch_ahead<S>(panel);
      LANES_UNROLL
      for (int g = 0; g < S::kBlock / 32; ++g) {
        Group<S::kHalves> group;
        S::load(panel, g, group);
        const LoadedGroup<S::kHalves> view{group};
        add_group<S, M>(view, TileGroup<M>{codes, words}, y);
        codes += kGroup * M;
        words += kGroupWords * M;
        for (; remainder->group == k / kGroup + static_cast<size_t>(g); ++remainder)
          add_remainder<S>(view, remainder, rest[M == 1 ? 0 : remainder->row]);
      }
    }
    for (int m = 0; m < M; ++m) Lanes::store(out + m * kLanes, Lanes::add(y[m], rest[m]));
  }
};

// A tile of rows against unpacked groups; y is continued.
template <class U>
struct TileKernel {
  template <int M>
  static void run(const std::byte* stage, size_t groups, const int8_t* codes, const float* words, float* out) {
    F y[M];
    LANES_UNROLL
    for (int m = 0; m < M; ++m) y[m] = Lanes::load(out + m * kLanes);
    for (size_t g = 0; g < groups; ++g, stage += U::kBytes, codes += kGroup * M, words += kGroupWords * M) {
      add_group<U, M>(UnpackedGroup<U>{stage}, TileGroup<M>{codes, words}, y);
    }
    LANES_UNROLL
    for (int m = 0; m < M; ++m) Lanes::store(out + m * kLanes, y[m]);
  }
};

// The remainders of a tile of `rows` rows whose groups lie in the stage that begins with group `first` and ends before `end`.
template <class U, class View>
inline void add_remainders(const std::byte* stage, size_t first, size_t end, size_t rows, const Remainder* remainder, float* rest) {
  if (comes_in_pairs(rows)) {
    for (; remainder->group < end; remainder += 2) {
      float *const sum0 = rest + remainder[0].row * kLanes, *const sum1 = rest + remainder[1].row * kLanes;
      F y[2] = {Lanes::load(sum0), Lanes::load(sum1)};
      add_group<U, 2>(View{stage + (remainder->group - first) * U::kBytes}, RemainderGroup{remainder}, y);
      Lanes::store(sum0, y[0]);
      Lanes::store(sum1, y[1]);
    }
    return;
  }
  for (; remainder->group < end; ++remainder) {
    float* const sum = rest + remainder->row * kLanes;
    F total = Lanes::load(sum);
    add_remainder<U>(View{stage + (remainder->group - first) * U::kBytes}, remainder, total);
    Lanes::store(sum, total);
  }
}

template <class S>
inline void unpack_stage(const std::byte* panel, size_t columns, std::byte* stage) {
  for (size_t k = 0; k < columns; k += S::kBlock, panel += S::kBytes) {
    fetch_ahead<S>(panel);
    LANES_UNROLL
    for (int g = 0; g < S::kBlock / 32; ++g, stage += Unpacked<S>::kBytes) {
      Group<S::kHalves> group;
      S::load(panel, g, group);
      Unpacked<S>::store(stage, group);
    }
  }
}

template <class S>
inline void scale_rows(const PanelTask& task) {
  if constexpr (!S::kScaled) {
    const F scale = Lanes::load(reinterpret_cast<const float*>(task.panel + task.rows->padded_columns / S::kBlock * S::kBytes));
    for (size_t i = 0; i < task.rows->rows * kLanes; i += kLanes) Lanes::store(task.y + i, Lanes::mul(Lanes::load(task.y + i), scale));
  }
}

// After the last stage.
template <class S>
inline void finish_integer(const PanelTask& task) {
  for (size_t i = 0; i < task.rows->rows * kLanes; i += kLanes) {
    Lanes::store(task.y + i, Lanes::add(Lanes::load(task.y + i), Lanes::load(task.rest + i)));
  }
  scale_rows<S>(task);
}

template <class S>
void multiply_integer(const PanelTask& task) {
  const PreparedRows& x = *task.rows;
  const size_t columns = x.padded_columns;
  if (x.rows <= Lanes::kDirectTile) {
    with_rows<DirectKernel<S>, Lanes::kDirectTile>(x.rows, task.panel, columns, x.codes, x.words, x.remainders, task.y);
    scale_rows<S>(task);
  } else {
    using U = Unpacked<S>;
    const Tiles tiles(x.rows, Lanes::kIntegerTile);
    for (size_t i = 0; i < x.rows * kLanes; i += kLanes) {
      Lanes::store(task.y + i, Lanes::zero());
      Lanes::store(task.rest + i, Lanes::zero());
    }
    for (size_t k = 0, stage = 0; k < columns; k += kStage, ++stage) {
      const size_t part = columns - k < kStage ? columns - k : kStage;
      unpack_stage<S>(task.panel + k / S::kBlock * S::kBytes, part, task.stage);
      for (size_t t = 0; t < tiles.count; ++t) {
        const size_t first = tiles.first(t), rows = tiles.rows(t);
        const int8_t* codes = x.codes + first * columns + k * rows;
        const float* words = x.words + (first * columns + k * rows) / kGroup * kGroupWords;
        with_rows<TileKernel<U>, Lanes::kIntegerTile>(rows, task.stage, part / kGroup, codes, words, task.y + first * kLanes);
        add_remainders<U, UnpackedGroup<U>>(task.stage, k / kGroup, (k + part) / kGroup, rows,
                                            x.remainders + first * remainders_a_row(x) + x.stage_remainders[t * num_stages(x) + stage],
                                            task.rest + first * kLanes);
      }
    }
    finish_integer<S>(task);
  }
}

// ---- Float weights.

// Columns of one block: y[m] += chain of even columns + chain of odd columns.
template <class S>
struct FloatKernel {
  template <int M>
  static void run(const std::byte* panel, size_t columns, const float* x, float* out) {
    F even[M], odd[M];
    LANES_UNROLL
    for (int m = 0; m < M; ++m) even[m] = odd[m] = Lanes::zero();
    for (size_t k = 0; k + 2 <= columns; k += 2, panel += 2 * S::kBytes, x += 2 * M) {
      F w0, w1;
      S::load(panel, w0, w1);
      LANES_UNROLL
      for (int m = 0; m < M; ++m) {
        even[m] = Lanes::fma(w0, Lanes::all(x[m]), even[m]);
        odd[m] = Lanes::fma(w1, Lanes::all(x[M + m]), odd[m]);
      }
    }
    if (columns % 2 != 0) {
      const F w = S::first(panel);
      LANES_UNROLL
      for (int m = 0; m < M; ++m) even[m] = Lanes::fma(w, Lanes::all(x[m]), even[m]);
    }
    LANES_UNROLL
    for (int m = 0; m < M; ++m) Lanes::store(out + m * kLanes, Lanes::add(Lanes::load(out + m * kLanes), Lanes::add(even[m], odd[m])));
  }
};

template <class S>
void multiply_float(const PanelTask& task) {
  const PreparedRows& x = *task.rows;
  const Tiles tiles(x.rows, Lanes::kFloatTile);
  for (size_t i = 0; i < x.rows * kLanes; i += kLanes) Lanes::store(task.y + i, Lanes::zero());
  for (size_t k = 0; k < x.columns; k += kFloatBlock) {
    const size_t part = x.columns - k < kFloatBlock ? x.columns - k : kFloatBlock;
    const std::byte* panel = task.panel + k * S::kBytes;
    if (tiles.count == 1) {
      with_rows<FloatKernel<S>, Lanes::kFloatTile>(x.rows, panel, part, x.values + k * x.rows, task.y);
      continue;
    }
    auto* floats = reinterpret_cast<float*>(task.stage);
    for (size_t i = 0; i < part; i += 2) {
      F even, odd;
      if (i + 1 < part) {
        S::load(panel + i * S::kBytes, even, odd);
        Lanes::store(floats + (i + 1) * kLanes, odd);
      } else {
        even = S::first(panel + i * S::kBytes);
      }
      Lanes::store(floats + i * kLanes, even);
    }
    for (size_t t = 0; t < tiles.count; ++t) {
      const size_t first = tiles.first(t), rows = tiles.rows(t);
      with_rows<FloatKernel<F32Source>, Lanes::kFloatTile>(rows, task.stage, part, x.values + first * x.columns + k * rows,
                                                           task.y + first * kLanes);
    }
  }
}

// ---- Rows of x.

// values (and norm, when given) to scratch, zeros behind the end up to a multiple of 32.
inline void normalize(const float* x, const float* norm, float epsilon, size_t columns, float* scratch) {
  const size_t whole = columns / kLanes * kLanes, padded = (columns + kGroup - 1) / kGroup * kGroup;
  for (size_t k = 0; k < whole; k += kLanes) Lanes::store(scratch + k, Lanes::load(x + k));
  for (size_t k = whole; k < padded; ++k) scratch[k] = k < columns ? x[k] : 0.F;
  if (norm == nullptr) return;
  F squares = Lanes::zero();
  for (size_t k = 0; k < padded; k += kLanes) squares = Lanes::fma(Lanes::load(scratch + k), Lanes::load(scratch + k), squares);
  const float factor = 1.F / __builtin_sqrtf(sum_lanes(squares) / static_cast<float>(columns) + epsilon);
  for (size_t k = 0; k < whole; k += kLanes) {
    Lanes::store(scratch + k, Lanes::mul(Lanes::mul(Lanes::load(scratch + k), Lanes::all(factor)), Lanes::load(norm + k)));
  }
  for (size_t k = whole; k < columns; ++k) scratch[k] = scratch[k] * factor * norm[k];
}

// Of x as normalize() leaves it: the magnitude of a group above which its remainder is kept.
inline float remainder_limit(const float* x, size_t columns) {
  F squares = Lanes::zero();
  for (size_t k = 0; k < columns; k += kLanes) squares = Lanes::fma(Lanes::load(x + k), Lanes::load(x + k), squares);
  return kRemainderAbove * __builtin_sqrtf(sum_lanes(squares) / static_cast<float>(columns));
}

// The words of a group, `step` rows in the tile, from its codes as floats.
inline void put_words(F low, F high, float scale, float* words, size_t step) {
  const int32_t sum0 = Lanes::sum_i(Lanes::to_int(low)), sum1 = Lanes::sum_i(Lanes::to_int(high));
  const auto put = [&](int word, int32_t value) { __builtin_memcpy(words + static_cast<size_t>(word) * step, &value, 4); };
  words[kScale * step] = scale;
  put(kMinusSum, -(sum0 + sum1));
  put(kMinusSum0, -sum0);
  put(kMinusSum1, -sum1);
  words[kScaledSum * step] = scale * static_cast<float>(sum0 + sum1);
  words[kScaledSum0 * step] = scale * static_cast<float>(sum0);
  words[kScaledSum1 * step] = scale * static_cast<float>(sum1);
}

// One group of a row: 32 bytes of codes and the words, and whether it has a remainder.
// scale = max|x| / 127. The largest magnitude is found in the bits, so that a NaN or an infinity becomes the scale and so the result.
inline bool quantize_group(const float* x, float limit, int8_t* codes, float* words, size_t step, Remainder* remainder) {
  const I magnitude = Lanes::all_i(0x7fffffff);
  F low = Lanes::load(x), high = Lanes::load(x + kLanes);
  const int32_t bits =
      Lanes::largest_i(Lanes::max_i(Lanes::and_i(Lanes::as_int(low), magnitude), Lanes::and_i(Lanes::as_int(high), magnitude)));
  float most;
  __builtin_memcpy(&most, &bits, 4);
  const float scale = most / 127.F;
  if (!(most < __builtin_inff())) {
    Lanes::store_bytes(codes, Lanes::zero(), Lanes::zero());
    put_words(Lanes::zero(), Lanes::zero(), scale, words, step);
    return false;
  }
  const F inverse = Lanes::all(scale > 0x1p-120F ? 1.F / scale : 0.F);  // below, all codes are 0
  low = Lanes::mul(low, inverse);
  high = Lanes::mul(high, inverse);
  const F whole_low = Lanes::round(low), whole_high = Lanes::round(high);
  Lanes::store_bytes(codes, whole_low, whole_high);
  put_words(whole_low, whole_high, scale, words, step);
  if (!(most > limit)) return false;
  const F steps = Lanes::all(254.F);  // half a step becomes 127
  low = Lanes::round(Lanes::mul(Lanes::sub(low, whole_low), steps));
  high = Lanes::round(Lanes::mul(Lanes::sub(high, whole_high), steps));
  Lanes::store_bytes(remainder->codes, low, high);
  put_words(low, high, scale / 254.F, remainder->words, 1);
  return true;
}

// Tile `tile` of normalized rows x, `padded_columns` apart, to codes, words and remainders.
inline void quantize_tile(const PreparedRows& to, const Tiles& tiles, size_t tile, const float* x) {
  const size_t first = tiles.first(tile), rows = tiles.rows(tile), columns = to.padded_columns, groups = num_groups(to);
  float limits[kMostTile];
  for (size_t m = 0; m < rows; ++m) limits[m] = remainder_limit(x + m * columns, columns);
  int8_t* codes = to.codes + first * columns;
  float* words = to.words + first * groups * kGroupWords;
  Remainder* const begin = to.remainders + first * remainders_a_row(to);
  Remainder* remainder = begin;
  for (size_t g = 0; g < groups; ++g, codes += kGroup * rows, words += kGroupWords * rows) {
    if (g % (kStage / kGroup) == 0)
      to.stage_remainders[tile * num_stages(to) + g / (kStage / kGroup)] = static_cast<uint32_t>(remainder - begin);
    const Remainder* const of_group = remainder;
    for (size_t m = 0; m < rows; ++m) {
      alignas(64) int8_t group[kGroup];
      if (quantize_group(x + m * columns + g * kGroup, limits[m], group, words + m, rows, remainder)) {
        remainder->group = static_cast<uint16_t>(g);
        remainder->row = static_cast<uint16_t>(m);
        ++remainder;
      }
      if (to.codes_by_row) {
        __builtin_memcpy(codes + m * kGroup, group, kGroup);
      } else {
        for (size_t q = 0; q < kGroup; q += 4) __builtin_memcpy(codes + (q * rows + 4 * m), group + q, 4);
      }
    }
    if (comes_in_pairs(rows) && (remainder - of_group) % 2 != 0) {  // one more of zeros, of another row
      const auto row = static_cast<uint16_t>((remainder[-1].row + 1U) % rows);
      *remainder = {.codes = {}, .words = {}, .group = static_cast<uint16_t>(g), .row = row};
      ++remainder;
    }
  }
  remainder->group = kNoGroup;
}

// To nearest, ties to even; a NaN stays one.
inline uint16_t rounded_bf16(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}

void prepare_rows(const PrepareTask& task) {
  const PreparedRows& to = *task.rows;
  const Tiles tiles(to.rows, to.integer_tile);
  for (size_t row = task.begin; row < task.end; ++row) {
    const size_t source = task.row_ids == nullptr ? row : static_cast<size_t>(task.row_ids[row]);
    const size_t tile = tiles.of(row), place = row - tiles.first(tile);
    float* const x = task.scratch + place * ((to.columns + kGroup - 1) / kGroup * kGroup);
    normalize(task.x + source * to.columns, task.norm, task.epsilon, to.columns, x);
    if (to.values != nullptr || to.pairs != nullptr) {
      const Tiles float_tiles(to.rows, to.float_tile);
      const size_t float_tile = float_tiles.of(row), first = float_tiles.first(float_tile), step = float_tiles.rows(float_tile);
      if (to.values != nullptr) {
        float* values = to.values + first * to.columns + (row - first);
        for (size_t k = 0; k < to.columns; ++k) values[k * step] = x[k];
      } else {
        uint32_t* pairs = to.pairs + first * num_pairs(to) + (row - first);
        for (size_t k = 0; k < to.columns; k += 2, pairs += step) {
          *pairs = rounded_bf16(x[k]) | (k + 1 < to.columns ? static_cast<uint32_t>(rounded_bf16(x[k + 1])) << 16 : 0U);
        }
      }
    }
    if (to.codes != nullptr && place + 1 == tiles.rows(tile)) quantize_tile(to, tiles, tile, task.scratch);
  }
}

// ---- Results.

void store_rows(const StoreTask& task) {
  for (size_t m = 0; m < task.rows; ++m) {
    F y = Lanes::load(task.y + m * kLanes);
    if (task.up != nullptr) y = Lanes::mul(silu(y), Lanes::load(task.up + m * kLanes));
    float* out = task.out + m * task.stride;
    const float* residual = task.residual == nullptr ? nullptr : task.residual + m * task.stride;
    if (task.lanes == kLanes) {
      if (task.bias != nullptr) y = Lanes::add(y, Lanes::load(task.bias));
      if (residual != nullptr) y = Lanes::add(y, Lanes::load(residual));
      Lanes::store(out, y);
      continue;
    }
    float values[kLanes];
    Lanes::store(values, y);
    for (size_t i = 0; i < task.lanes; ++i) {
      if (task.bias != nullptr) values[i] += task.bias[i];
      if (residual != nullptr) values[i] += residual[i];
      out[i] = values[i];
    }
  }
}

// Without any format.
constexpr PanelKernels make_bare_kernels(const char* name) {
  return {name, Lanes::kFloatTile, Lanes::kIntegerTile, false, false, prepare_rows, {}, store_rows};
}

// Multiply<S>::run for every integer source.
template <template <class> class Multiply>
constexpr void set_integer_kernels(PanelKernels& k) {
  const auto set = [&](Format format, void (*multiply)(const PanelTask&)) { k.multiply[static_cast<size_t>(format)] = multiply; };
  set(Format::i8, Multiply<I8Row>::run);
  set(Format::i8g32, Multiply<I8G<32>>::run);
  set(Format::i8g64, Multiply<I8G<64>>::run);
  set(Format::i8g128, Multiply<I8G<128>>::run);
  set(Format::i4g32, Multiply<I4<32>>::run);
  set(Format::i4g64, Multiply<I4<64>>::run);
  set(Format::i4g128, Multiply<I4<128>>::run);
  set(Format::i4g32z, Multiply<I4Z<32>>::run);
  set(Format::i4g64z, Multiply<I4Z<64>>::run);
  set(Format::i4g128z, Multiply<I4Z<128>>::run);
  set(Format::q4_1, Multiply<Q4_1>::run);
  set(Format::q5_0, Multiply<Q5_0>::run);
  set(Format::q5_1, Multiply<Q5_1>::run);
  set(Format::q2_k, Multiply<Q2_K>::run);
  set(Format::q3_k, Multiply<Q3_K>::run);
  set(Format::q4_k, Multiply<Q4_K>::run);
  set(Format::q5_k, Multiply<Q5_K>::run);
  set(Format::q6_k, Multiply<Q6_K>::run);
}

template <class S>
struct MultiplyInteger {
  static void run(const PanelTask& task) { multiply_integer<S>(task); }
};

constexpr PanelKernels make_panel_kernels(const char* name) {
  PanelKernels k = make_bare_kernels(name);
  k.multiply[static_cast<size_t>(Format::f32)] = multiply_float<F32Source>;
  k.multiply[static_cast<size_t>(Format::f16)] = multiply_float<F16Source>;
  k.multiply[static_cast<size_t>(Format::bf16)] = multiply_float<Bf16Source>;
  set_integer_kernels<MultiplyInteger>(k);
  return k;
}

}  // namespace
}  // namespace quern::cpu
