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

// y[p][m] += x's group . the group of panel p, for M rows and P panels, which share what is loaded of x.
template <class S, int P, int M, class View>
inline void add_group(const View (&views)[P], const RoundedGroup* x, F (&y)[P][M]) {
  constexpr int kQuads = 8 / S::kHalves;
  LANES_UNROLL
  for (int half = 0; half < S::kHalves; ++half) {
    const int minus_sum = S::kHalves == 1 ? kMinusSum : kMinusSum0 + half, scaled_sum = S::kHalves == 1 ? kScaledSum : kScaledSum0 + half;
    typename Lanes::Dot<S::kMaxCode, kQuads> dots[P][M];
    LANES_UNROLL
    for (int m = 0; m < M; ++m) {
      I from = Lanes::all_i(0);
      if constexpr (S::kShift >= 0) from = Lanes::shift_left<S::kShift>(Lanes::load_all_i(&x[m].words[minus_sum]));
      LANES_UNROLL
      for (int p = 0; p < P; ++p) dots[p][m].start(from);
    }
    LANES_UNROLL
    for (int q = 0; q < kQuads; ++q) {
      Codes codes[P];
      LANES_UNROLL
      for (int p = 0; p < P; ++p) codes[p] = views[p].code(half * kQuads + q);
      LANES_UNROLL
      for (int m = 0; m < M; ++m) {
        LANES_UNROLL
        for (int p = 0; p < P; ++p) dots[p][m].add(codes[p], x[m].codes + (half * kQuads + q) * 4, q);
      }
    }
    LANES_UNROLL
    for (int m = 0; m < M; ++m) {
      const F x_scale = Lanes::all(x[m].words[kScale]);
      LANES_UNROLL
      for (int p = 0; p < P; ++p) {
        const F sum = Lanes::to_float(dots[p][m].end());
        if constexpr (S::kScaled) {
          y[p][m] = Lanes::fma(sum, Lanes::mul(views[p].scale(half), x_scale), y[p][m]);
        } else {
          y[p][m] = Lanes::fma(sum, x_scale, y[p][m]);
        }
        if constexpr (S::kOffset) y[p][m] = Lanes::fma(views[p].offset(half), Lanes::all(x[m].words[scaled_sum]), y[p][m]);
      }
    }
  }
}

// Few rows: straight from the panel.
template <class S>
struct DirectKernel {
  template <int M>
  static void run(const std::byte* panel, size_t columns, const RoundedGroup* x, const RoundedGroup* remainder, float* out) {
    F y[1][M], rest[M];
    for (int m = 0; m < M; ++m) y[0][m] = rest[m] = Lanes::zero();
    for (size_t k = 0; k < columns; k += S::kBlock, panel += S::kBytes) {
      fetch_ahead<S>(panel);
      LANES_UNROLL
      for (int g = 0; g < S::kBlock / 32; ++g) {
        Group<S::kHalves> group;
        S::load(panel, g, group);
        const LoadedGroup<S::kHalves> views[1] = {{group}};
        add_group<S>(views, x, y);
        x += M;
        for (; remainder->group == k / kGroup + static_cast<size_t>(g); ++remainder) {
          F& row = rest[M == 1 ? 0 : remainder->row];
          F sum[1][1] = {{row}};
          add_group<S>(views, remainder, sum);
          row = sum[0][0];
        }
      }
    }
    for (int m = 0; m < M; ++m) Lanes::store(out + m * kLanes, Lanes::add(y[0][m], rest[m]));
  }
};

// P panels at work: groups unpacked to stages, `stage_step` bytes apart, and where their sums are.
template <int P>
struct Panels {
  const std::byte* panel[P];
  float *y[P], *rest[P];
};

template <int P>
inline Panels<P> panels_of(const PanelTask& task) {
  Panels<P> panels{{task.panel}, {task.y}, {task.rest}};
  if constexpr (P == 2) {
    panels.panel[1] = task.second;
    panels.y[1] = task.second_y;
    panels.rest[1] = task.rest + task.rows->rows * kLanes;
  }
  return panels;
}

// A tile of rows, the first of which is `row`, against unpacked groups; y is continued.
template <class U, int P>
struct TileKernel {
  template <int M>
  [[gnu::noinline]] static void run(const std::byte* stage, size_t groups, const RoundedGroup* x, const Panels<P>& panels, size_t row) {
    F y[P][M];
    LANES_UNROLL
    for (int p = 0; p < P; ++p) {
      LANES_UNROLL
      for (int m = 0; m < M; ++m) y[p][m] = Lanes::load(panels.y[p] + (row + m) * kLanes);
    }
    for (size_t g = 0; g < groups; ++g, stage += U::kBytes, x += M) {
      UnpackedGroup<U> views[P];
      LANES_UNROLL
      for (int p = 0; p < P; ++p) views[p].p = stage + p * (kStageBytes / P);
      add_group<U>(views, x, y);
    }
    LANES_UNROLL
    for (int p = 0; p < P; ++p) {
      LANES_UNROLL
      for (int m = 0; m < M; ++m) Lanes::store(panels.y[p] + (row + m) * kLanes, y[p][m]);
    }
  }
};

// A tile of remainders of one group.
template <class U, int P>
struct RemainderKernel {
  template <int M>
  [[gnu::noinline]] static void run(const std::byte* stage, const RoundedGroup* x, const Panels<P>& panels) {
    F y[P][M];
    UnpackedGroup<U> views[P];
    LANES_UNROLL
    for (int p = 0; p < P; ++p) {
      views[p].p = stage + p * (kStageBytes / P);
      LANES_UNROLL
      for (int m = 0; m < M; ++m) y[p][m] = Lanes::load(panels.rest[p] + x[m].row * kLanes);
    }
    add_group<U>(views, x, y);
    LANES_UNROLL
    for (int p = 0; p < P; ++p) {
      LANES_UNROLL
      for (int m = 0; m < M; ++m) Lanes::store(panels.rest[p] + x[m].row * kLanes, y[p][m]);
    }
  }
};

// The gathered remainders of groups [first, end), the first of which begins the stage.
template <class U, int P>
inline void add_remainders(const std::byte* stage, size_t first, size_t end, const PreparedRows& x, const Panels<P>& panels) {
  for (size_t g = first; g < end; ++g, stage += U::kBytes) {
    const size_t count = x.gathered_counts[g];
    if (count == 0) continue;
    const Tiles tiles(count, Lanes::kIntegerTile);
    for (size_t t = 0; t < tiles.count; ++t) {
      with_rows<RemainderKernel<U, P>, Lanes::kIntegerTile>(tiles.rows(t), stage, x.gathered + g * x.rows + tiles.first(t), panels);
    }
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

// What is unpacked after this stage, fetched while tiles are multiplied: otherwise a core waits for memory with each panel. After the last
// stage it is the first of the panels that a thread takes next, which lie behind these.
template <int P>
struct NextStage {
  const std::byte* panel[P];
  size_t bytes;
  // Part `part` of `parts`.
  void fetch(size_t part, size_t parts) const {
    for (size_t i = bytes * part / parts / 64 * 64; i < bytes * (part + 1) / parts; i += 64) {
      for (int p = 0; p < P; ++p) Lanes::prefetch_far(panel[p] + i);
    }
  }
};

template <class S, int P>
inline NextStage<P> next_stage(const Panels<P>& panels, size_t columns, size_t k, size_t most) {
  const size_t whole = columns / S::kBlock * S::kBytes + (S::kScaled ? 0 : kVector);
  NextStage<P> next;
  for (int p = 0; p < P; ++p) {
    next.panel[p] = k < columns ? panels.panel[p] + k / S::kBlock * S::kBytes : panels.panel[P - 1] + (1 + static_cast<size_t>(p)) * whole;
  }
  next.bytes = (k < columns && columns - k < most ? columns - k : most) / S::kBlock * S::kBytes;
  return next;
}

template <class S>
inline void scale_rows(const std::byte* panel, const PreparedRows& x, float* y) {
  if constexpr (!S::kScaled) {
    const F scale = Lanes::load(reinterpret_cast<const float*>(panel + x.padded_columns / S::kBlock * S::kBytes));
    for (size_t i = 0; i < x.rows * kLanes; i += kLanes) Lanes::store(y + i, Lanes::mul(Lanes::load(y + i), scale));
  }
}

template <int P>
inline void clear_sums(const Panels<P>& panels, size_t rows) {
  LANES_UNROLL
  for (int p = 0; p < P; ++p) {
    for (size_t i = 0; i < rows * kLanes; i += kLanes) {
      Lanes::store(panels.y[p] + i, Lanes::zero());
      Lanes::store(panels.rest[p] + i, Lanes::zero());
    }
  }
}

// After the last stage.
template <class S, int P>
inline void finish_integer(const Panels<P>& panels, const PreparedRows& x) {
  LANES_UNROLL
  for (int p = 0; p < P; ++p) {
    float* const y = panels.y[p];
    for (size_t i = 0; i < x.rows * kLanes; i += kLanes)
      Lanes::store(y + i, Lanes::add(Lanes::load(y + i), Lanes::load(panels.rest[p] + i)));
    scale_rows<S>(panels.panel[p], x, y);
  }
}

template <class S, int P>
void multiply_by_tiles(const PanelTask& task) {
  using U = Unpacked<S>;
  constexpr size_t kColumns = kStage / P;
  const PreparedRows& x = *task.rows;
  const Panels<P> panels = panels_of<P>(task);
  const size_t columns = x.padded_columns;
  const Tiles tiles(x.rows, Lanes::kIntegerTile);
  clear_sums(panels, x.rows);
  for (size_t k = 0; k < columns; k += kColumns) {
    const size_t part = columns - k < kColumns ? columns - k : kColumns;
    LANES_UNROLL
    for (int p = 0; p < P; ++p) {
      unpack_stage<S>(panels.panel[p] + k / S::kBlock * S::kBytes, part, task.stage + p * (kStageBytes / P));
    }
    const NextStage<P> next = next_stage<S>(panels, columns, k + part, kColumns);
    for (size_t t = 0; t < tiles.count; ++t) {
      const size_t first = tiles.first(t), rows = tiles.rows(t);
      next.fetch(t, tiles.count);
      with_rows<TileKernel<U, P>, Lanes::kIntegerTile>(rows, task.stage, part / kGroup,
                                                       x.groups + first * num_groups(x) + k / kGroup * rows, panels, first);
    }
    add_remainders<U>(task.stage, k / kGroup, (k + part) / kGroup, x, panels);
  }
  finish_integer<S>(panels, x);
}

template <class S>
void multiply_integer(const PanelTask& task) {
  const PreparedRows& x = *task.rows;
  if (x.rows > Lanes::kDirectTile) return multiply_by_tiles<S, 1>(task);
  with_rows<DirectKernel<S>, Lanes::kDirectTile>(x.rows, task.panel, x.padded_columns, x.groups, x.remainders, task.y);
  scale_rows<S>(task.panel, x, task.y);
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
  return {name, Lanes::kFloatTile, Lanes::kIntegerTile, FloatRows::values, prepare_rows, Lanes::kDirectTile, {}, {}, store_rows};
}

// Multiply<S>::run for every integer source, into a table by format.
template <template <class> class Multiply>
constexpr void set_integer_kernels(void (*(&table)[kNumFormats])(const PanelTask&)) {
  const auto set = [&](Format format, void (*multiply)(const PanelTask&)) { table[static_cast<size_t>(format)] = multiply; };
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

template <class S>
struct MultiplyTwo {
  static void run(const PanelTask& task) { multiply_by_tiles<S, 2>(task); }
};

constexpr PanelKernels make_panel_kernels(const char* name) {
  PanelKernels k = make_bare_kernels(name);
  k.multiply[static_cast<size_t>(Format::f32)] = multiply_float<F32Source>;
  k.multiply[static_cast<size_t>(Format::f16)] = multiply_float<F16Source>;
  k.multiply[static_cast<size_t>(Format::bf16)] = multiply_float<Bf16Source>;
  k.multiply[static_cast<size_t>(Format::f8g32)] = multiply_float8<32>;
  k.multiply[static_cast<size_t>(Format::f8g128)] = multiply_float8<128>;
  set_integer_kernels<MultiplyInteger>(k.multiply);
  if constexpr (Lanes::kTwoPanels) set_integer_kernels<MultiplyTwo>(k.multiply_two);
  return k;
}

}  // namespace
}  // namespace quern::cpu
