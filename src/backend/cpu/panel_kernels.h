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

// y[m] += x's group . the group, for M rows.
template <class S, int M, class View>
inline void add_group(const View& view, const int8_t* codes, const float* words, F (&y)[M]) {
  constexpr int kQuads = 8 / S::kHalves;
  LANES_UNROLL
  for (int half = 0; half < S::kHalves; ++half) {
    const int minus_sum = S::kHalves == 1 ? kMinusSum : kMinusSum0 + half, scaled_sum = S::kHalves == 1 ? kScaledSum : kScaledSum0 + half;
    typename Lanes::Dot<S::kMaxCode, kQuads> dots[M];
    LANES_UNROLL
    for (int m = 0; m < M; ++m) {
      if constexpr (S::kShift >= 0) {
        dots[m].start(Lanes::shift_left<S::kShift>(Lanes::load_all_i(words + minus_sum * M + m)));
      } else {
        dots[m].start(Lanes::all_i(0));
      }
    }
    LANES_UNROLL
    for (int q = 0; q < kQuads; ++q) {
      const Codes code = view.code(half * kQuads + q);
      LANES_UNROLL
      for (int m = 0; m < M; ++m) dots[m].add(code, codes + ((half * kQuads + q) * M + m) * 4, q);
    }
    LANES_UNROLL
    for (int m = 0; m < M; ++m) {
      const F sum = Lanes::to_float(dots[m].end()), x_scale = Lanes::all(words[kScale * M + m]);
      if constexpr (S::kScaled) {
        y[m] = Lanes::fma(sum, Lanes::mul(view.scale(half), x_scale), y[m]);
      } else {
        y[m] = Lanes::fma(sum, x_scale, y[m]);
      }
      if constexpr (S::kOffset) y[m] = Lanes::fma(view.offset(half), Lanes::all(words[scaled_sum * M + m]), y[m]);
    }
  }
}

// Few rows: straight from the panel.
template <class S>
struct DirectKernel {
  template <int M>
  static void run(const std::byte* panel, size_t columns, const int8_t* codes, const float* words, float* out) {
    F y[M];
    for (int m = 0; m < M; ++m) y[m] = Lanes::zero();
    for (size_t k = 0; k < columns; k += S::kBlock, panel += S::kBytes) {
      fetch_ahead<S>(panel);
      LANES_UNROLL
      for (int g = 0; g < S::kBlock / 32; ++g) {
        Group<S::kHalves> group;
        S::load(panel, g, group);
        add_group<S, M>(LoadedGroup<S::kHalves>{group}, codes, words, y);
        codes += kGroup * M;
        words += kGroupWords * M;
      }
    }
    for (int m = 0; m < M; ++m) Lanes::store(out + m * kLanes, y[m]);
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
      add_group<U, M>(UnpackedGroup<U>{stage}, codes, words, y);
    }
    LANES_UNROLL
    for (int m = 0; m < M; ++m) Lanes::store(out + m * kLanes, y[m]);
  }
};

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
void multiply_integer(const PanelTask& task) {
  const PreparedRows& x = *task.rows;
  const size_t columns = x.padded_columns;
  if (x.rows <= Lanes::kDirectTile) {
    with_rows<DirectKernel<S>, Lanes::kDirectTile>(x.rows, task.panel, columns, x.codes, x.words, task.y);
  } else {
    const Tiles tiles(x.rows, Lanes::kIntegerTile);
    for (size_t i = 0; i < x.rows * kLanes; i += kLanes) Lanes::store(task.y + i, Lanes::zero());
    for (size_t k = 0; k < columns; k += kStage) {
      const size_t part = columns - k < kStage ? columns - k : kStage;
      unpack_stage<S>(task.panel + k / S::kBlock * S::kBytes, part, task.stage);
      for (size_t t = 0; t < tiles.count; ++t) {
        const size_t first = tiles.first(t), rows = tiles.rows(t);
        const int8_t* codes = x.codes + first * columns + k * rows;
        const float* words = x.words + (first * columns + k * rows) / kGroup * kGroupWords;
        with_rows<TileKernel<Unpacked<S>>, Lanes::kIntegerTile>(rows, task.stage, part / kGroup, codes, words, task.y + first * kLanes);
      }
    }
  }
  if constexpr (!S::kScaled) {
    const F scale = Lanes::load(reinterpret_cast<const float*>(task.panel + columns / S::kBlock * S::kBytes));
    for (size_t i = 0; i < x.rows * kLanes; i += kLanes) Lanes::store(task.y + i, Lanes::mul(Lanes::load(task.y + i), scale));
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

// 8-bit floats, which a panel holds as f16: for each block of kN columns the scales, then the columns. A block has chains of its own, whose
// sum is scaled.
template <int kN>
struct Float8Kernel {
  template <int M>
  static void run(const std::byte* panel, size_t columns, const float* x, float* out) {
    F y[M];
    LANES_UNROLL
    for (int m = 0; m < M; ++m) y[m] = Lanes::zero();
    for (size_t k = 0; k < columns; k += kN) {
      const F scale = Lanes::load(reinterpret_cast<const float*>(panel));
      panel += kVector;
      F even[M], odd[M];
      LANES_UNROLL
      for (int m = 0; m < M; ++m) even[m] = odd[m] = Lanes::zero();
      for (int i = 0; i < kN; i += 2, panel += 2 * kHalfVector, x += 2 * M) {
        const F w0 = Lanes::load_f16(panel), w1 = Lanes::load_f16(panel + kHalfVector);
        LANES_UNROLL
        for (int m = 0; m < M; ++m) {
          even[m] = Lanes::fma(w0, Lanes::all(x[m]), even[m]);
          odd[m] = Lanes::fma(w1, Lanes::all(x[M + m]), odd[m]);
        }
      }
      LANES_UNROLL
      for (int m = 0; m < M; ++m) y[m] = Lanes::fma(scale, Lanes::add(even[m], odd[m]), y[m]);
    }
    LANES_UNROLL
    for (int m = 0; m < M; ++m) Lanes::store(out + m * kLanes, y[m]);
  }
};

template <int kN>
void multiply_float8(const PanelTask& task) {
  const PreparedRows& x = *task.rows;
  const Tiles tiles(x.rows, Lanes::kFloatTile);
  for (size_t t = 0; t < tiles.count; ++t) {
    const size_t first = tiles.first(t), rows = tiles.rows(t);
    with_rows<Float8Kernel<kN>, Lanes::kFloatTile>(rows, task.panel, x.columns, x.values + first * x.columns, task.y + first * kLanes);
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

// One group of a row: 32 bytes of codes and the words, `step` rows in the tile.
// scale = max|x| / 127. The largest magnitude is found in the bits, so that a NaN or an infinity becomes the scale and so the result.
inline void quantize_group(const float* x, int8_t* codes, float* words, size_t step) {
  const I magnitude = Lanes::all_i(0x7fffffff);
  F low = Lanes::load(x), high = Lanes::load(x + kLanes);
  const int32_t bits =
      Lanes::largest_i(Lanes::max_i(Lanes::and_i(Lanes::as_int(low), magnitude), Lanes::and_i(Lanes::as_int(high), magnitude)));
  float most;
  __builtin_memcpy(&most, &bits, 4);
  const float scale = most / 127.F;
  const float inverse = scale > 0x1p-120F ? 1.F / scale : 0.F;  // below, all codes are 0
  low = Lanes::round(Lanes::mul(low, Lanes::all(inverse)));
  high = Lanes::round(Lanes::mul(high, Lanes::all(inverse)));
  Lanes::store_bytes(codes, low, high);
  const bool finite = most < __builtin_inff();
  const int32_t sum0 = finite ? Lanes::sum_i(Lanes::to_int(low)) : 0, sum1 = finite ? Lanes::sum_i(Lanes::to_int(high)) : 0;
  const auto put = [&](int word, int32_t value) { __builtin_memcpy(words + static_cast<size_t>(word) * step, &value, 4); };
  words[kScale * step] = scale;
  put(kMinusSum, -(sum0 + sum1));
  put(kMinusSum0, -sum0);
  put(kMinusSum1, -sum1);
  words[kScaledSum * step] = scale * static_cast<float>(sum0 + sum1);
  words[kScaledSum0 * step] = scale * static_cast<float>(sum0);
  words[kScaledSum1 * step] = scale * static_cast<float>(sum1);
}

void prepare_rows(const PrepareTask& task) {
  const PreparedRows& to = *task.rows;
  for (size_t row = task.begin; row < task.end; ++row) {
    const size_t source = task.row_ids == nullptr ? row : static_cast<size_t>(task.row_ids[row]);
    normalize(task.x + source * to.columns, task.norm, task.epsilon, to.columns, task.scratch);
    if (to.values != nullptr) {
      const Tiles tiles(to.rows, to.float_tile);
      const size_t tile = tiles.of(row), first = tiles.first(tile), step = tiles.rows(tile);
      float* values = to.values + first * to.columns + (row - first);
      for (size_t k = 0; k < to.columns; ++k) values[k * step] = task.scratch[k];
    }
    if (to.codes != nullptr) {
      const Tiles tiles(to.rows, to.integer_tile);
      const size_t tile = tiles.of(row), first = tiles.first(tile), step = tiles.rows(tile), i = row - first;
      int8_t* codes = to.codes + first * to.padded_columns + i * 4;
      float* words = to.words + first * to.padded_columns / kGroup * kGroupWords + i;
      for (size_t k = 0; k < to.padded_columns; k += kGroup, words += kGroupWords * step) {
        alignas(64) int8_t group[kGroup];
        quantize_group(task.scratch + k, group, words, step);
        for (size_t q = 0; q < kGroup; q += 4) __builtin_memcpy(codes + (k + q) * step, group + q, 4);
      }
    }
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

constexpr PanelKernels make_panel_kernels(const char* name) {
  PanelKernels k = {name, Lanes::kFloatTile, Lanes::kIntegerTile, prepare_rows, {}, store_rows};
  const auto set = [&](Format format, void (*multiply)(const PanelTask&)) { k.multiply[static_cast<size_t>(format)] = multiply; };
  set(Format::f32, multiply_float<F32Source>);
  set(Format::f16, multiply_float<F16Source>);
  set(Format::bf16, multiply_float<Bf16Source>);
  set(Format::f8g32, multiply_float8<32>);
  set(Format::f8g128, multiply_float8<128>);
  set(Format::i8, multiply_integer<I8Row>);
  set(Format::i8g32, multiply_integer<I8G<32>>);
  set(Format::i8g64, multiply_integer<I8G<64>>);
  set(Format::i8g128, multiply_integer<I8G<128>>);
  set(Format::i4g32, multiply_integer<I4<32>>);
  set(Format::i4g64, multiply_integer<I4<64>>);
  set(Format::i4g128, multiply_integer<I4<128>>);
  set(Format::i4g32z, multiply_integer<I4Z<32>>);
  set(Format::i4g64z, multiply_integer<I4Z<64>>);
  set(Format::i4g128z, multiply_integer<I4Z<128>>);
  set(Format::q4_1, multiply_integer<Q4_1>);
  set(Format::q5_0, multiply_integer<Q5_0>);
  set(Format::q5_1, multiply_integer<Q5_1>);
  set(Format::q2_k, multiply_integer<Q2_K>);
  set(Format::q3_k, multiply_integer<Q3_K>);
  set(Format::q4_k, multiply_integer<Q4_K>);
  set(Format::q5_k, multiply_integer<Q5_K>);
  set(Format::q6_k, multiply_integer<Q6_K>);
  return k;
}

}  // namespace
}  // namespace quern::cpu
