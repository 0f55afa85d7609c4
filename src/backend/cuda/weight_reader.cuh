// Reads weights of any format and layout a piece of a row at a time: what the kernels that take everything are written against.
// A reader has kPiece, the values of a piece, and read(row, piece, values), which gives 0 beyond the last column.
#pragma once
#include <type_traits>

#include "backend/cuda/granules.cuh"
#include "backend/cuda/layouts.h"
#include "backend/cuda/values.cuh"
#include "formats/list.h"

namespace quern::cuda {

template <class F>
struct CanonicalReader {
  static constexpr int kPiece = F::kValues > 8 ? static_cast<int>(F::kValues) : 8;
  const std::byte* data;
  size_t row_bytes;
  int columns;

  explicit CanonicalReader(const Tensor& part) : data(part.data), row_bytes(part.row_bytes()), columns(static_cast<int>(part.columns())) {}

  __device__ void read(size_t row, int piece, float (&values)[kPiece]) const {
    const std::byte* const begin = data + row * row_bytes;
    const int first = piece * kPiece, count = columns - first < kPiece ? columns - first : kPiece;
    if constexpr (std::is_same_v<F, I8>) {  // its scale follows the row
      const float scale = load_f32(begin + columns);
      for (int i = 0; i < kPiece; ++i) values[i] = i < count ? scale * static_cast<float>(static_cast<int8_t>(begin[first + i])) : 0.F;
    } else {
      static_assert(F::kRowTrailer == 0);
      F::unpack(begin + static_cast<size_t>(first) / F::kValues * F::kBytes, static_cast<size_t>(count), values);
      for (int i = count; i < kPiece; ++i) values[i] = 0;
    }
  }
};

// Rows of f16 times one factor.
struct ScaledHalfReader {
  static constexpr int kPiece = 8;
  const uint16_t* data;
  const float* factor;
  int columns;

  ScaledHalfReader(const Weight& w, const Tensor& part)
      : data(reinterpret_cast<const uint16_t*>(part.data)), factor(scaled_half_factor(w)), columns(static_cast<int>(part.columns())) {}

  __device__ void read(size_t row, int piece, float (&values)[kPiece]) const {
    const float scale = *factor;
    for (int i = 0; i < kPiece; ++i) {
      const int k = piece * kPiece + i;
      values[i] = k < columns ? float_from_half(data[row * static_cast<size_t>(columns) + static_cast<size_t>(k)]) * scale : 0.F;
    }
  }
};

struct GranuleReader {
  static constexpr int kPiece = 8;
  GranulePart part;

  GranuleReader(const Weight& w, size_t index) : part(granule_part(w, index)) {}

  __device__ void read(size_t row, int piece, float (&values)[kPiece]) const { read_granule8(part, row, piece * kPiece, values); }
};

// Calls body(reader) with the reader of part `index` of `w`.
template <class Body>
void with_reader(const Weight& w, size_t index, Body&& body) {
  const Tensor& part = w.parts[index];
  if (w.layout == kScaledHalf) return body(ScaledHalfReader(w, part));
  if (w.layout == kGranules) return body(GranuleReader(w, index));
  CHECK(w.layout == kCanonical, "layout {}", w.layout);
  with_format(part.format, [&]<class F>() { body(CanonicalReader<F>(part)); });
}

}  // namespace quern::cuda
