#include "text/schema_numbers.h"

#include <algorithm>
#include <tuple>

#include "base/error.h"

namespace quern {
namespace {

Decimal decimal_of(const OrderedJson& schema, const char* name) {
  const OrderedJson& value = schema.at(name);
  const auto decimal = value.is_number() ? read_decimal(value) : std::nullopt;
  if (!decimal) raise(invalid_input, "{}: want a number of at most 20 digits before and behind the point", name);
  return *decimal;
}

void tighten(std::optional<NumberBound>& bound, const NumberBound& other, bool is_least) {
  const bool is_tighter =
      !bound || (is_least ? bound->value < other.value : other.value < bound->value) || (bound->value == other.value && other.is_exclusive);
  if (is_tighter) bound = other;
}

// 1, 0.1, 0.01 and so on.
bool is_tenth(const Decimal& step) {
  if (step.is_negative) return false;
  if (step.fraction.empty()) return step.whole == "1";
  return step.whole == "0" && step.fraction.back() == '1' && step.fraction.find_first_not_of('0') == step.fraction.size() - 1;
}

// The names that OpenAPI has.
void add_format(const OrderedJson& format, NumberRange& range) {
  if (format == "float" || format == "double") return;
  const bool is_short = format == "int32";
  if (!is_short && format != "int64") raise(invalid_input, "format: want int32, int64, float or double beside a number");
  const Decimal most{.whole = is_short ? "2147483647" : "9223372036854775807", .fraction = ""};
  const Decimal least{.is_negative = true, .whole = is_short ? "2147483648" : "9223372036854775808", .fraction = ""};
  tighten(range.most, {.value = most}, false);
  tighten(range.least, {.value = least}, true);
}

}  // namespace

NumberRange schema_number_range(const OrderedJson& schema, bool has_fraction) {
  NumberRange range;
  if (!has_fraction) range.max_fraction_digits = 0;
  for (const auto& [name, is_least, is_exclusive] : {std::tuple{"minimum", true, false},
                                                     {"exclusiveMinimum", true, true},
                                                     {"maximum", false, false},
                                                     {"exclusiveMaximum", false, true}}) {
    if (schema.contains(name)) tighten(is_least ? range.least : range.most, {decimal_of(schema, name), is_exclusive}, is_least);
  }
  if (schema.contains("multipleOf")) {
    const Decimal step = decimal_of(schema, "multipleOf");
    if (!is_tenth(step)) raise(invalid_input, "multipleOf: want 1, 0.1, 0.01 or the like; others are not supported");
    range.max_fraction_digits = std::min(range.max_fraction_digits, step.fraction.size());
  }
  if (schema.contains("format")) add_format(schema.at("format"), range);
  if (range.least && range.most && range.most->value < range.least->value) raise(invalid_input, "minimum: want at most maximum");
  return range;
}

}  // namespace quern
