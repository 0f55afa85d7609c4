#include "models/config_fields.h"

namespace quern {
namespace {

constexpr size_t kMostNamed = 5;  // unknown fields shown in one message

bool is_off(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return true;
    case Json::value_t::boolean: return !value.get<bool>();
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
    case Json::value_t::number_float: return value.get<double>() == 0;
    case Json::value_t::string: return value.get_ref<const std::string&>().empty();
    default: return value.empty();
  }
}

std::string shown(const Json& value) { return escaped(value.dump(-1, ' ', false, Json::error_handler_t::replace), 60); }

}  // namespace

void ConfigFields::note(Names names) {
  for (const char* name : names) read_.insert(name);
}

bool ConfigFields::has(const char* name) {
  note({name});
  return fields_.has(name);
}

uint32_t ConfigFields::size(Names names, uint64_t min, uint64_t max) {
  note(names);
  return static_cast<uint32_t>(fields_.size(names, min, max));
}

std::optional<uint32_t> ConfigFields::optional_size(Names names, uint64_t min, uint64_t max) {
  note(names);
  const std::optional<uint64_t> value = fields_.optional_size(names, min, max);
  return value ? std::optional(static_cast<uint32_t>(*value)) : std::nullopt;
}

double ConfigFields::number(Names names, double min, double max) {
  note(names);
  const double value = fields_.number(names);
  if (!(value >= min && value <= max))
    raise(invalid_input, "{}: {}: want a number from {} to {}, found {}", where(), *names.begin(), min, max, value);
  return value;
}

std::optional<double> ConfigFields::optional_number(Names names, double min, double max) {
  note(names);
  if (!fields_.optional_number(names)) return std::nullopt;
  return number(names, min, max);
}

std::optional<std::string> ConfigFields::optional_text(Names names) {
  note(names);
  return fields_.optional_text(names);
}

bool ConfigFields::flag(const char* name, bool when_absent) {
  note({name});
  return fields_.flag(name, when_absent);
}

std::optional<ConfigFields> ConfigFields::optional_object(const char* name) {
  note({name});
  std::optional<JsonFields> object = fields_.optional_object(name);
  if (!object) return std::nullopt;
  return ConfigFields(*std::move(object));
}

void ConfigFields::want_flag(const char* name, bool wanted, const char* reason) {
  if (flag(name, wanted) != wanted) raise(incompatible, "{}: {}: want {}, found {}: {}", where(), name, wanted, !wanted, reason);
}

void ConfigFields::want_text(const char* name, std::string_view wanted, const char* reason) {
  const std::optional<std::string> found = optional_text({name});
  if (found && *found != wanted)
    raise(incompatible, "{}: {}: want \"{}\", found \"{}\": {}", where(), name, wanted, escaped(*found, 80), reason);
}

void ConfigFields::want_number(const char* name, double wanted, const char* reason) {
  note({name});
  const std::optional<double> found = fields_.optional_number({name});
  if (found && *found != wanted) raise(incompatible, "{}: {}: want {}, found {}: {}", where(), name, wanted, *found, reason);
}

void ConfigFields::mark_read(std::span<const char* const> names) {
  for (const char* name : names) read_.insert(name);
}

void ConfigFields::mark_read_prefix(std::string_view prefix) {
  for (const auto& [name, value] : fields_.raw().items()) {
    if (name.starts_with(prefix)) read_.insert(name);
  }
}

void ConfigFields::refuse_unread() const {
  std::string unknown;
  size_t count = 0;
  for (const auto& [name, value] : fields_.raw().items()) {
    if (read_.contains(name) || name.starts_with('_') || is_off(value)) continue;
    if (count++ < kMostNamed) unknown += fmt::format("{}{}: {}", count == 1 ? "" : ", ", escaped(name, 60), shown(value));
  }
  if (count == 0) return;
  raise(incompatible, "{}: {} field{} that this architecture's reader does not understand: {}{}", where(), count, count == 1 ? "" : "s",
        unknown, count > kMostNamed ? ", ..." : "");
}

}  // namespace quern
