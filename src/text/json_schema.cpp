#include "text/json_schema.h"

#include <algorithm>
#include <map>
#include <set>

namespace quern {
namespace {

constexpr int kMaxSchemaDepth = 32;
constexpr size_t kMaxProperties = 1000, kMaxEnumValues = 5000, kMaxRepeats = 4096;
constexpr size_t kMaxDigits = 20, kMaxExponentDigits = 3, kMaxIndent = 16;

using Node = Grammar::Node;

class SchemaCompiler {
 public:
  SchemaCompiler(Grammar& grammar, const OrderedJson& root, std::string where) : grammar_(grammar), root_(root), where_(std::move(where)) {}

  // A value of `schema` between `from` and the node that is returned.
  Node value(Node from, const OrderedJson& schema, int depth) {
    if (schema.is_boolean() && schema.get<bool>()) return any_value(from);
    if (!schema.is_object()) refuse("schema", "want an object or true");
    if (depth > kMaxSchemaDepth) refuse("schema", fmt::format("nested deeper than {} levels", kMaxSchemaDepth));
    check_keywords(schema);
    if (schema.contains("$ref")) return reference(from, schema.at("$ref"));
    if (schema.contains("const")) return grammar_.add_text(from, schema.at("const").dump());
    if (schema.contains("enum")) return enumeration(from, schema.at("enum"));
    for (const char* name : {"anyOf", "oneOf", "allOf"}) {
      if (schema.contains(name)) return alternatives(from, schema.at(name), name, depth);
    }
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
    static constexpr const char* kKnown[] = {
        "type", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "enum", "const", "anyOf",
        "oneOf", "allOf", "$ref", "$defs", "definitions", "minLength", "maxLength", "minimum", "format",
        // that say nothing about what fits
        "title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated", "readOnly", "writeOnly", "nullable"};
    for (const auto& [name, unused] : schema.items()) {
      if (std::ranges::none_of(kKnown, [&, &key = name](const char* known) { return key == known; }))
        refuse(name, "this keyword is not supported");
    }
    if (schema.contains("nullable") && schema.at("nullable") != false) refuse("nullable", "want a type that lists null");
    if (!schema.contains("anyOf") && !schema.contains("oneOf") && !schema.contains("allOf")) return;
    for (const char* other :
         {"properties", "items", "prefixItems", "required", "additionalProperties", "minLength", "maxLength", "minimum"}) {
      if (schema.contains(other)) refuse(other, "want it inside anyOf, oneOf or allOf, not beside it");
    }
  }

  Node reference(Node from, const OrderedJson& target) {
    if (!target.is_string()) refuse("$ref", "want a string");
    const std::string& text = target.get_ref<const std::string&>();
    const auto known = references_.find(text);
    if (known != references_.end()) return call(from, known->second);
    const OrderedJson* found = nullptr;
    if (text == "#") found = &root_;
    for (const char* folder : {"$defs", "definitions"}) {
      const std::string prefix = std::string("#/") + folder + "/";
      if (!text.starts_with(prefix) || !root_.is_object() || !root_.contains(folder) || !root_.at(folder).is_object()) continue;
      const auto entry = root_.at(folder).find(text.substr(prefix.size()));
      if (entry != root_.at(folder).end()) found = &*entry;
    }
    if (found == nullptr) refuse("$ref", fmt::format("want # or an entry of $defs, found '{}'", escaped(text, 80)));
    const uint32_t rule = grammar_.add_rule();
    references_.emplace(text, rule);  // before its body, which may refer to itself
    grammar_.add_free(value(grammar_.rule_start(rule), *found, 1), grammar_.rule_end(rule));
    return call(from, rule);
  }

  Node enumeration(Node from, const OrderedJson& values) {
    if (!values.is_array() || values.empty() || values.size() > kMaxEnumValues) {
      refuse("enum", fmt::format("want an array of 1 to {} values", kMaxEnumValues));
    }
    const Node to = grammar_.add_node();
    for (const OrderedJson& each : values) grammar_.add_free(grammar_.add_text(from, each.dump()), to);
    return to;
  }

  Node alternatives(Node from, const OrderedJson& list, const char* name, int depth) {
    if (!list.is_array() || list.empty()) refuse(name, "want an array of schemas");
    if (std::string_view(name) == "allOf" && list.size() > 1) refuse(name, "want one schema");
    const Node to = grammar_.add_node();
    for (const OrderedJson& each : list) grammar_.add_free(value(separate(from), each, depth + 1), to);
    return to;
  }
  // A node of its own behind `from`, so that loops of one alternative stay in it.
  Node separate(Node from) {
    const Node to = grammar_.add_node();
    grammar_.add_free(from, to);
    return to;
  }

  Node of_type(Node from, const OrderedJson& schema, int depth) {
    if (!schema.contains("type")) {
      if (schema.contains("properties") || schema.contains("required") || schema.contains("additionalProperties"))
        return object(from, schema, depth);
      if (schema.contains("items") || schema.contains("prefixItems")) return array(from, schema, depth);
      if (schema.contains("minLength") || schema.contains("maxLength") || schema.contains("format")) return string(from, schema);
      if (schema.contains("minimum")) refuse("minimum", "want a type beside it");
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

  // One character of a string: plain, or an escape.
  uint32_t character_rule() {
    if (character_rule_) return *character_rule_;
    character_rule_ = grammar_.add_rule();
    const Node start = grammar_.rule_start(*character_rule_), end = grammar_.rule_end(*character_rule_);
    grammar_.add_bytes(start, 0x20, 0x21, end);
    grammar_.add_bytes(start, 0x23, 0x5b, end);
    grammar_.add_bytes(start, 0x5d, 0x7f, end);
    grammar_.add_wide_character(start, end);
    const Node escape = byte(start, '\\');
    for (const char c : std::string_view("\"\\/bfnrt")) grammar_.add_bytes(escape, static_cast<uint8_t>(c), static_cast<uint8_t>(c), end);
    // \uXXXX but for the surrogates, which would have to come in pairs
    const Node unicode = byte(escape, 'u');
    const Node last = grammar_.add_node(), third = grammar_.add_node(), second = grammar_.add_node(), second_of_d = grammar_.add_node();
    hex(unicode, "09", second), hex(unicode, "AC", second), hex(unicode, "EF", second), hex(unicode, "ac", second),
        hex(unicode, "ef", second);
    hex(unicode, "DD", second_of_d), hex(unicode, "dd", second_of_d);
    for (const char* range : {"09", "AF", "af"}) hex(second, range, third), hex(third, range, last), hex(last, range, end);
    hex(second_of_d, "07", third);
    return *character_rule_;
  }
  void hex(Node from, const char* range, Node to) {
    grammar_.add_bytes(from, static_cast<uint8_t>(range[0]), static_cast<uint8_t>(range[1]), to);
  }

  Node string(Node from, const OrderedJson& schema) {
    if (schema.contains("format")) refuse("format", "this keyword is not supported");
    const size_t least = count_of(schema, "minLength", 0), most = count_of(schema, "maxLength", kMaxRepeats + 1);
    if (least > most) refuse("minLength", "want at most maxLength");
    Node at = byte(from, '"');
    for (size_t i = 0; i < least; ++i) at = call(at, character_rule());
    if (most > kMaxRepeats) {
      at = separate(at);
      grammar_.add_call(at, character_rule(), at);
      return byte(at, '"');
    }
    const Node quote = grammar_.add_node();
    for (size_t i = least; i < most; ++i) {
      grammar_.add_free(at, quote);
      at = call(at, character_rule());
    }
    grammar_.add_free(at, quote);
    return byte(quote, '"');
  }

  // Digits from `from` on, `least` to `most` of them.
  Node digits(Node from, size_t least, size_t most) {
    const Node to = grammar_.add_node();
    for (size_t i = 0; i < most; ++i) {
      if (i >= least) grammar_.add_free(from, to);
      const Node next = grammar_.add_node();
      grammar_.add_bytes(from, '0', '9', next);
      from = next;
    }
    grammar_.add_free(from, to);
    return to;
  }

  Node number(Node from, const OrderedJson& schema, bool has_fraction) {
    bool may_be_negative = true, may_be_zero = true;
    if (schema.contains("minimum")) {
      const OrderedJson& minimum = schema.at("minimum");
      const bool is_known = minimum == 0 || (minimum == 1 && !has_fraction);
      if (!is_known) refuse("minimum", "want 0, or 1 for integers; other bounds are not supported");
      may_be_negative = false;
      may_be_zero = minimum == 0;
    }
    const Node start = separate(from), whole = grammar_.add_node(), after_sign = grammar_.add_node();
    grammar_.add_free(start, after_sign);
    if (may_be_negative) grammar_.add_bytes(start, '-', '-', after_sign);
    if (may_be_zero) grammar_.add_bytes(after_sign, '0', '0', whole);
    const Node more = grammar_.add_node();
    grammar_.add_bytes(after_sign, '1', '9', more);
    grammar_.add_free(digits(more, 0, kMaxDigits - 1), whole);
    if (!has_fraction) return whole;
    const Node end = grammar_.add_node(), before_exponent = grammar_.add_node();
    grammar_.add_free(whole, before_exponent);
    grammar_.add_free(digits(byte(whole, '.'), 1, kMaxDigits), before_exponent);
    grammar_.add_free(before_exponent, end);
    const Node exponent = grammar_.add_node(), sign = grammar_.add_node();
    grammar_.add_bytes(before_exponent, 'e', 'e', exponent), grammar_.add_bytes(before_exponent, 'E', 'E', exponent);
    grammar_.add_free(exponent, sign);
    grammar_.add_bytes(exponent, '+', '+', sign), grammar_.add_bytes(exponent, '-', '-', sign);
    grammar_.add_free(digits(sign, 1, kMaxExponentDigits - 1), end);
    return end;
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
    std::set<std::string> required = required_of(schema);
    const bool has_more = schema.contains("additionalProperties") && schema.at("additionalProperties") != false;
    if (properties.empty() && required.empty()) {
      if (!schema.contains("additionalProperties") || schema.at("additionalProperties") == true) return any_object(from);
      if (has_more) return map(from, schema.at("additionalProperties"), depth);
    }
    for (const std::string& name : required) {
      if (!properties.contains(name)) refuse("required", fmt::format("'{}' is none of the properties", escaped(name, 60)));
    }
    const Node end = grammar_.add_node();
    // Two chains: before the first member, and behind one.
    Node first = space(byte(from, '{'));
    std::optional<Node> later;
    for (const auto& [name, each] : properties.items()) {
      const Node value_start = grammar_.add_node();
      const std::string key = OrderedJson(name).dump() + ":";
      grammar_.add_free(space(grammar_.add_text(separate(first), key)), value_start);
      if (later) grammar_.add_free(space(grammar_.add_text(space(byte(*later, ',')), key)), value_start);
      const Node behind = space(value(value_start, each, depth + 1));
      if (required.contains(name)) {
        first = grammar_.add_node();  // not reached any more
        later = behind;
      } else {
        const Node skipped = grammar_.add_node();
        grammar_.add_free(first, skipped);
        first = skipped;
        if (later) grammar_.add_free(*later, behind);
        later = behind;
      }
    }
    grammar_.add_free(first, end);
    if (later) grammar_.add_free(*later, end);
    return byte(end, '}');
  }

  // Any keys, values of one schema.
  Node map(Node from, const OrderedJson& schema, int depth) {
    const uint32_t member = grammar_.add_rule();
    const Node key = string(grammar_.rule_start(member), OrderedJson::object());
    grammar_.add_free(value(space(byte(space(key), ':')), schema, depth + 1), grammar_.rule_end(member));
    return members(from, member);
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
    const Node key = string(grammar_.rule_start(member), OrderedJson::object());
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
    grammar_.add_free(string(separate(start), plain), end);
    grammar_.add_free(number(separate(start), plain, true), end);
    for (const char* word : {"true", "false", "null"}) grammar_.add_free(grammar_.add_text(start, word), end);
    return *any_value_rule_;
  }

  Grammar& grammar_;
  const OrderedJson& root_;
  std::string where_;
  std::map<std::string, uint32_t> references_;
  std::optional<uint32_t> space_rule_, character_rule_, any_object_rule_, any_value_rule_;
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

Grammar json_schema_grammar(const OrderedJson& schema, const std::string& where) {
  Grammar grammar;
  const uint32_t root = grammar.add_rule();
  SchemaCompiler compiler(grammar, schema, where);
  grammar.add_free(compiler.value(compiler.space(grammar.rule_start(root)), schema, 0), grammar.rule_end(root));
  return grammar;
}

Grammar json_object_grammar() { return json_schema_grammar({{"type", "object"}}, "json_object"); }

Grammar choice_grammar(const std::vector<std::string>& choices) {
  Grammar grammar;
  const uint32_t root = grammar.add_rule();
  for (const std::string& choice : choices) grammar.add_free(grammar.add_text(grammar.rule_start(root), choice), grammar.rule_end(root));
  return grammar;
}

}  // namespace quern
