#include "text/json_schema.h"

#include <algorithm>
#include <map>
#include <set>

#include "text/number_range.h"
#include "text/schema_disjoint.h"
#include "text/schema_merge.h"
#include "text/schema_numbers.h"
#include "text/schema_strings.h"

namespace quern {
namespace {

constexpr int kMaxSchemaDepth = 32;
constexpr size_t kMaxProperties = 1000, kMaxEnumValues = 5000, kMaxRepeats = 4096, kMaxCounted = 64, kMaxIndent = 16, kMaxOneOf = 128;
constexpr auto kNoRule = static_cast<uint32_t>(-1);

using Node = Grammar::Node;

class SchemaCompiler {
 public:
  SchemaCompiler(Grammar& grammar, const OrderedJson& root, std::string where)
      : grammar_(grammar), strings_(grammar), root_(root), where_(std::move(where)) {}

  // A value of `schema` between `from` and the node that is returned.
  Node value(Node from, const OrderedJson& schema, int depth) {
    if (schema.is_boolean() && schema.get<bool>()) return any_value(from);
    if (!schema.is_object()) refuse("schema", "want an object or true");
    if (depth > kMaxSchemaDepth) refuse("schema", fmt::format("nested deeper than {} levels", kMaxSchemaDepth));
    check_keywords(schema);
    if (schema.contains("$ref")) {
      return has_other_rules(schema, "$ref") ? value(from, merged(schema, OrderedJson::object()), depth + 1)
                                             : reference(from, schema.at("$ref"));
    }
    if (schema.contains("allOf")) return value(from, all_of(schema), depth + 1);
    for (const char* name : {"anyOf", "oneOf"}) {
      if (schema.contains(name)) return alternatives(from, schema, name, depth);
    }
    if (schema.contains("const")) return grammar_.add_text(from, schema.at("const").dump());
    if (schema.contains("enum")) return enumeration(from, schema);
    return of_type(from, schema, depth);
  }

  Node any_value(Node from) { return call(from, any_value_rule()); }
  Node any_object(Node from) { return call(from, any_object_rule()); }

  // At most a space, or a new line and an indent.
  Node space(Node from) {
    if (!space_rule_) {
      space_rule_ = grammar_.add_rule();
      const Node start = grammar_.rule_start(*space_rule_), end = grammar_.rule_end(*space_rule_);
      grammar_.add_free(start, end);
      grammar_.add_bytes(start, ' ', ' ', end);
      Node at = grammar_.add_node();
      grammar_.add_bytes(start, '\n', '\n', at);
      for (size_t i = 0; i < kMaxIndent; ++i) {
        grammar_.add_free(at, end);
        const Node next = grammar_.add_node();
        grammar_.add_bytes(at, ' ', ' ', next);
        at = next;
      }
      grammar_.add_free(at, end);
    }
    return call(from, *space_rule_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what, const std::string& message) const {
    raise(invalid_input, "{}: {}: {}", where_, escaped(what, 60), message);
  }

  Node call(Node from, uint32_t rule) {
    const Node to = grammar_.add_node();
    grammar_.add_call(from, rule, to);
    return to;
  }
  Node byte(Node from, char c) { return grammar_.add_text(from, std::string_view(&c, 1)); }

  void check_keywords(const OrderedJson& schema) const {
    for (const auto& [name, unused] : schema.items()) {
      if (!is_annotation(name) && !is_rule(name)) refuse(name, "this keyword is not supported");
    }
    if (schema.contains("uniqueItems") && schema.at("uniqueItems") != false) refuse("uniqueItems", "this keyword is not supported");
    if (schema.contains("nullable") && schema.at("nullable") != false) refuse("nullable", "want a type that lists null");
  }

  static bool has_other_rules(const OrderedJson& schema, const char* besides) {
    for (const auto& [name, unused] : schema.items()) {
      if (name != besides && !is_annotation(name)) return true;
    }
    return false;
  }

  OrderedJson merged(const OrderedJson& a, const OrderedJson& b) const {
    try {
      return merged_schemas(a, b, [this](const OrderedJson& target) -> const OrderedJson& { return target_of(target); });
    } catch (const Error& error) {
      if (error.message().starts_with(where_)) throw;
      raise(invalid_input, "{}: {}", where_, error.message());
    }
  }
  OrderedJson all_of(const OrderedJson& schema) const {
    const OrderedJson& list = schema.at("allOf");
    if (!list.is_array() || list.empty()) refuse("allOf", "want an array of schemas");
    OrderedJson all = schema;
    all.erase("allOf");
    for (const OrderedJson& each : list) all = merged(all, each);
    return all;
  }

  const OrderedJson& target_of(const OrderedJson& target) const {
    const OrderedJson* found = target.is_string() ? schema_at(root_, target.get_ref<const std::string&>()) : nullptr;
    if (found == nullptr)
      refuse("$ref", fmt::format("want # or a place in this schema, as #/$defs/NAME; found {}", escaped(target.dump(), 80)));
    return *found;
  }

  Node reference(Node from, const OrderedJson& target) {
    const OrderedJson& found = target_of(target);
    const std::string& text = target.get_ref<const std::string&>();
    const auto known = references_.find(text);
    if (known != references_.end()) return call(from, known->second);
    if (references_.size() > kMaxProperties) refuse("$ref", "want fewer of them");
    const uint32_t rule = grammar_.add_rule();
    references_.emplace(text, rule);  // before its body, which may refer to itself
    grammar_.add_free(value(grammar_.rule_start(rule), found, 1), grammar_.rule_end(rule));
    return call(from, rule);
  }

  static bool has_type(const OrderedJson& value, const std::string& type) {
    if (type == "number") return value.is_number();
    if (type == "integer") return value.is_number_integer();
    return type == (value.is_string()    ? "string"
                    : value.is_object()  ? "object"
                    : value.is_array()   ? "array"
                    : value.is_null()    ? "null"
                    : value.is_boolean() ? "boolean"
                                         : "");
  }
  Node enumeration(Node from, const OrderedJson& schema) {
    const OrderedJson& values = schema.at("enum");
    if (!values.is_array() || values.empty() || values.size() > kMaxEnumValues) {
      refuse("enum", fmt::format("want an array of 1 to {} values", kMaxEnumValues));
    }
    const OrderedJson types = schema.contains("type") ? schema.at("type") : OrderedJson();
    std::vector<std::string> texts;
    for (const OrderedJson& each : values) {
      const bool fits =
          types.is_null() || std::ranges::any_of(types.is_array() ? types : OrderedJson::array({types}), [&](const OrderedJson& type) {
            return type.is_string() && has_type(each, type.get_ref<const std::string&>());
          });
      if (fits) texts.push_back(each.dump());
    }
    if (texts.empty()) refuse("enum", "want a value of the type beside it");
    const Node to = grammar_.add_node();
    grammar_.add_texts(from, texts, to);
    return to;
  }

  // Keywords beside the alternatives hold for each of them.
  Node alternatives(Node from, const OrderedJson& schema, const char* name, int depth) {
    const OrderedJson& list = schema.at(name);
    if (!list.is_array() || list.empty()) refuse(name, "want an array of schemas");
    OrderedJson base = schema;
    base.erase(name);
    const bool has_base = has_other_rules(schema, name);
    std::vector<OrderedJson> schemas;
    for (const OrderedJson& each : list) schemas.push_back(has_base ? merged(base, each) : each);
    if (std::string_view(name) == "oneOf") check_one_of(schemas);
    const Node to = grammar_.add_node();
    for (const OrderedJson& each : schemas) grammar_.add_free(value(separate(from), each, depth + 1), to);
    return to;
  }
  // What is written for one alternative of a oneOf must fit no other.
  void check_one_of(const std::vector<OrderedJson>& schemas) const {
    if (schemas.size() > kMaxOneOf) refuse("oneOf", fmt::format("want at most {} alternatives", kMaxOneOf));
    const auto both = first_overlap(schemas, [this](const OrderedJson& target) -> const OrderedJson& { return target_of(target); });
    if (!both) return;
    refuse("oneOf", fmt::format("a value may fit alternatives {} and {} at once; say anyOf, or tell them apart by a type or a constant",
                                both->first, both->second));
  }
  // A node of its own behind `from`, so that loops of one alternative stay in it.
  Node separate(Node from) {
    const Node to = grammar_.add_node();
    grammar_.add_free(from, to);
    return to;
  }

  Node of_type(Node from, const OrderedJson& schema, int depth) {
    if (!schema.contains("type")) {
      const auto has_any = [&](std::initializer_list<const char*> names) {
        return std::ranges::any_of(names, [&](const char* name) { return schema.contains(name); });
      };
      if (has_any({"properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"}))
        return object(from, schema, depth);
      if (has_any({"items", "prefixItems", "minItems", "maxItems"})) return array(from, schema, depth);
      if (has_any({"minLength", "maxLength", "pattern", "format"})) return string(from, schema);
      for (const char* name : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}) {
        if (schema.contains(name)) refuse(name, "want a type beside it");
      }
      return any_value(from);
    }
    const OrderedJson& type = schema.at("type");
    if (type.is_string()) return of_named_type(from, schema, type.get<std::string>(), depth);
    if (!type.is_array() || type.empty()) refuse("type", "want a name or an array of names");
    const Node to = grammar_.add_node();
    for (const OrderedJson& each : type) {
      if (!each.is_string()) refuse("type", "want an array of names");
      grammar_.add_free(of_named_type(separate(from), schema, each.get<std::string>(), depth), to);
    }
    return to;
  }

  Node of_named_type(Node from, const OrderedJson& schema, const std::string& type, int depth) {
    if (type == "object") return object(from, schema, depth);
    if (type == "array") return array(from, schema, depth);
    if (type == "string") return string(from, schema);
    if (type == "integer" || type == "number") return number(from, schema, type == "number");
    if (type == "boolean") {
      const Node to = grammar_.add_text(from, "true");
      grammar_.add_free(grammar_.add_text(from, "false"), to);
      return to;
    }
    if (type == "null") return grammar_.add_text(from, "null");
    refuse("type", fmt::format("want object, array, string, number, integer, boolean or null, found '{}'", escaped(type, 60)));
  }

  size_t count_of(const OrderedJson& schema, const char* name, size_t otherwise) const {
    if (!schema.contains(name)) return otherwise;
    const OrderedJson& value = schema.at(name);
    if (!value.is_number_unsigned() || value.get<uint64_t>() > kMaxRepeats)
      refuse(name, fmt::format("want an integer from 0 to {}", kMaxRepeats));
    return value.get<size_t>();
  }

  Node string(Node from, const OrderedJson& schema) {
    const size_t least = count_of(schema, "minLength", 0);
    const std::optional<size_t> most = schema.contains("maxLength") ? std::optional(count_of(schema, "maxLength", 0)) : std::nullopt;
    for (const char* name : {"pattern", "format"}) {
      if (schema.contains(name) && !schema.at(name).is_string()) refuse(name, "want a string");
    }
    if (schema.contains("pattern") && schema.contains("format")) refuse("format", "want it or pattern, found both");
    try {
      if (schema.contains("pattern")) return strings_.of_pattern(from, schema.at("pattern"), least, most);
      if (schema.contains("format")) return strings_.of_format(from, schema.at("format"), least, most);
      return strings_.of_length(from, least, most);
    } catch (const Error& error) {
      raise(invalid_input, "{}: {}", where_, error.message());
    }
  }

  Node number(Node from, const OrderedJson& schema, bool has_fraction) {
    const Node to = grammar_.add_node();
    try {
      add_number(grammar_, separate(from), schema_number_range(schema, has_fraction), to);
    } catch (const Error& error) {
      raise(invalid_input, "{}: {}", where_, error.message());
    }
    return to;
  }

  Node array(Node from, const OrderedJson& schema, int depth) {
    const OrderedJson anything = true;
    const OrderedJson* items = schema.contains("items") ? &schema.at("items") : &anything;
    const OrderedJson none = OrderedJson::array();
    const OrderedJson& prefix = schema.contains("prefixItems") ? schema.at("prefixItems") : none;
    if (!prefix.is_array()) refuse("prefixItems", "want an array of schemas");
    const bool is_closed = items->is_boolean() && !items->get<bool>();
    const size_t least = count_of(schema, "minItems", 0);
    size_t most = count_of(schema, "maxItems", kMaxRepeats + 1);
    if (is_closed) most = std::min(most, prefix.size());
    if (least > most) refuse("minItems", "want at most maxItems");

    const uint32_t item_rule = is_closed ? 0 : grammar_.add_rule();
    if (!is_closed) grammar_.add_free(value(grammar_.rule_start(item_rule), *items, depth + 1), grammar_.rule_end(item_rule));
    const auto item = [&](Node at, size_t i) { return i < prefix.size() ? value(at, prefix[i], depth + 1) : call(at, item_rule); };
    const Node end = grammar_.add_node();
    Node at = space(byte(from, '['));
    const size_t fixed = most > kMaxRepeats ? std::max({least, prefix.size(), size_t{1}}) : most;
    for (size_t i = 0; i < fixed; ++i) {
      if (i >= least) grammar_.add_free(at, end);
      at = space(item(i == 0 ? at : space(byte(at, ',')), i));
    }
    grammar_.add_free(at, end);
    if (most > kMaxRepeats) {  // any number of further ones
      const Node loop = separate(at);
      grammar_.add_free(space(call(space(byte(loop, ',')), item_rule)), loop);
      grammar_.add_free(loop, end);
    }
    return byte(end, ']');
  }

  std::set<std::string> required_of(const OrderedJson& schema) const {
    std::set<std::string> names;
    if (!schema.contains("required")) return names;
    if (!schema.at("required").is_array()) refuse("required", "want an array of names");
    for (const OrderedJson& name : schema.at("required")) {
      if (!name.is_string()) refuse("required", "want an array of names");
      names.insert(name.get<std::string>());
    }
    return names;
  }

  Node object(Node from, const OrderedJson& schema, int depth) {
    const OrderedJson none = OrderedJson::object();
    const OrderedJson& properties = schema.contains("properties") ? schema.at("properties") : none;
    if (!properties.is_object() || properties.size() > kMaxProperties)
      refuse("properties", fmt::format("want an object of at most {}", kMaxProperties));
    const std::set<std::string> required = required_of(schema);
    const size_t least = count_of(schema, "minProperties", 0), most = count_of(schema, "maxProperties", kMaxRepeats + 1);
    if (least > most) refuse("minProperties", "want at most maxProperties");
    const bool is_counted = least > required.size() || most <= kMaxRepeats;
    if (is_counted && std::max(least, most <= kMaxRepeats ? most : 0) > kMaxCounted) {
      refuse(least > kMaxCounted ? "minProperties" : "maxProperties", fmt::format("want at most {}", kMaxCounted));
    }
    const OrderedJson anything = true;
    const OrderedJson* others = nullptr;  // absent additionalProperties: what is listed only, unless nothing is
    if (schema.contains("additionalProperties")) {
      if (schema.at("additionalProperties") != false) others = &schema.at("additionalProperties");
    } else if (properties.empty() || schema.contains("propertyNames")) {
      others = &anything;
    }
    if (others == &anything && required.empty() && !is_counted && !schema.contains("propertyNames")) return any_object(from);

    std::vector<Member> members;
    std::vector<std::string> names;
    for (const auto& [name, each] : properties.items()) {
      members.push_back({member_rule(name, each, depth), required.contains(name)});
      names.push_back(name);
    }
    for (const std::string& name : required) {
      if (properties.contains(name)) continue;
      if (others == nullptr) refuse("required", fmt::format("'{}' is none of the properties", escaped(name, 60)));
      members.push_back({member_rule(name, *others, depth), true});
      names.push_back(name);
    }
    const uint32_t other = others == nullptr ? kNoRule : other_rule(schema, names, *others, depth);
    return write_members(from, members, other, least, most);
  }

  struct Member {
    uint32_t rule;
    bool is_required;
  };
  uint32_t member_rule(const std::string& name, const OrderedJson& schema, int depth) {
    const uint32_t rule = grammar_.add_rule();
    const Node colon = grammar_.add_text(grammar_.rule_start(rule), OrderedJson(name).dump() + ":");
    grammar_.add_free(value(space(colon), schema, depth + 1), grammar_.rule_end(rule));
    return rule;
  }
  // A member of another name than `names`.
  uint32_t other_rule(const OrderedJson& schema, const std::vector<std::string>& names, const OrderedJson& value_schema, int depth) {
    const uint32_t rule = grammar_.add_rule();
    const Node key = other_name(grammar_.rule_start(rule), schema, names, depth);
    grammar_.add_free(value(space(byte(space(key), ':')), value_schema, depth + 1), grammar_.rule_end(rule));
    return rule;
  }
  Node other_name(Node from, const OrderedJson& schema, const std::vector<std::string>& names, int depth) {
    if (!schema.contains("propertyNames")) return names.empty() ? strings_.any(from) : strings_.none_of(from, names);
    if (!names.empty()) refuse("propertyNames", "want it without properties and required");
    OrderedJson name = schema.at("propertyNames");
    if (name.is_object() && !name.contains("type")) name["type"] = "string";
    if (!name.is_object() || name.at("type") != "string") refuse("propertyNames", "want a schema of strings");
    return value(from, name, depth + 1);
  }

  // Members in their order, then others: places by how many members came before, as far as that matters.
  Node write_members(Node from, const std::vector<Member>& members, uint32_t other, size_t least, size_t most) {
    const size_t cap = most <= kMaxRepeats ? std::max<size_t>(most, 1) : std::max<size_t>(least, 1);
    std::vector<std::optional<Node>> at(cap + 1);
    at[0] = space(byte(from, '{'));
    const auto take = [&](size_t count, uint32_t rule) {
      return space(call(separate(count == 0 ? *at[count] : space(byte(*at[count], ','))), rule));
    };
    const auto join = [&](std::optional<Node>& into, Node node) {
      if (!into) into = grammar_.add_node();
      grammar_.add_free(node, *into);
    };
    for (const Member& member : members) {
      std::vector<std::optional<Node>> next(cap + 1);
      for (size_t count = 0; count <= cap; ++count) {
        if (!at[count]) continue;
        if (!member.is_required) join(next[count], *at[count]);
        if (count < most) join(next[std::min(count + 1, cap)], take(count, member.rule));
      }
      at = std::move(next);
    }
    for (size_t count = 0; other != kNoRule && count <= cap; ++count) {
      if (!at[count] || count >= most) continue;
      if (count == cap) *at[count] = separate(*at[count]);  // a loop of its own
      if (count < cap && !at[count + 1]) at[count + 1] = grammar_.add_node();
      grammar_.add_free(take(count, other), *at[std::min(count + 1, cap)]);
    }
    const Node end = grammar_.add_node();
    for (size_t count = std::min(least, cap); count <= cap; ++count) {
      if (at[count]) grammar_.add_free(*at[count], end);
    }
    return byte(end, '}');
  }

  Node members(Node from, uint32_t member) {
    const Node end = grammar_.add_node();
    const Node start = space(byte(from, '{'));
    grammar_.add_free(start, end);
    const Node loop = separate(space(call(start, member)));
    grammar_.add_free(space(call(space(byte(loop, ',')), member)), loop);
    grammar_.add_free(loop, end);
    return byte(end, '}');
  }

  uint32_t any_object_rule() {
    if (any_object_rule_) return *any_object_rule_;
    any_object_rule_ = grammar_.add_rule();
    const uint32_t member = grammar_.add_rule();
    const Node key = strings_.any(grammar_.rule_start(member));
    grammar_.add_free(any_value(space(byte(space(key), ':'))), grammar_.rule_end(member));
    grammar_.add_free(members(grammar_.rule_start(*any_object_rule_), member), grammar_.rule_end(*any_object_rule_));
    return *any_object_rule_;
  }
  uint32_t any_value_rule() {
    if (any_value_rule_) return *any_value_rule_;
    any_value_rule_ = grammar_.add_rule();
    const Node start = grammar_.rule_start(*any_value_rule_), end = grammar_.rule_end(*any_value_rule_);
    const OrderedJson plain = OrderedJson::object();
    grammar_.add_call(start, any_object_rule(), end);
    grammar_.add_free(array(separate(start), plain, 1), end);
    grammar_.add_free(strings_.any(separate(start)), end);
    grammar_.add_free(number(separate(start), plain, true), end);
    for (const char* word : {"true", "false", "null"}) grammar_.add_free(grammar_.add_text(start, word), end);
    return *any_value_rule_;
  }

  Grammar& grammar_;
  SchemaStrings strings_;
  const OrderedJson& root_;
  std::string where_;
  std::map<std::string, uint32_t> references_;
  std::optional<uint32_t> space_rule_, any_object_rule_, any_value_rule_;
};

}  // namespace

Grammar wrapped_schemas_grammar(const std::vector<WrappedSchema>& alternatives, std::string_view separator, const std::string& where) {
  Grammar grammar;
  const uint32_t root = grammar.add_rule(), one = grammar.add_rule();
  for (const WrappedSchema& each : alternatives) {
    SchemaCompiler compiler(grammar, each.schema, where);
    const Node behind = compiler.value(grammar.add_text(grammar.rule_start(one), each.prefix), each.schema, 0);
    grammar.add_free(grammar.add_text(behind, each.suffix), grammar.rule_end(one));
  }
  const Node behind = grammar.add_node();
  grammar.add_call(grammar.rule_start(root), one, behind);
  grammar.add_free(behind, grammar.rule_end(root));
  if (!separator.empty()) grammar.add_call(grammar.add_text(behind, separator), one, behind);
  return grammar;
}

Grammar::Node add_schema_value(Grammar& grammar, Grammar::Node from, const OrderedJson& schema, const OrderedJson& root,
                               const std::string& where) {
  return SchemaCompiler(grammar, root, where).value(from, schema, 0);
}

Grammar json_schema_grammar(const OrderedJson& schema, const std::string& where) {
  Grammar grammar;
  const uint32_t root = grammar.add_rule();
  SchemaCompiler compiler(grammar, schema, where);
  grammar.add_free(compiler.value(compiler.space(grammar.rule_start(root)), schema, 0), grammar.rule_end(root));
  return grammar;
}

Grammar json_object_grammar() { return json_schema_grammar({{"type", "object"}}, "json_object"); }

}  // namespace quern
