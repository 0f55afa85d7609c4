// GGUF Q4_1: 32 values. f16 scale, f16 minimum, 16 bytes of codes: byte j holds value j (low nibble) and j + 16 (high nibble).
// value = scale * code + minimum.
// Rounding error of unit normals: a step is width / 15 and both ends are exact: rms(width of 32) / (15 * sqrt 12) * sqrt(1 - 2/32), rms
// width 4.195: 0.0782. Measured 0.0782.
#pragma once
#include "formats/block.h"
#include "formats/format.h"

namespace quern {

struct Q4_1 {
  static constexpr const char* kName = "q4_1";
  static constexpr size_t kValues = 32, kBytes = 20, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      const Range range = range_of(values, kValues, kEmptyRange);
      const float inverse = inverse_of(store_f16(row, width_of(range) / 15.F)), minimum = store_f16(row + 2, range.low);
      for (size_t j = 0; j < 16; ++j) {
        const int low = round_to_code((values[j] - minimum) * inverse, 0.F, 15.F);
        const int high = round_to_code((values[j + 16] - minimum) * inverse, 0.F, 15.F);
        row[4 + j] = static_cast<std::byte>(low | (high << 4));
      }
    }
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      const float scale = load_f16(row), minimum = load_f16(row + 2);
      for (size_t j = 0; j < 16; ++j) {
        values[j] = scale * static_cast<float>(byte_of(row, 4 + j) & 0x0f) + minimum;
        values[j + 16] = scale * static_cast<float>(byte_of(row, 4 + j) >> 4) + minimum;
      }
    }
  }
};

}  // namespace quern
