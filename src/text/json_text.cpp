#include "text/json_text.h"

#include <charconv>
#include <cmath>

namespace quern {
namespace {

constexpr int kMaxDepth = 128;  // base/json.h reads at most 64

void write_string(const std::string& text, std::string& out) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\f': out += "\\f"; break;
      case '\b': out += "\\b"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

void write(const OrderedJson& value, int depth, std::string& out) {
  if (depth > kMaxDepth) raise(invalid_input, "JSON nested deeper than {} levels", kMaxDepth);
  const char* separator = "";
  switch (value.type()) {
    case OrderedJson::value_t::object:
      out += '{';
      for (const auto& [key, member] : value.items()) {
        out += separator;
        separator = ", ";
        write_string(key, out);
        out += ": ";
        write(member, depth + 1, out);
      }
      out += '}';
      break;
    case OrderedJson::value_t::array:
      out += '[';
      for (const OrderedJson& member : value) {
        out += separator;
        separator = ", ";
        write(member, depth + 1, out);
      }
      out += ']';
      break;
    case OrderedJson::value_t::string: write_string(value.get_ref<const std::string&>(), out); break;
    case OrderedJson::value_t::boolean: out += value.get<bool>() ? "true" : "false"; break;
    case OrderedJson::value_t::number_integer: out += std::to_string(value.get<int64_t>()); break;
    case OrderedJson::value_t::number_unsigned: out += std::to_string(value.get<uint64_t>()); break;
    case OrderedJson::value_t::number_float: out += python_float(value.get<double>()); break;
    default: out += "null"; break;
  }
}

}  // namespace

std::string python_float(double value) {
  CHECK(std::isfinite(value), "{}", value);
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;  // the shortest, -d.ddde+xx
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  const bool is_negative = text[0] == '-';
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  int exponent = 0;
  std::from_chars(text.data() + e + (text[e + 1] == '+' ? 2 : 1), text.data() + text.size(), exponent);
  std::string out(is_negative ? 1 : 0, '-');
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (digits.size() > 1) out.append(1, '.').append(digits, 1);
    return out += fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out.append("0.").append(static_cast<size_t>(-exponent - 1), '0').append(digits);
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return out.append(digits).append(whole - digits.size(), '0').append(".0");
  return out.append(digits, 0, whole).append(1, '.').append(digits, whole);
}

std::string python_json(const OrderedJson& value) {
  std::string out;
  write(value, 0, out);
  return out;
}

}  // namespace quern
