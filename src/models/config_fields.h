// A model's config seen through the fields that its reader asks for; what nobody asked for and is not known to be harmless is refused.
// One reader, one thread.
#pragma once
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"

namespace quern {

class ConfigFields {
 public:
  using Names = JsonFields::Names;

  explicit ConfigFields(JsonFields fields) : fields_(std::move(fields)) {}

  const std::string& where() const { return fields_.where(); }
  const JsonFields& raw() const { return fields_; }

  // As JsonFields, and the names count as read.
  bool has(const char* name);
  uint32_t size(Names names, uint64_t min, uint64_t max);
  std::optional<uint32_t> optional_size(Names names, uint64_t min, uint64_t max);
  // In [min, max]; throws invalid_input with the range.
  double number(Names names, double min, double max);
  std::optional<double> optional_number(Names names, double min, double max);
  std::optional<std::string> optional_text(Names names);
  bool flag(const char* name, bool when_absent);
  std::optional<ConfigFields> optional_object(const char* name);

  // Fields with one supported value: another one is refused as incompatible, with `reason`.
  void want_flag(const char* name, bool wanted, const char* reason);
  void want_text(const char* name, std::string_view wanted, const char* reason);
  void want_number(const char* name, double wanted, const char* reason);

  void mark_read(std::span<const char* const> names);
  void mark_read_prefix(std::string_view prefix);
  // Throws incompatible naming the fields that were not read. Fields that are off (null, false, 0, empty) or private to the writer
  // (leading underscore) do no harm.
  void refuse_unread() const;

 private:
  void note(Names names);

  JsonFields fields_;
  std::set<std::string, std::less<>> read_;
};

}  // namespace quern
