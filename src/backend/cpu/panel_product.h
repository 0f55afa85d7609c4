// What the panel kernels of one instruction set offer to the rows of product.cpp: plain data and function pointers only, because the
// files that define the tables are compiled for that instruction set and must not share inline functions with the rest.
//
// A panel is 16 output rows of a weight matrix side by side (panels.h). Each lane of a vector sums one output over k in one fixed order,
// so a row's result does not depend on how many rows share a call. Float weights: two chains of fused multiply-adds (even k, odd k)
// over each 256 columns, added to the total in order. Products of bf16 pairs (AVX512_BF16): x is rounded to bf16, and the chains are of
// even and odd pairs of columns, a pair's odd column first, as the instruction adds them. Integer weights: x is rounded to 8 bits in groups
// of 32 columns; a group's sum is exact in 32 bits, then total = fma(sum, weight scale * x scale, total) in order of groups. What rounding
// left of a group of large values is a further group of 8 bits, a remainder; remainders have a total of their own, in the same order, which
// is added at the end.
#pragma once
#include <cstddef>
#include <cstdint>

#include "formats/format.h"

namespace quern::cpu {

inline constexpr size_t kLanes = 16;     // output rows of a panel
inline constexpr size_t kMostTile = 16;  // rows of any tile of integers
inline constexpr size_t kGroup = 32;     // columns that share a scale of x
// A group keeps its remainder when its largest magnitude is above so many times the root of the row's mean square.
inline constexpr float kRemainderAbove = 3;
inline constexpr size_t kFloatBlock = 256;  // columns of a chain
inline constexpr size_t kStage = 1024;      // columns that are unpacked at once, of one panel or half of them of two, into kStageBytes
inline constexpr size_t kStageBytes = kStage / kGroup * (512 + 4 * 64);
inline constexpr size_t kNumFormats = 32;  // more than the enumerators of Format

// Words of a group of one row: scale (f32); -sum of the codes (i32) of the whole group and of its halves; scale * sum (f32) of the same.
enum GroupWord : uint8_t { kScale, kMinusSum, kMinusSum0, kMinusSum1, kScaledSum, kScaledSum0, kScaledSum1, kGroupWords };

// A group of one row of x, or the remainder of one: what rounding left of it, in steps of 1/254 of the group's.
struct alignas(64) RoundedGroup {
  int8_t codes[kGroup];
  float words[kGroupWords];
  uint16_t group, row;  // of a remainder: in the row; in the tile, or, when gathered, in the call
};
static_assert(sizeof(RoundedGroup) == 64);
inline constexpr uint16_t kNoGroup = 0xffff;  // behind a tile's last remainder

// Rows of x in the order in which kernels read them. Rows are cut into tiles of nearly equal size, at most `tile` rows; inside a tile
// values are [columns][rows of the tile] f32, groups [columns / 32][rows of the tile]. A null pointer: not wanted.
struct PreparedRows {
  size_t rows = 0, columns = 0;
  size_t padded_columns = 0;  // of groups: a multiple of 32, zeros behind the end
  float* values = nullptr;
  uint32_t* pairs = nullptr;  // values rounded to bf16, [columns / 2][rows of the tile][2], a zero behind an odd end
  // The same for a unit that multiplies whole tiles: [rows / 16][columns / 32][16 rows][16 pairs], zeros behind the last column; what
  // stands for the rows behind the last may be anything.
  uint32_t* tile_pairs = nullptr;
  size_t float_tile = 1;
  RoundedGroup* groups = nullptr;  // where a unit multiplies whole tiles, kMostTile - 1 more may be read behind the last
  size_t integer_tile = 1;
  RoundedGroup* remainders = nullptr;  // of a tile: in order of groups, then rows, from first row * remainders_a_row on
  // The remainders once more for rows that go by tiles: those of group g are gathered_counts[g] from g * rows on, in order of rows.
  RoundedGroup* gathered = nullptr;
  uint32_t* gathered_counts = nullptr;
};

// Of internal linkage, see above.
namespace {
inline size_t num_pairs(const PreparedRows& x) { return (x.columns + 1) / 2; }
inline size_t num_tiles(const PreparedRows& x) { return (x.columns + 31) / 32; }  // of columns
inline size_t num_groups(const PreparedRows& x) { return x.padded_columns / kGroup; }
inline size_t remainders_a_row(const PreparedRows& x) { return num_groups(x) + 1; }  // of the memory for them: one ends a tile
}  // namespace

// rmsnorm (when `norm` is given) and preparing of rows [begin, end), whole tiles of integers; row m is x + row_ids[m] * columns (row_ids
// null: m).
struct PrepareTask {
  const float* x = nullptr;
  const int32_t* row_ids = nullptr;
  const float* norm = nullptr;
  float epsilon = 0;
  float* scratch = nullptr;  // [rows of a tile of integers][columns rounded up to 32]
  const PreparedRows* rows = nullptr;
  size_t begin = 0, end = 0;
};

// y[m][lane] = row m . output row `lane` of the panel, for every row of `rows`; the same for the second panel where there are two.
struct PanelTask {
  const std::byte *panel = nullptr, *second = nullptr;
  const PreparedRows* rows = nullptr;
  std::byte* stage = nullptr;               // kStageBytes, 64-byte aligned
  float *y = nullptr, *second_y = nullptr;  // [rows][16], 64-byte aligned
  float* rest = nullptr;                    // [2][rows][16], for the sums of remainders
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

// What rows of x for float weights are given as.
enum class FloatRows : uint8_t { values, pairs, tiles };

struct PanelKernels {
  const char* name;
  size_t float_tile, integer_tile;
  FloatRows floats;
  void (*prepare)(const PrepareTask&);
  size_t direct_tile;                               // so many rows multiply straight from the panel; more have their remainders gathered
  void (*multiply[kNumFormats])(const PanelTask&);  // by Format; null: none
  void (*multiply_two[kNumFormats])(const PanelTask&);  // two panels with tiles of rows; null: none
  void (*store)(const StoreTask&);
};

extern const PanelKernels kPanelsAvx512, kPanelsAvx512Bf16, kPanelsAmx, kPanelsAmxBf16, kPanelsAvx2, kPanelsPlain;

}  // namespace quern::cpu
