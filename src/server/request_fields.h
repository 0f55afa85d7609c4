// A JSON object of a request, read by field name: types and ranges are checked, null counts as absent, and what nobody asked for is
// remembered, so that the reply can name it. Every problem is an ApiError whose `param` is the field's path. One request's; one thread.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/api_error.h"

namespace quern {

class RequestFields {
 public:
  // `path` of the object itself: "" for the body, "messages[2]" inside it. `object` must outlive this.
  explicit RequestFields(const Json& object, std::string path = "");

  std::string path_of(std::string_view name) const;
  // The field's value, null when it is absent.
  const Json* find(const char* name) const;
  bool has(const char* name) const { return find(name) != nullptr; }

  std::optional<bool> flag(const char* name) const;
  std::optional<int64_t> integer(const char* name, int64_t min, int64_t max) const;
  std::optional<double> number(const char* name) const;
  std::optional<std::string> text(const char* name, size_t max_bytes = static_cast<size_t>(-1)) const;
  std::optional<RequestFields> object(const char* name) const;
  // An array of at most `max_size`, null when absent.
  const Json* array(const char* name, size_t max_size) const;
  std::string required_text(const char* name) const;

  // A field that is read elsewhere or has no meaning here.
  void know(const char* name) const { known_.insert(name); }
  // Names that nobody asked for, with their path.
  std::vector<std::string> unknown() const;

 private:
  const Json* object_;
  std::string path_;
  mutable std::set<std::string, std::less<>> known_;
};

// "string 'yes'", "an array": a value as a message shows it.
std::string found_value(const Json& value);
// `value` as an integer from min to max; `path` names it otherwise.
int64_t read_integer_value(const Json& value, const std::string& path, int64_t min, int64_t max);

}  // namespace quern
