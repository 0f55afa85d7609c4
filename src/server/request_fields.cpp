#include "server/request_fields.h"

#include <limits>

namespace quern {

std::string found_value(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return "null";
    case Json::value_t::object: return "an object";
    case Json::value_t::array: return fmt::format("an array of {}", value.size());
    case Json::value_t::string: return fmt::format("the string '{}'", escaped(value.get_ref<const std::string&>(), 60));
    default: return escaped(value.dump(), 60);
  }
}

int64_t read_integer_value(const Json& value, const std::string& path, int64_t min, int64_t max) {
  const bool is_large = value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (!value.is_number_integer() || is_large || value.get<int64_t>() < min || value.get<int64_t>() > max) {
    throw field_error(path, "want an integer from {} to {}, found {}", min, max, found_value(value));
  }
  return value.get<int64_t>();
}

RequestFields::RequestFields(const Json& object, std::string path) : object_(&object), path_(std::move(path)) {
  if (!object.is_object()) throw field_error(path_, "want an object, found {}", found_value(object));
}

std::string RequestFields::path_of(std::string_view name) const {
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

const Json* RequestFields::find(const char* name) const {
  known_.insert(name);
  const auto found = object_->find(name);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

std::optional<bool> RequestFields::flag(const char* name) const {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) throw field_error(path_of(name), "want true or false, found {}", found_value(*value));
  return value->get<bool>();
}

std::optional<int64_t> RequestFields::integer(const char* name, int64_t min, int64_t max) const {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  return read_integer_value(*value, path_of(name), min, max);
}

std::optional<double> RequestFields::number(const char* name) const {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) throw field_error(path_of(name), "want a number, found {}", found_value(*value));
  return value->get<double>();
}

std::optional<std::string> RequestFields::text(const char* name, size_t max_bytes) const {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) throw field_error(path_of(name), "want a string, found {}", found_value(*value));
  const std::string& text = value->get_ref<const std::string&>();
  if (text.size() > max_bytes) throw field_error(path_of(name), "want at most {} bytes, found {}", max_bytes, text.size());
  return text;
}

std::string RequestFields::required_text(const char* name) const {
  if (auto value = text(name)) return *std::move(value);
  ApiError error = field_error(path_of(name), "want a string, found nothing");
  error.code = "missing_field";
  throw error;
}

std::optional<RequestFields> RequestFields::object(const char* name) const {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  return RequestFields(*value, path_of(name));
}

const Json* RequestFields::array(const char* name, size_t max_size) const {
  const Json* value = find(name);
  if (value == nullptr) return nullptr;
  if (!value->is_array() || value->size() > max_size) {
    throw field_error(path_of(name), "want an array of at most {}, found {}", max_size, found_value(*value));
  }
  return value;
}

std::vector<std::string> RequestFields::unknown() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : object_->items()) {
    if (!known_.contains(name)) names.push_back(path_of(name));
  }
  return names;
}

}  // namespace quern
