// The private arrangements of weights.
//
// scaled_half: matrices in bf16 are kept as f16 times a power of two, one for all parts: exact for every weight within 2^29 of the
//   largest, and otherwise off by less than 2^-39 of it, far below the rounding of an f32 sum. Rows stay as they are, so that cuBLASLt
//   reads them too. Bytes: 256 for the factor (an f32, then 0 and 1 for its pointer mode), then the parts.
// granules: codes of 8 and 4 bits in granules of 8 rows by kGranuleColumns columns, 512 bytes, one row of granules after the other; lane
//   4 g + t of a warp reads the 16 bytes at 16 * lane and gets values of row g, in the order in which the matrix instructions want them:
//   with 32 j + 8 t + i the column inside the granule, bits of j = 0, 1, .. one after the other, inside it i = 0..7; a 4-bit word holds
//   i = 0, 2, 4, 6, 1, 3, 5, 7 from its low nibble up. 8-bit codes are stored plus 128. Scales follow all codes: f16 for each group
//   [granule row][granule][row][group], with 1024 + zero point after it where the format has zero points; i8: f32 [rows].
//   Bytes: the codes of each part, then the scales of each part, each begin 256-byte aligned.
#pragma once
#include <span>

#include "backend/kernel_row.h"

namespace quern::cuda {

inline constexpr LayoutId kScaledHalf = 1, kGranules = 2;

// What granules are made of in one format.
struct GranuleFormat {
  int bits = 0;   // 4 or 8; 0: not a format that granules hold
  int group = 0;  // columns that share a scale; 0: a row
  bool has_zeros = false;
  constexpr int columns() const { return bits == 4 ? 128 : 64; }
};
GranuleFormat granule_format(Format format);

// One part of a weight in granules, as kernels see it.
struct GranulePart {
  const std::byte* codes;
  const std::byte* scales;
  int rows, columns;
  GranuleFormat format;
};
GranulePart granule_part(const Weight& w, size_t index);

// Where the factor of a scaled_half weight lies.
const float* scaled_half_factor(const Weight& w);

// Makes a private weight from canonical parts that lie on the device already: parts[i] has `rows` rows from `first_row` of part `index`.
void pack_granule_rows(const Weight& into, size_t index, size_t first_row, size_t rows, const std::byte* canonical, Stream& stream);
// Turns the bf16 values of all parts in place into f16 and writes the factor.
void convert_scaled_half(Weight& into, Stream& stream);

// Bytes of a weight in a layout, and its pointers for a buffer of that many bytes.
size_t granules_bytes(std::span<const Tensor> parts);
size_t scaled_half_bytes(std::span<const Tensor> parts);
void place_granules(Weight& into, std::byte* bytes);
void place_scaled_half(Weight& into, std::byte* bytes);

extern const WeightLayout kScaledHalfLayout, kGranulesLayout;

}  // namespace quern::cuda
