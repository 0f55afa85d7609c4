// What the panel kernels of one instruction set offer to the rows of product.cpp: plain data and function pointers only, because the
// files that define the tables are compiled for that instruction set and must not share inline functions with the rest.
//
// A panel is 16 output rows of a weight matrix side by side (panels.h). Each lane of a vector sums one output over k in one fixed order,
// so a row's result does not depend on how many rows share a call. Float weights: two chains of fused multiply-adds (even k, odd k)
// over each 256 columns, added to the total in order. Integer weights: x is rounded to 8 bits in groups of 32 columns; a group's sum is
// exact in 32 bits, then total = fma(sum, weight scale * x scale, total) in order of groups.
#pragma once
#include <cstddef>
#include <cstdint>

#include "formats/format.h"

namespace quern::cpu {

inline constexpr size_t kLanes = 16;        // output rows of a panel
inline constexpr size_t kGroup = 32;        // columns that share a scale of x
inline constexpr size_t kFloatBlock = 256;  // columns of a chain
inline constexpr size_t kStage = 1024;      // columns of a panel that are unpacked at once, into kStageBytes
inline constexpr size_t kStageBytes = kStage / kGroup * (512 + 4 * 64);
inline constexpr size_t kNumFormats = 32;  // more than the enumerators of Format

// Words of a group's header for one row, [words][rows of the tile]: scale (f32); -sum of the codes (i32) and scale * sum (f32) for the
// whole group; the same for its halves.
enum GroupWord : uint8_t { kScale, kMinusSum, kScaledSum, kMinusSum0, kMinusSum1, kScaledSum0, kScaledSum1, kGroupWords };

// Rows of x in the order in which kernels read them. Rows are cut into tiles of nearly equal size, at most `tile` rows; inside a tile
// values are [columns][rows of the tile] f32, codes [columns / 4][rows][4] i8, words [columns / 32][kGroupWords][rows].
// A null pointer: not wanted.
struct PreparedRows {
  size_t rows = 0, columns = 0;
  size_t padded_columns = 0;  // of codes: a multiple of 32, zeros behind the end
  float* values = nullptr;
  size_t float_tile = 1;
  int8_t* codes = nullptr;
  float* words = nullptr;
  size_t integer_tile = 1;
};

// rmsnorm (when `norm` is given) and preparing of rows [begin, end); row m is x + row_ids[m] * columns (row_ids null: m).
struct PrepareTask {
  const float* x = nullptr;
  const int32_t* row_ids = nullptr;
  const float* norm = nullptr;
  float epsilon = 0;
  float* scratch = nullptr;  // [columns rounded up to 32]
  const PreparedRows* rows = nullptr;
  size_t begin = 0, end = 0;
};

// y[m][lane] = row m . output row `lane` of the panel, for every row of `rows`.
struct PanelTask {
  const std::byte* panel = nullptr;
  const PreparedRows* rows = nullptr;
  std::byte* stage = nullptr;  // kStageBytes, 64-byte aligned
  float* y = nullptr;          // [rows][16], 64-byte aligned
};

// Moves `lanes` columns of y [rows][16] to out, row by row `stride` floats apart: out = y (+ bias) (+ residual).
struct StoreTask {
  const float* y = nullptr;
  const float* up = nullptr;  // gate_up: out = silu(y) * up
  size_t rows = 0, lanes = 0;
  const float* bias = nullptr;      // [lanes]
  const float* residual = nullptr;  // `stride` apart
  float* out = nullptr;
  size_t stride = 0;
};

struct PanelKernels {
  const char* name;
  size_t float_tile, integer_tile;
  void (*prepare)(const PrepareTask&);
  void (*multiply[kNumFormats])(const PanelTask&);  // by Format; null: none
  void (*store)(const StoreTask&);
};

extern const PanelKernels kPanelsAvx512, kPanelsAvx2, kPanelsPlain;

}  // namespace quern::cpu
