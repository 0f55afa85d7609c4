// How weights are stored: every format is a row of kFormats (formats/list.h) and a struct with the same six members.
//   kName, kValues (values of a block), kBytes (bytes of a block), kRowTrailer (bytes after the blocks of one matrix row),
//   pack(values, count, row), unpack(row, count, values).
// A matrix row of `count` values is count / kValues blocks, then the trailer. pack and unpack take one whole row.
// unpack is constexpr: device code calls it on blocks.
#pragma once
#include <cstddef>
#include <cstdint>

namespace quern {

// clang-format off
// One enumerator a line of formats/list.h, in its order; one line a kind.
enum class Format : uint8_t {
  f32, f16, bf16,                    // plain
  i8, i8g32, i8g64, i8g128,          // 8 bits, symmetric: one f32 scale a row, or one f16 scale a group. i8g32 is GGUF's Q8_0
  i4g32, i4g64, i4g128,              // 4 bits, symmetric, f16 scale a group. i4g32 is GGUF's Q4_0
  i4g32z, i4g64z, i4g128z,           // 4 bits, f16 scale and integer zero point a group: GPTQ, AWQ
  f8g32, f8g128,                     // 8-bit floats (e4m3), f32 scale a group: FP8 checkpoints
  q4_1, q5_0, q5_1,                  // GGUF, 32 values
  q2_k, q3_k, q4_k, q5_k, q6_k,      // GGUF, 256 values
};
// clang-format on

struct FormatInfo {
  Format format;
  const char* name;
  size_t block_values, block_bytes, row_trailer_bytes;
  void (*pack)(const float* values, size_t count, std::byte* row);    // round to nearest
  void (*unpack)(const std::byte* row, size_t count, float* values);  // exact: the values that the format means
  double
      rounding_error;  // rms of unpack(pack(x)) - x for unit normals, as derived in the format's file; 0 = exact or not meant for packing
};

}  // namespace quern
