#include "text/schema_merge.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/parse.h"

namespace quern {
namespace {

constexpr int kMaxDepth = 32;
constexpr size_t kMaxAlternatives = 256;

using Resolve = std::function<const OrderedJson&(const OrderedJson&)>;

[[noreturn]] void refuse(const std::string& keyword, const char* message) { raise(invalid_input, "{}: {}", escaped(keyword, 60), message); }

std::vector<std::string> names_of(const OrderedJson& type) {
  std::vector<std::string> names;
  for (const OrderedJson& each : type.is_array() ? type : OrderedJson::array({type})) {
    if (!each.is_string()) refuse("type", "want a name or an array of names");
    names.push_back(each.get<std::string>());
  }
  return names;
}

OrderedJson common_types(const OrderedJson& a, const OrderedJson& b) {
  OrderedJson common = OrderedJson::array();
  for (const std::string& name : names_of(a)) {
    for (const std::string& other : names_of(b)) {
      const bool is_integer = (name == "integer" && other == "number") || (name == "number" && other == "integer");
      if (name == other) common.push_back(name);
      if (is_integer) common.push_back("integer");
    }
  }
  if (common.empty()) refuse("type", "no type fits all of the schemas");
  return common.size() == 1 ? common[0] : common;
}

OrderedJson common_values(const OrderedJson& a, const OrderedJson& b) {
  OrderedJson common = OrderedJson::array();
  for (const OrderedJson& each : a) {
    if (std::ranges::find(b, each) != b.end()) common.push_back(each);
  }
  if (common.empty()) refuse("enum", "no value fits all of the schemas");
  return common;
}

void merge_keyword(OrderedJson& into, const std::string& name, const OrderedJson& value, const Resolve& resolve, int depth) {
  if (!into.contains(name)) {
    into[name] = value;
    return;
  }
  OrderedJson& known = into[name];
  if (known == value || is_annotation(name)) return;
  const bool is_least =
      name == "minimum" || name == "exclusiveMinimum" || name == "minLength" || name == "minItems" || name == "minProperties";
  const bool is_most =
      name == "maximum" || name == "exclusiveMaximum" || name == "maxLength" || name == "maxItems" || name == "maxProperties";
  if (is_least || is_most) {
    if (!known.is_number() || !value.is_number()) refuse(name, "want a number");
    known = (value < known) == is_most ? value : known;
  } else if (name == "type") {
    known = common_types(known, value);
  } else if (name == "enum") {
    known = common_values(known, value);
  } else if (name == "required" || name == "allOf") {
    for (const OrderedJson& each : value) {
      if (std::ranges::find(known, each) == known.end()) known.push_back(each);
    }
  } else if (name == "properties" && known.is_object() && value.is_object()) {
    for (const auto& [property, schema] : value.items()) {
      known[property] = known.contains(property) ? merged_schemas(known[property], schema, resolve, depth + 1) : schema;
    }
  } else if (name == "items" || name == "additionalProperties") {
    known = merged_schemas(known, value, resolve, depth + 1);
  } else if (name == "anyOf" || name == "oneOf") {
    OrderedJson pairs = OrderedJson::array();
    if (known.size() * value.size() > kMaxAlternatives) refuse(name, "want fewer alternatives that hold at once");
    for (const OrderedJson& one : known) {
      for (const OrderedJson& other : value) pairs.push_back({{"allOf", {one, other}}});
    }
    known = pairs;
  } else {
    refuse(name, "want it in one only of the schemas that hold at once");
  }
}

// Members that the other schema does not allow.
void drop_forbidden(OrderedJson& schema, const OrderedJson& other) {
  if (!other.contains("additionalProperties") || other.at("additionalProperties") != false || !schema.contains("properties")) return;
  const OrderedJson none = OrderedJson::object();
  const OrderedJson& allowed = other.contains("properties") ? other.at("properties") : none;
  OrderedJson kept = OrderedJson::object();
  for (const auto& [name, each] : schema.at("properties").items()) {
    if (allowed.contains(name)) kept[name] = each;
  }
  schema["properties"] = kept;
}

}  // namespace

const OrderedJson* schema_at(const OrderedJson& root, const std::string& reference) {
  const OrderedJson* found = reference == "#" || reference.starts_with("#/") ? &root : nullptr;
  for (size_t at = 1; found != nullptr && at < reference.size();) {
    const size_t end = std::min(reference.find('/', at + 1), reference.size());
    std::string step = reference.substr(at + 1, end - at - 1);
    for (const auto& [code, c] : {std::pair{"~1", "/"}, {"~0", "~"}}) {
      for (size_t i = 0; (i = step.find(code, i)) != step.npos; ++i) step.replace(i, 2, c);
    }
    if (found->is_object()) {
      const auto member = found->find(step);
      found = member == found->end() ? nullptr : &*member;
    } else {
      const auto index = parse_number<size_t>(step, 0, 1'000'000);
      found = found->is_array() && index && *index < found->size() ? &(*found)[*index] : nullptr;
    }
    at = end;
  }
  return found;
}

bool is_rule(const std::string& keyword) {
  static constexpr const char* kNames[] = {"type",
                                           "properties",
                                           "required",
                                           "additionalProperties",
                                           "propertyNames",
                                           "minProperties",
                                           "maxProperties",
                                           "items",
                                           "prefixItems",
                                           "minItems",
                                           "maxItems",
                                           "enum",
                                           "const",
                                           "anyOf",
                                           "oneOf",
                                           "allOf",
                                           "$ref",
                                           "minLength",
                                           "maxLength",
                                           "pattern",
                                           "format",
                                           "minimum",
                                           "maximum",
                                           "exclusiveMinimum",
                                           "exclusiveMaximum",
                                           "multipleOf",
                                           "nullable",
                                           "uniqueItems"};
  return std::ranges::any_of(kNames, [&](const char* name) { return keyword == name; });
}

bool is_annotation(const std::string& keyword) {
  static constexpr const char* kNames[] = {"title",       "description",   "default",      "examples",        "example",         "$schema",
                                           "$id",         "$comment",      "deprecated",   "readOnly",        "writeOnly",       "$defs",
                                           "definitions", "discriminator", "externalDocs", "contentEncoding", "contentMediaType"};
  return keyword.starts_with("x-") || std::ranges::any_of(kNames, [&](const char* name) { return keyword == name; });
}

OrderedJson merged_schemas(const OrderedJson& a, const OrderedJson& b, const Resolve& resolve, int depth) {
  if (depth > kMaxDepth) refuse("allOf", "want schemas that are nested less deep");
  if (a.is_boolean()) return a.get<bool>() ? b : a;
  if (b.is_boolean()) return b.get<bool>() ? a : b;
  if (!a.is_object() || !b.is_object()) refuse("allOf", "want schemas");
  for (const auto& [with_reference, other] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    if (!with_reference->contains("$ref")) continue;
    OrderedJson rest = *with_reference;
    rest.erase("$ref");
    const OrderedJson& target = resolve(with_reference->at("$ref"));
    return merged_schemas(merged_schemas(target, rest, resolve, depth + 1), *other, resolve, depth + 1);
  }
  OrderedJson merged = a, second = b;
  drop_forbidden(merged, b);
  drop_forbidden(second, a);
  for (const auto& [name, value] : second.items()) merge_keyword(merged, name, value, resolve, depth);
  return merged;
}

}  // namespace quern
