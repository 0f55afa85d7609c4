#include "text/number_range.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/parse.h"
#include "text/json_text.h"

namespace quern {
namespace {

using Node = Grammar::Node;

constexpr size_t kMaxDigits = 20, kMaxExponentDigits = 3;

// Of magnitudes: both as of numbers that are not negative.
int compare(const Decimal& a, const Decimal& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
  if (const int order = a.whole.compare(b.whole); order != 0) return order;
  return a.fraction.compare(b.fraction);  // no zeros at the end: as texts
}

// Magnitudes from `least` to `most`, digit by digit: a number is tight to a bound while its digits are the bound's.
class MagnitudeWriter {
 public:
  MagnitudeWriter(Grammar& grammar, NumberBound least, std::optional<NumberBound> most, size_t max_fraction_digits, Node to)
      : grammar_(grammar), least_(std::move(least)), most_(std::move(most)), max_fraction_digits_(max_fraction_digits), to_(to) {}

  void write(Node from) {
    const size_t first = least_.value.whole.size(), last = most_ ? most_->value.whole.size() : kMaxDigits;
    for (num_digits_ = first; num_digits_ <= last; ++num_digits_) {
      nodes_.clear();
      const Node start = grammar_.add_node();
      grammar_.add_free(from, start);
      const bool is_open_end = num_digits_ > first && !most_;
      if (is_open_end) return write_longer(start, num_digits_);
      write_whole(start, 0, {num_digits_ == first, most_ && num_digits_ == last});
    }
  }

 private:
  struct Tight {
    bool least, most;
    bool operator<(const Tight& other) const { return std::pair(least, most) < std::pair(other.least, other.most); }
  };

  // Any whole part of `least` to kMaxDigits digits: no bound is near.
  void write_longer(Node from, size_t least) {
    Node at = grammar_.add_node();
    grammar_.add_bytes(from, '1', '9', at);
    const Node end = grammar_.add_node();
    for (size_t count = 1; count < kMaxDigits; ++count) {
      if (count >= least) grammar_.add_free(at, end);
      const Node next = grammar_.add_node();
      grammar_.add_bytes(at, '0', '9', next);
      at = next;
    }
    grammar_.add_free(at, end);
    end_whole(end, {false, false});
  }

  static int digit_of(const std::string& digits, size_t i) { return i < digits.size() ? digits[i] - '0' : 0; }

  // The node of a place, made when it is new; `write` goes on from there.
  template <class Write>
  Node place(bool is_fraction, size_t at, Tight tight, Write&& write) {
    const auto key = std::tuple(is_fraction, at, tight);
    if (const auto found = nodes_.find(key); found != nodes_.end()) return found->second;
    const Node node = grammar_.add_node();
    nodes_.emplace(key, node);
    write(node);
    return node;
  }

  void write_whole(Node from, size_t at, Tight tight) {
    for (int digit = at == 0 && num_digits_ > 1 ? 1 : 0; digit <= 9; ++digit) {
      const int low = digit_of(least_.value.whole, at), high = most_ ? digit_of(most_->value.whole, at) : 9;
      if ((tight.least && digit < low) || (tight.most && digit > high)) continue;
      const Tight next{tight.least && digit == low, tight.most && digit == high};
      const Node to =
          place(false, at + 1, next, [&](Node node) { at + 1 < num_digits_ ? write_whole(node, at + 1, next) : end_whole(node, next); });
      add_digit(from, digit, to);
    }
  }

  void add_digit(Node from, int digit, Node to) {
    const auto byte = static_cast<uint8_t>('0' + digit);
    grammar_.add_bytes(from, byte, byte, to);
  }

  void end_whole(Node from, Tight tight) {
    if (may_end(0, tight)) grammar_.add_free(from, to_);
    if (max_fraction_digits_ == 0) return;
    write_fraction(grammar_.add_text(from, "."), 0, tight);
  }

  // Whether the number may end behind `at` digits of its fraction.
  bool may_end(size_t at, Tight tight) const {
    const bool is_least = tight.least && at >= least_.value.fraction.size(), is_under = tight.least && at < least_.value.fraction.size();
    if (is_under || (is_least && least_.is_exclusive)) return false;
    return !(tight.most && at >= most_->value.fraction.size() && most_->is_exclusive);
  }

  void write_fraction(Node from, size_t at, Tight tight) {
    if (at == max_fraction_digits_) return;
    for (int digit = 0; digit <= 9; ++digit) {
      const int low = digit_of(least_.value.fraction, at), high = most_ ? digit_of(most_->value.fraction, at) : 9;
      if ((tight.least && digit < low) || (tight.most && digit > high)) continue;
      const Tight next{tight.least && digit == low, tight.most && digit == high};
      const Node to = place(true, at + 1, next, [&](Node node) {
        if (may_end(at + 1, next)) grammar_.add_free(node, to_);
        write_fraction(node, at + 1, next);
      });
      add_digit(from, digit, to);
    }
  }

  Grammar& grammar_;
  NumberBound least_;
  std::optional<NumberBound> most_;
  size_t max_fraction_digits_;
  Node to_;
  size_t num_digits_ = 0;
  std::map<std::tuple<bool, size_t, Tight>, Node> nodes_;
};

void add_magnitude(Grammar& grammar, Node from, NumberBound least, std::optional<NumberBound> most, size_t max_fraction_digits, Node to) {
  MagnitudeWriter(grammar, std::move(least), std::move(most), max_fraction_digits, to).write(from);
}

// Digits from `from` on, `least` to `most` of them.
Node add_digits(Grammar& grammar, Node from, size_t least, size_t most) {
  const Node to = grammar.add_node();
  for (size_t i = 0; i < most; ++i) {
    if (i >= least) grammar.add_free(from, to);
    const Node next = grammar.add_node();
    grammar.add_bytes(from, '0', '9', next);
    from = next;
  }
  grammar.add_free(from, to);
  return to;
}

void add_unbounded(Grammar& grammar, Node from, size_t max_fraction_digits, Node to) {
  const Node start = grammar.add_node(), after_sign = grammar.add_node(), whole = grammar.add_node(), more = grammar.add_node();
  grammar.add_free(from, start);
  grammar.add_free(start, after_sign);
  grammar.add_bytes(start, '-', '-', after_sign);
  grammar.add_bytes(after_sign, '0', '0', whole);
  grammar.add_bytes(after_sign, '1', '9', more);
  grammar.add_free(add_digits(grammar, more, 0, kMaxDigits - 1), whole);
  grammar.add_free(whole, to);
  if (max_fraction_digits == 0) return;
  const Node before_exponent = grammar.add_node(), exponent = grammar.add_node(), sign = grammar.add_node();
  grammar.add_free(add_digits(grammar, grammar.add_text(whole, "."), 1, max_fraction_digits), before_exponent);
  grammar.add_free(before_exponent, to);
  if (max_fraction_digits < kMaxDigits) return;
  grammar.add_free(whole, before_exponent);
  for (const char c : {'e', 'E'}) grammar.add_bytes(before_exponent, static_cast<uint8_t>(c), static_cast<uint8_t>(c), exponent);
  for (const char c : {'+', '-'}) grammar.add_bytes(exponent, static_cast<uint8_t>(c), static_cast<uint8_t>(c), sign);
  grammar.add_free(exponent, sign);
  grammar.add_free(add_digits(grammar, sign, 1, kMaxExponentDigits - 1), to);
}

}  // namespace

bool Decimal::operator<(const Decimal& other) const {
  if (is_negative != other.is_negative) return is_negative;
  return is_negative ? compare(*this, other) > 0 : compare(*this, other) < 0;
}

std::optional<Decimal> read_decimal(const OrderedJson& number) {
  std::string text = number.is_number_float() ? python_float(number.get<double>()) : number.dump();
  Decimal decimal;
  decimal.is_negative = text.starts_with('-');
  if (decimal.is_negative) text.erase(0, 1);
  int exponent = 0;
  if (const size_t e = text.find('e'); e != text.npos) {
    const bool is_small = text[e + 1] == '-';
    const auto digits = parse_number<int>(text.substr(e + 2), 0, 400);
    if (!digits) return std::nullopt;
    exponent = is_small ? -*digits : *digits;
    text.resize(e);
  }
  const size_t point = std::min(text.find('.'), text.size());
  std::string digits = text.substr(0, point) + (point < text.size() ? text.substr(point + 1) : "");
  int place = static_cast<int>(point) + exponent;  // of the point in `digits`
  if (place > static_cast<int>(kMaxDigits) || place < -static_cast<int>(kMaxDigits)) return std::nullopt;
  if (place <= 0) digits.insert(0, static_cast<size_t>(1 - place), '0'), place = 1;
  if (digits.size() < static_cast<size_t>(place)) digits.append(static_cast<size_t>(place) - digits.size(), '0');
  decimal.whole = digits.substr(0, static_cast<size_t>(place));
  decimal.fraction = digits.substr(static_cast<size_t>(place));
  decimal.whole.erase(0, std::min(decimal.whole.find_first_not_of('0'), decimal.whole.size() - 1));
  decimal.fraction.resize(decimal.fraction.find_last_not_of('0') + 1);  // npos + 1 is 0
  if (decimal.fraction.size() > kMaxDigits) return std::nullopt;
  if (decimal.is_zero()) decimal.is_negative = false;
  return decimal;
}

void add_number(Grammar& grammar, Node from, const NumberRange& range, Node to) {
  if (!range.has_bounds()) return add_unbounded(grammar, from, range.max_fraction_digits, to);
  const auto magnitude = [](NumberBound bound) {
    bound.value.is_negative = false;
    return bound;
  };
  const bool most_is_negative = range.most && (range.most->value.is_negative || (range.most->value.is_zero() && range.most->is_exclusive));
  const bool least_is_negative = !range.least || range.least->value.is_negative;
  if (!most_is_negative) {
    const NumberBound least = least_is_negative ? NumberBound{} : *range.least;
    add_magnitude(grammar, from, least, range.most, range.max_fraction_digits, to);
  }
  if (least_is_negative) {
    NumberBound nearest = most_is_negative ? magnitude(*range.most) : NumberBound{.value = {}, .is_exclusive = true};
    std::optional<NumberBound> farthest;
    if (range.least) farthest = magnitude(*range.least);
    add_magnitude(grammar, grammar.add_text(from, "-"), nearest, farthest, range.max_fraction_digits, to);
  }
}

}  // namespace quern
