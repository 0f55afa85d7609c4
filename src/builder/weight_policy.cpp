#include "builder/weight_policy.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "formats/list.h"

namespace quern {
namespace {

struct DtypeName {
  const char* name;
  WeightDtype dtype;
};
// The first name of a dtype is the one that is printed and saved.
constexpr DtypeName kDtypeNames[] = {
    {"auto", WeightDtype::automatic}, {"f32", WeightDtype::f32},   {"fp32", WeightDtype::f32},      {"float32", WeightDtype::f32},
    {"float", WeightDtype::f32},      {"f16", WeightDtype::f16},   {"fp16", WeightDtype::f16},      {"float16", WeightDtype::f16},
    {"half", WeightDtype::f16},       {"bf16", WeightDtype::bf16}, {"bfloat16", WeightDtype::bf16}, {"int8", WeightDtype::int8},
    {"i8", WeightDtype::int8},        {"int4", WeightDtype::int4}, {"i4", WeightDtype::int4},
};

// Largest first: a tensor whose columns the wanted group does not divide gets the next smaller one that does.
constexpr size_t kGroupSizes[] = {128, 64, 32};
constexpr size_t kDefaultInt4Group = 32;

// Whether a matrix has codes of as many bits already (GPTQ, AWQ): another group would only round a second time.
bool is_integer_code(Format format, WeightDtype dtype) {
  const std::string_view name = format_name(format);
  return dtype == WeightDtype::int4 ? name.starts_with("i4g") : name == "i8" || name.starts_with("i8g");
}

bool is_block_format(Format format) { return format_info(format).block_values > 1; }

// The largest group of at most `most` values that divides `columns`, or 0.
size_t dividing_group(size_t columns, size_t most) {
  for (const size_t size : kGroupSizes) {
    if (size <= most && columns % size == 0) return size;
  }
  return 0;
}

}  // namespace

const char* weight_dtype_name(WeightDtype dtype) {
  for (const DtypeName& entry : kDtypeNames) {
    if (entry.dtype == dtype) return entry.name;
  }
  raise(internal, "dtype {} has no name", static_cast<int>(dtype));
}

WeightDtype parse_weight_dtype(std::string_view name) {
  for (const DtypeName& entry : kDtypeNames) {
    if (name == entry.name) return entry.dtype;
  }
  raise(usage, "--dtype: want auto, f32, f16, bf16, int8 or int4, found '{}'", escaped(name));
}

WeightPolicy::WeightPolicy(WeightDtype dtype, size_t group_size, bool has_zeros)
    : dtype_(dtype), group_size_(group_size), has_zeros_(has_zeros), keeps_codes_(group_size == 0 && !has_zeros) {
  if (has_zeros && dtype != WeightDtype::int4) raise(usage, "--asymmetric: want --dtype int4, found {}", weight_dtype_name(dtype));
  const bool has_groups = dtype == WeightDtype::int8 || dtype == WeightDtype::int4;
  if (group_size != 0 && !has_groups) {
    raise(usage, "--group-size: want none with --dtype {} (only int8 and int4 have groups), found {}", weight_dtype_name(dtype),
          group_size);
  }
  if (group_size != 0 && std::ranges::find(kGroupSizes, group_size) == std::end(kGroupSizes)) {
    raise(usage, "--group-size: want 32, 64 or 128, found {}", group_size);
  }
  if (group_size == 0 && dtype == WeightDtype::int4) group_size_ = kDefaultInt4Group;
}

WeightPolicy::Choice WeightPolicy::choose(TensorRole role, Format source, size_t columns) const {
  if (role == TensorRole::vector) return {Format::f32, ""};
  switch (dtype_) {
    case WeightDtype::automatic: return {source, ""};
    case WeightDtype::f32: return {Format::f32, ""};
    case WeightDtype::f16: return {Format::f16, ""};
    case WeightDtype::bf16: return {Format::bf16, ""};
    case WeightDtype::int8:
    case WeightDtype::int4: return choose_quantised(role, source, columns);
  }
  raise(internal, "dtype {}", static_cast<int>(dtype_));
}

WeightPolicy::Choice WeightPolicy::choose_quantised(TensorRole role, Format source, size_t columns) const {
  if (role != TensorRole::matrix) {
    // Rounding a second time what is rounded already only adds error, and 16 bits would only add bytes.
    if (is_block_format(source)) return {source, ""};
    if (dtype_ == WeightDtype::int8) return {source == Format::f32 ? Format::f16 : source, ""};
    if (columns % 32 == 0) return {Format::i8g32, ""};
    return {Format::i8, fmt::format("{} columns are no multiple of 32", columns)};
  }
  if (keeps_codes_ && is_integer_code(source, dtype_)) return {source, ""};
  if (group_size_ == 0) return {Format::i8, ""};
  const size_t group = dividing_group(columns, group_size_);
  if (group == group_size_) return {group_format(group), ""};
  if (group != 0) return {group_format(group), fmt::format("{} columns are no multiple of {}", columns, group_size_)};
  return {Format::i8, fmt::format("{} columns are no multiple of 32", columns)};
}

Format WeightPolicy::group_format(size_t group_size) const {
  const std::optional<Format> format =
      find_format(fmt::format("i{}g{}{}", dtype_ == WeightDtype::int4 ? 4 : 8, group_size, has_zeros_ ? "z" : ""));
  CHECK(format.has_value(), "{} group {}", weight_dtype_name(dtype_), group_size);
  return *format;
}

std::string WeightPolicy::text() const {
  switch (dtype_) {
    case WeightDtype::automatic: return "every matrix keeps its source's own values and format; vectors f32";
    case WeightDtype::f32:
    case WeightDtype::f16:
    case WeightDtype::bf16: return fmt::format("every matrix {}; vectors f32", weight_dtype_name(dtype_));
    case WeightDtype::int8:
      return fmt::format("matrices {}; embedding and head 16 bits, or their source's own blocks; vectors f32",
                         group_size_ == 0 ? "i8 (one scale a row)" : format_name(group_format(group_size_)));
    case WeightDtype::int4:
      return fmt::format("matrices {}; embedding and head i8g32, or their source's own blocks; vectors f32",
                         format_name(group_format(group_size_)));
  }
  raise(internal, "dtype {}", static_cast<int>(dtype_));
}

}  // namespace quern
