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

constexpr PanelKernels make_pair_kernels() {
  PanelKernels k = make_bare_kernels("avx512_bf16");
  k.floats = FloatRows::pairs;
  k.multiply[static_cast<size_t>(Format::bf16)] = multiply_pairs;
  return k;
}

}  // namespace

constinit const PanelKernels kPanelsAvx512Bf16 = make_pair_kernels();

}  // namespace quern::cpu
