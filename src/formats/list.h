// Every weight format, and the one place that turns a run-time Format into its struct (with_format).
// A new format: its struct in formats/<name>.h, an enumerator in format.h, a line in QUERN_FORMATS.
#pragma once
#include <array>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "formats/format.h"
#include "formats/int4.h"
#include "formats/int8.h"
#include "formats/plain.h"

namespace quern {

// X(enumerator, struct, rounding error)
#define QUERN_FORMATS(X)      \
  X(f32, F32, 0)              \
  X(f16, F16, 0.00017)        \
  X(bf16, Bf16, 0.0014)       \
  X(i8, I8, 0.0087)           \
  X(i8g32, I8G32, 0.0054)     \
  X(i8g64, I8G64, 0.0060)     \
  X(i8g128, I8G128, 0.0065)   \
  X(i4g32, I4G32, 0.088)      \
  X(i4g64, I4G64, 0.097)      \
  X(i4g128, I4G128, 0.106)    \
  X(i4g32z, I4G32Z, 0.080)    \
  X(i4g64z, I4G64Z, 0.091)    \
  X(i4g128z, I4G128Z, 0.102)

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
  case Format::id:               \
    return body.template operator()<S>();
    QUERN_FORMATS(QUERN_CASE)
#undef QUERN_CASE
    default: break;
  }
  raise(internal, "format {} is not in the list", static_cast<int>(format));
}

}  // namespace quern
