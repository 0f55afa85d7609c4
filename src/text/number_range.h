// Decimal numbers between two bounds, as texts of a Grammar. Stateless.
#pragma once
#include <optional>
#include <string>

#include "base/json.h"
#include "text/grammar.h"

namespace quern {

// The decimal text of a JSON number, without an exponent.
struct Decimal {
  bool is_negative = false;
  std::string whole = "0";  // no zero in front, unless it is the only digit
  std::string fraction;     // no zero at the end

  bool is_zero() const { return whole == "0" && fraction.empty(); }
  bool operator<(const Decimal& other) const;
  bool operator==(const Decimal& other) const = default;
};
// Nothing for numbers that 20 digits before and behind the point do not hold.
std::optional<Decimal> read_decimal(const OrderedJson& number);

struct NumberBound {
  Decimal value;
  bool is_exclusive = false;
};
struct NumberRange {
  std::optional<NumberBound> least, most;
  size_t max_fraction_digits = 20;  // 0: integers

  bool has_bounds() const { return least || most; }
};

// A number in the range from `from` to `to`; without bounds also with an exponent. At most 20 digits before and behind the point.
void add_number(Grammar& grammar, Grammar::Node from, const NumberRange& range, Grammar::Node to);

}  // namespace quern
