#include "text/schema_disjoint.h"

#include <algorithm>
#include <string>

#include "text/schema_merge.h"

namespace quern {
namespace {

constexpr int kMaxDepth = 16;
constexpr size_t kMaxCost = 100'000, kMergeCost = 50;  // comparisons of a whole list; beyond, nothing is shown

enum Type : unsigned { kObject = 1, kArray = 2, kString = 4, kNumber = 8, kBoolean = 16, kNull = 32, kAny = 63 };

unsigned type_of(const OrderedJson& value) {
  if (value.is_object()) return kObject;
  if (value.is_array()) return kArray;
  if (value.is_string()) return kString;
  if (value.is_number()) return kNumber;
  return value.is_boolean() ? kBoolean : kNull;
}

// Integers count as numbers. A name that is none is refused elsewhere.
unsigned type_named(const OrderedJson& name) {
  static constexpr std::pair<const char*, unsigned> kNames[] = {{"object", kObject}, {"array", kArray},    {"string", kString},
                                                                {"number", kNumber}, {"integer", kNumber}, {"boolean", kBoolean},
                                                                {"null", kNull}};
  for (const auto& [known, type] : kNames) {
    if (name == known) return type;
  }
  return kAny;
}

bool has_any(const OrderedJson& schema, std::initializer_list<const char*> names) {
  return std::ranges::any_of(names, [&](const char* name) { return schema.contains(name); });
}

class Comparison {
 public:
  using Resolve = std::function<const OrderedJson&(const OrderedJson&)>;
  explicit Comparison(const Resolve& resolve) : resolve_(resolve) {}

  bool never_fits(const OrderedJson& written, const OrderedJson& other, int depth) {
    if (depth > kMaxDepth || ++cost_ > kMaxCost) return false;
    if (written == false || other == false) return true;
    if (!written.is_object() || !other.is_object()) return false;
    if (written.contains("$ref") && !has_rules_beside(written, "$ref")) return never_fits(resolve_(written.at("$ref")), other, depth + 1);
    for (const char* name : {"$ref", "allOf", "anyOf", "oneOf"}) {
      if (written.contains(name))
        return std::ranges::all_of(parts(written, name), [&](const OrderedJson& part) { return never_fits(part, other, depth + 1); });
    }
    // What does not fit one of several schemas that hold at once does not fit them all.
    if (other.contains("$ref") && never_fits(written, resolve_(other.at("$ref")), depth + 1)) return true;
    if (other.contains("allOf") && other.at("allOf").is_array()) {
      for (const OrderedJson& each : other.at("allOf")) {
        if (never_fits(written, each, depth + 1)) return true;
      }
    }
    for (const char* name : {"anyOf", "oneOf"}) {
      if (!other.contains(name) || !other.at(name).is_array()) continue;
      if (std::ranges::all_of(other.at(name), [&](const OrderedJson& each) { return never_fits(written, each, depth + 1); })) return true;
    }
    if ((types(written, true) & types(other, false)) == 0) return true;
    if (const auto values = values_of(written)) {
      return std::ranges::all_of(*values, [&](const OrderedJson& value) { return !may_be(other, value); });
    }
    if (const auto values = values_of(other)) {
      return std::ranges::all_of(*values, [&](const OrderedJson& value) { return (types(written, true) & type_of(value)) == 0; });
    }
    const unsigned common = types(written, true) & types(other, false);
    if (common == kObject) return objects_never_fit(written, other, depth);
    return common == kNumber && numbers_never_fit(written, other);
  }

 private:
  // What is written is of one of these; keywords beside them are left out, which makes it more.
  std::vector<OrderedJson> parts(const OrderedJson& schema, const char* name) {
    if (std::string_view(name) == "$ref") return {merged_with_rest(schema, name, resolve_(schema.at(name)))};
    if (!schema.at(name).is_array()) return {OrderedJson::object()};
    std::vector<OrderedJson> found;
    OrderedJson all = OrderedJson::object();
    for (const OrderedJson& each : schema.at(name)) {
      if (std::string_view(name) == "allOf") {
        all = merged_schemas(all, each, resolve_);
      } else {
        found.push_back(merged_with_rest(schema, name, each));
      }
    }
    if (std::string_view(name) == "allOf") found.push_back(merged_with_rest(schema, name, all));
    return found;
  }
  OrderedJson merged_with_rest(const OrderedJson& schema, const char* name, const OrderedJson& part) {
    cost_ += kMergeCost;
    OrderedJson rest = schema;
    rest.erase(name);
    return merged_schemas(rest, part, resolve_);
  }
  static bool has_rules_beside(const OrderedJson& schema, const std::string& besides) {
    return std::ranges::any_of(schema.items(), [&](const auto& item) { return item.key() != besides && !is_annotation(item.key()); });
  }

  static unsigned types(const OrderedJson& schema, bool is_written) {
    unsigned types = kAny;
    if (const auto values = values_of(schema)) {
      types = 0;
      for (const OrderedJson& value : *values) types |= type_of(value);
    }
    if (schema.contains("type")) {
      unsigned named = 0;
      const OrderedJson& type = schema.at("type");
      for (const OrderedJson& name : type.is_array() ? type : OrderedJson::array({type})) named |= type_named(name);
      return types & named;
    }
    if (!is_written || types != kAny) return types;
    if (has_any(schema, {"properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"}))
      return kObject;
    if (has_any(schema, {"items", "prefixItems", "minItems", "maxItems"})) return kArray;
    return has_any(schema, {"minLength", "maxLength", "pattern", "format"}) ? unsigned{kString} : types;
  }

  static std::optional<std::vector<OrderedJson>> values_of(const OrderedJson& schema) {
    if (schema.contains("const")) return std::vector<OrderedJson>{schema.at("const")};
    if (!schema.contains("enum") || !schema.at("enum").is_array()) return std::nullopt;
    return schema.at("enum").get<std::vector<OrderedJson>>();
  }
  static bool may_be(const OrderedJson& schema, const OrderedJson& value) {
    if ((types(schema, false) & type_of(value)) == 0) return false;
    const auto values = values_of(schema);
    return !values || std::ranges::find(*values, value) != values->end();
  }

  static const OrderedJson* property(const OrderedJson& schema, const std::string& name) {
    if (!schema.contains("properties") || !schema.at("properties").is_object()) return nullptr;
    const auto found = schema.at("properties").find(name);
    return found == schema.at("properties").end() ? nullptr : &*found;
  }
  static std::vector<std::string> required_of(const OrderedJson& schema) {
    std::vector<std::string> names;
    if (!schema.contains("required") || !schema.at("required").is_array()) return names;
    for (const OrderedJson& name : schema.at("required")) {
      if (name.is_string()) names.push_back(name.get<std::string>());
    }
    return names;
  }

  bool objects_never_fit(const OrderedJson& written, const OrderedJson& other, int depth) {
    const bool has_others = written.contains("additionalProperties")
                                ? written.at("additionalProperties") != false
                                : !written.contains("properties") || written.at("properties").empty() || written.contains("propertyNames");
    const std::vector<std::string> always = required_of(written);
    for (const std::string& name : required_of(other)) {
      const bool is_possible = has_others || property(written, name) != nullptr || std::ranges::find(always, name) != always.end();
      if (!is_possible) return true;
    }
    const bool is_closed = other.contains("additionalProperties") && other.at("additionalProperties") == false;
    return std::ranges::any_of(always, [&](const std::string& name) {
      const OrderedJson *own = property(written, name), *theirs = property(other, name);
      if (theirs == nullptr) return is_closed;
      return own != nullptr && never_fits(*own, *theirs, depth + 1);
    });
  }

  static bool numbers_never_fit(const OrderedJson& written, const OrderedJson& other) {
    const auto is_below = [](const OrderedJson& low, const OrderedJson& high) {
      for (const auto& [most, least, may_touch] : {std::tuple("maximum", "minimum", false), std::tuple("exclusiveMaximum", "minimum", true),
                                                   std::tuple("maximum", "exclusiveMinimum", true)}) {
        if (!low.contains(most) || !high.contains(least) || !low.at(most).is_number() || !high.at(least).is_number()) continue;
        if (low.at(most) < high.at(least) || (may_touch && low.at(most) == high.at(least))) return true;
      }
      return false;
    };
    return is_below(written, other) || is_below(other, written);
  }

  const Resolve& resolve_;
  size_t cost_ = 0;
};

}  // namespace

std::optional<std::pair<size_t, size_t>> first_overlap(const std::vector<OrderedJson>& schemas,
                                                       const std::function<const OrderedJson&(const OrderedJson&)>& resolve) {
  Comparison comparison(resolve);
  for (size_t i = 0; i < schemas.size(); ++i) {
    for (size_t j = 0; j < schemas.size(); ++j) {
      if (i != j && !comparison.never_fits(schemas[i], schemas[j], 0)) return std::pair(std::min(i, j), std::max(i, j));
    }
  }
  return std::nullopt;
}

}  // namespace quern
