// JSON from outside: limits, duplicate keys and depth are checked before a value exists; fields are read by name with clear errors.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace quern {

using Json = nlohmann::json;                 // keys sorted; fast for large objects
using OrderedJson = nlohmann::ordered_json;  // keys as written; for text that is printed again (tools). Slow beyond some hundred keys

struct JsonLimits {
  size_t max_bytes = size_t{16} << 20;
  int max_depth = 64;
  size_t max_values = 2'000'000;  // numbers, strings, arrays and objects together: an empty array of 3 bytes takes 40 in memory
};

// Parses one JSON text. `where` opens each message ("config.json"). Throws invalid_input with the byte offset for: size, depth or count
// over a limit, a byte order mark, invalid UTF-8, a duplicate key, trailing text, NaN or numbers beyond double.
Json parse_json(std::string_view text, std::string_view where, JsonLimits limits = {});
OrderedJson parse_ordered_json(std::string_view text, std::string_view where, JsonLimits limits = {});

// A JSON object seen through its field names. Every accessor throws invalid_input "<where>: <field>: want X, found Y".
// Names after the first are aliases; an object that holds two of them with different values is refused.
class JsonFields {
 public:
  using Names = std::initializer_list<const char*>;

  JsonFields(const Json& object, std::string where);

  bool has(const char* name) const { return object_->contains(name) && !object_->at(name).is_null(); }
  const Json& raw() const { return *object_; }
  const std::string& where() const { return where_; }

  uint64_t size(Names names, uint64_t min, uint64_t max) const;  // unsigned integer in [min, max]
  std::optional<uint64_t> optional_size(Names names, uint64_t min, uint64_t max) const;
  double number(Names names) const;  // finite
  std::optional<double> optional_number(Names names) const;
  std::string text(Names names) const;
  std::optional<std::string> optional_text(Names names) const;
  bool flag(const char* name, bool when_absent) const;
  std::optional<JsonFields> optional_object(const char* name) const;
  std::vector<int64_t> optional_ids(const char* name) const;  // an integer or a list of integers; empty when absent

 private:
  const Json* find(Names names) const;  // null when absent

  const Json* object_;
  std::string where_;
};

}  // namespace quern
