// Products of bf16 weights by the instruction that multiplies pairs of bf16 and adds them in f32: twice the rate of f32.
#include "backend/cpu/lanes_avx512.h"
// After its lanes.
#include "backend/cpu/panel_kernels.h"

namespace quern::cpu {
namespace {

__m512bh load_pairs(const std::byte* p) { return (__m512bh)_mm512_loadu_si512(p); }
__m512bh all_pairs(uint32_t pair) { return (__m512bh)_mm512_set1_epi32(static_cast<int>(pair)); }

// Columns of one block: y[m] += chain of even pairs + chain of odd pairs.
struct PairKernel {
  template <int M>
  static void run(const std::byte* panel, size_t pairs, const uint32_t* x, float* out) {
    F even[M], odd[M];
    LANES_UNROLL
    for (int m = 0; m < M; ++m) even[m] = odd[m] = Lanes::zero();
    for (; pairs >= 2; pairs -= 2, panel += 2 * kVector, x += 2 * M) {
      const __m512bh w0 = load_pairs(panel), w1 = load_pairs(panel + kVector);
      LANES_UNROLL
      for (int m = 0; m < M; ++m) {
        even[m] = _mm512_dpbf16_ps(even[m], w0, all_pairs(x[m]));
        odd[m] = _mm512_dpbf16_ps(odd[m], w1, all_pairs(x[M + m]));
      }
    }
    if (pairs != 0) {
      const __m512bh w = load_pairs(panel);
      LANES_UNROLL
      for (int m = 0; m < M; ++m) even[m] = _mm512_dpbf16_ps(even[m], w, all_pairs(x[m]));
    }
    LANES_UNROLL
    for (int m = 0; m < M; ++m) Lanes::store(out + m * kLanes, Lanes::add(Lanes::load(out + m * kLanes), Lanes::add(even[m], odd[m])));
  }
};

void multiply_pairs(const PanelTask& task) {
  const PreparedRows& x = *task.rows;
  const Tiles tiles(x.rows, Lanes::kFloatTile);
  const size_t all = num_pairs(x);
  for (size_t i = 0; i < x.rows * kLanes; i += kLanes) Lanes::store(task.y + i, Lanes::zero());
  for (size_t k = 0; k < all; k += kFloatBlock / 2) {
    const size_t part = all - k < kFloatBlock / 2 ? all - k : kFloatBlock / 2;
    for (size_t t = 0; t < tiles.count; ++t) {  // the block of the panel stays in the first-level cache
      const size_t first = tiles.first(t), rows = tiles.rows(t);
      with_rows<PairKernel, Lanes::kFloatTile>(rows, task.panel + k * kVector, part, x.pairs + first * all + k * rows,
                                               task.y + first * kLanes);
    }
  }
}

// One row by two panels: their chains of additions overlap, where those of one panel would wait for each other.
void multiply_pair_row(const PanelTask& task) {
  const size_t all = num_pairs(*task.rows);
  const uint32_t* x = task.rows->pairs;
  F y[2] = {Lanes::zero(), Lanes::zero()};
  const std::byte *one = task.panel, *two = task.second;
  for (size_t k = 0; k < all; k += kFloatBlock / 2) {
    const size_t end = all - k < kFloatBlock / 2 ? all : k + kFloatBlock / 2;
    F even[2] = {Lanes::zero(), Lanes::zero()}, odd[2] = {Lanes::zero(), Lanes::zero()};
    size_t i = k;
    for (; i + 2 <= end; i += 2, one += 2 * kVector, two += 2 * kVector) {
      const __m512bh x0 = all_pairs(x[i]), x1 = all_pairs(x[i + 1]);
      even[0] = _mm512_dpbf16_ps(even[0], load_pairs(one), x0);
      odd[0] = _mm512_dpbf16_ps(odd[0], load_pairs(one + kVector), x1);
      even[1] = _mm512_dpbf16_ps(even[1], load_pairs(two), x0);
      odd[1] = _mm512_dpbf16_ps(odd[1], load_pairs(two + kVector), x1);
    }
    if (i < end) {
      even[0] = _mm512_dpbf16_ps(even[0], load_pairs(one), all_pairs(x[i]));
      even[1] = _mm512_dpbf16_ps(even[1], load_pairs(two), all_pairs(x[i]));
    }
    LANES_UNROLL
    for (int p = 0; p < 2; ++p) y[p] = Lanes::add(y[p], Lanes::add(even[p], odd[p]));
  }
  Lanes::store(task.y, y[0]);
  Lanes::store(task.second_y, y[1]);
}

constexpr PanelKernels make_pair_kernels() {
  PanelKernels k = make_bare_kernels("avx512_bf16");
  k.floats = FloatRows::pairs;
  k.multiply[static_cast<size_t>(Format::bf16)] = multiply_pairs;
  k.multiply_row[static_cast<size_t>(Format::bf16)] = multiply_pair_row;
  return k;
}

}  // namespace

constinit const PanelKernels kPanelsAvx512Bf16 = make_pair_kernels();

}  // namespace quern::cpu
