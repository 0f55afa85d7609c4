// Every weight format, and the one place that turns a run-time Format into its struct (with_format).
// A new format: its struct in formats/<name>.h, an enumerator in format.h, a line in QUERN_FORMATS.
#pragma once
#include <array>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "formats/float8.h"
#include "formats/format.h"
#include "formats/int4.h"
#include "formats/int8.h"
#include "formats/plain.h"
#include "formats/q2_k.h"
#include "formats/q3_k.h"
#include "formats/q4_1.h"
#include "formats/q4_k.h"
#include "formats/q5_0.h"
#include "formats/q5_1.h"
#include "formats/q5_k.h"
#include "formats/q6_k.h"

namespace quern {

// X(enumerator, struct, rounding error)
#define QUERN_FORMATS(X)      \
  X(f32, F32, 0)              \
  X(f16, F16, 0.000207)       \
  X(bf16, Bf16, 0.00166)      \
  X(i8, I8, 0.00867)          \
  X(i8g32, I8G32, 0.00534)    \
  X(i8g64, I8G64, 0.00593)    \
  X(i8g128, I8G128, 0.00646)  \
  X(i4g32, I4G32, 0.0857)     \
  X(i4g64, I4G64, 0.0950)     \
  X(i4g128, I4G128, 0.1037)   \
  X(i4g32z, I4G32Z, 0.0805)   \
  X(i4g64z, I4G64Z, 0.0914)   \
  X(i4g128z, I4G128Z, 0.1013) \
  X(f8g32, F8G32, 0.0240)     \
  X(f8g128, F8G128, 0.0257)   \
  X(q4_1, Q4_1, 0.0782)       \
  X(q5_0, Q5_0, 0.0427)       \
  X(q5_1, Q5_1, 0.0378)       \
  X(q2_k, Q2_K, 0.328)        \
  X(q3_k, Q3_K, 0.155)        \
  X(q4_k, Q4_K, 0.0784)       \
  X(q5_k, Q5_K, 0.0382)       \
  X(q6_k, Q6_K, 0.0188)

inline constexpr FormatInfo kFormats[] = {
#define QUERN_ROW(id, S, error) {Format::id, S::kName, S::kValues, S::kBytes, S::kRowTrailer, &S::pack, &S::unpack, error},
    QUERN_FORMATS(QUERN_ROW)
#undef QUERN_ROW
};

inline const FormatInfo& format_info(Format format) {
  for (const FormatInfo& info : kFormats) {
    if (info.format == format) return info;
  }
  raise(internal, "format {} is not in the list", static_cast<int>(format));
}

inline const char* format_name(Format format) { return format_info(format).name; }

// The format called `name`, or nothing.
inline std::optional<Format> find_format(std::string_view name) {
  for (const FormatInfo& info : kFormats) {
    if (name == info.name) return info.format;
  }
  return std::nullopt;
}

// Bytes of a matrix row of `columns` values; columns must be a multiple of the block.
inline size_t row_bytes(Format format, size_t columns) {
  const FormatInfo& info = format_info(format);
  CHECK(columns % info.block_values == 0, "{} columns in blocks of {} ({})", columns, info.block_values, info.name);
  return columns / info.block_values * info.block_bytes + info.row_trailer_bytes;
}

// Calls body.operator()<S>() with the struct S of `format`.
template <class Body>
decltype(auto) with_format(Format format, Body&& body) {
  switch (format) {
#define QUERN_CASE(id, S, error) \
  case Format::id: return body.template operator()<S>();
    QUERN_FORMATS(QUERN_CASE)
#undef QUERN_CASE
    default: break;
  }
  raise(internal, "format {} is not in the list", static_cast<int>(format));
}

}  // namespace quern
