// Numbers from text: full match, range, no exceptions. The only way that outside text becomes a number (JSON apart).
#pragma once
#include <charconv>
#include <optional>
#include <string_view>

namespace quern {

template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <class T>
std::optional<T> parse_number(std::string_view text, T min, T max) {
  const std::optional<T> value = parse_number<T>(text);
  return value && *value >= min && *value <= max ? value : std::nullopt;
}

}  // namespace quern
