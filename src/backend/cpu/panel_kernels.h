// The products by panels, written once over Lanes. Included by panels_<isa>.cpp after lanes_<isa>.h; everything has internal linkage.
// Prediction and measurement of each choice: docs/performance.md.
#pragma once
#include "backend/cpu/lanes_math.h"
#include "backend/cpu/panel_product.h"
#include "backend/cpu/panel_sources.h"
#include "backend/cpu/row_kernels.h"
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
  k.multiply[static_cast<size_t>(Format::f8g32)] = multiply_float8<32>;
  k.multiply[static_cast<size_t>(Format::f8g128)] = multiply_float8<128>;
  set_integer_kernels<MultiplyInteger>(k);
  return k;
}

}  // namespace
}  // namespace quern::cpu
