#include "base/json.h"

#include <cmath>
#include <unordered_set>

#include "base/utf8.h"

namespace quern {
namespace {

// Walks the text without building anything; remembers the first thing that is refused.
class Validator {
 public:
  explicit Validator(JsonLimits limits) : limits_(limits) {}

  std::string problem;

  bool null() { return one_more(); }
  bool boolean(bool) { return one_more(); }
  bool number_integer(int64_t) { return one_more(); }
  bool number_unsigned(uint64_t) { return one_more(); }
  bool number_float(double value, const std::string& text) {
    if (!std::isfinite(value)) return refuse(fmt::format("number {} is beyond the range of a double", escaped(text, 40)));
    return one_more();
  }
  bool string(std::string&) { return one_more(); }
  bool binary(Json::binary_t&) { return one_more(); }
  bool start_object(size_t) {
    keys_.emplace_back();
    return deeper();
  }
  bool key(std::string& name) { return keys_.back().insert(name).second || refuse(fmt::format("duplicate key \"{}\"", escaped(name))); }
  bool end_object() {
    keys_.pop_back();
    --depth_;
    return true;
  }
  bool start_array(size_t) { return deeper(); }
  bool end_array() {
    --depth_;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
    return refuse(fmt::format("not JSON at byte {}", position == 0 ? 0 : position - 1));
  }

 private:
  bool one_more() { return ++values_ <= limits_.max_values || refuse(fmt::format("more than {} values", limits_.max_values)); }
  bool deeper() {
    if (++depth_ > limits_.max_depth) return refuse(fmt::format("nested deeper than {} levels", limits_.max_depth));
    return one_more();
  }
  bool refuse(std::string what) {
    if (problem.empty()) problem = std::move(what);
    return false;
  }

  JsonLimits limits_;
  int depth_ = 0;
  size_t values_ = 0;
  std::vector<std::unordered_set<std::string>> keys_;
};

template <class J>
J parse_checked(std::string_view text, std::string_view where, JsonLimits limits) {
  if (text.size() > limits.max_bytes)
    raise(invalid_input, "{}: want at most {} bytes of JSON, found {}", where, limits.max_bytes, text.size());
  if (text.starts_with("\xef\xbb\xbf")) raise(invalid_input, "{}: starts with a byte order mark; want plain UTF-8", where);
  if (text.find_first_not_of(" \t\r\n") == text.npos) raise(invalid_input, "{}: empty; want JSON", where);
  if (const size_t bad = utf8_first_invalid(text); bad != text.npos) raise(invalid_input, "{}: invalid UTF-8 at byte {}", where, bad);
  Validator validator(limits);
  if (!Json::sax_parse(text, &validator)) raise(invalid_input, "{}: {}", where, validator.problem);
  return J::parse(text);
}

const char* kind_of(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return "null";
    case Json::value_t::object: return "an object";
    case Json::value_t::array: return "an array";
    case Json::value_t::string: return "a string";
    case Json::value_t::boolean: return "a boolean";
    default: return "a number";
  }
}

std::string shown(const Json& value) {
  return value.is_object() || value.is_array() ? kind_of(value) : escaped(value.dump(-1, ' ', false, Json::error_handler_t::replace), 80);
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where, JsonLimits limits) { return parse_checked<Json>(text, where, limits); }

OrderedJson parse_ordered_json(std::string_view text, std::string_view where, JsonLimits limits) {
  return parse_checked<OrderedJson>(text, where, limits);
}

JsonFields::JsonFields(const Json& object, std::string where) : object_(&object), where_(std::move(where)) {
  if (!object.is_object()) raise(invalid_input, "{}: want an object, found {}", where_, kind_of(object));
}

const Json* JsonFields::find(Names names) const {
  const Json* found = nullptr;
  const char* found_name = nullptr;
  for (const char* name : names) {
    if (!has(name)) continue;
    const Json& value = object_->at(name);
    if (found != nullptr && *found != value) {
      raise(invalid_input, "{}: {} is {} but its alias {} is {}", where_, found_name, shown(*found), name, shown(value));
    }
    if (found == nullptr) found = &value, found_name = name;
  }
  return found;
}

std::optional<uint64_t> JsonFields::optional_size(Names names, uint64_t min, uint64_t max) const {
  const Json* value = find(names);
  if (value == nullptr) return std::nullopt;
  const bool is_size = value->is_number_unsigned() || (value->is_number_integer() && value->get<int64_t>() >= 0);
  if (!is_size || value->get<uint64_t>() < min || value->get<uint64_t>() > max) {
    raise(invalid_input, "{}: {}: want an integer from {} to {}, found {}", where_, *names.begin(), min, max, shown(*value));
  }
  return value->get<uint64_t>();
}

uint64_t JsonFields::size(Names names, uint64_t min, uint64_t max) const {
  if (const auto value = optional_size(names, min, max)) return *value;
  raise(invalid_input, "{}: {}: want an integer from {} to {}, found nothing", where_, *names.begin(), min, max);
}

std::optional<double> JsonFields::optional_number(Names names) const {
  const Json* value = find(names);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) raise(invalid_input, "{}: {}: want a number, found {}", where_, *names.begin(), shown(*value));
  return value->get<double>();
}

double JsonFields::number(Names names) const {
  if (const auto value = optional_number(names)) return *value;
  raise(invalid_input, "{}: {}: want a number, found nothing", where_, *names.begin());
}

std::optional<std::string> JsonFields::optional_text(Names names) const {
  const Json* value = find(names);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) raise(invalid_input, "{}: {}: want a string, found {}", where_, *names.begin(), shown(*value));
  return value->get<std::string>();
}

std::string JsonFields::text(Names names) const {
  if (auto value = optional_text(names)) return *std::move(value);
  raise(invalid_input, "{}: {}: want a string, found nothing", where_, *names.begin());
}

bool JsonFields::flag(const char* name, bool when_absent) const {
  const Json* value = find({name});
  if (value == nullptr) return when_absent;
  if (!value->is_boolean()) raise(invalid_input, "{}: {}: want true or false, found {}", where_, name, shown(*value));
  return value->get<bool>();
}

std::optional<JsonFields> JsonFields::optional_object(const char* name) const {
  const Json* value = find({name});
  if (value == nullptr) return std::nullopt;
  return JsonFields(*value, fmt::format("{}: {}", where_, name));
}

std::vector<int64_t> JsonFields::optional_ids(const char* name) const {
  const Json* value = find({name});
  std::vector<int64_t> ids;
  if (value == nullptr) return ids;
  const auto add = [&](const Json& id) {
    if (!id.is_number_integer()) raise(invalid_input, "{}: {}: want token ids, found {}", where_, name, shown(id));
    ids.push_back(id.get<int64_t>());
  };
  if (value->is_array()) {
    for (const Json& id : *value) add(id);
  } else {
    add(*value);
  }
  return ids;
}

}  // namespace quern
