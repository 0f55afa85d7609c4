// The XML form of calls as a grammar: parameters in the schema's order, those that are not required may be left out.
#include <algorithm>

#include "text/json_schema.h"

namespace quern {
namespace {

using Node = Grammar::Node;

constexpr std::string_view kTags[] = {"</parameter>", "<parameter=", "</function>"};  // that end a text

// Any text up to the line break and </parameter> that end it, without a tag that would end it before: states are what of a tag was read.
Node add_text_value(Grammar& grammar, Node from) {
  std::vector<std::string> prefixes = {""};
  for (const std::string_view tag : kTags) {
    for (size_t length = 1; length < tag.size(); ++length) {
      const std::string prefix(tag.substr(0, length));
      if (std::ranges::find(prefixes, prefix) == prefixes.end()) prefixes.push_back(prefix);
    }
  }
  std::vector<Node> nodes;
  for (size_t i = 0; i < prefixes.size(); ++i) nodes.push_back(grammar.add_node());
  const Node end = grammar.add_node();
  grammar.add_free(from, nodes[0]);
  for (size_t i = 0; i < prefixes.size(); ++i) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string read = prefixes[i] + static_cast<char>(byte);
      if (read == kTags[0]) grammar.add_bytes(nodes[i], static_cast<uint8_t>(byte), static_cast<uint8_t>(byte), end);
      if (std::ranges::find(kTags, std::string_view(read)) != std::end(kTags)) continue;
      auto known = std::ranges::find(prefixes, read);
      for (; known == prefixes.end(); known = std::ranges::find(prefixes, read)) read.erase(0, 1);
      grammar.add_bytes(nodes[i], static_cast<uint8_t>(byte), static_cast<uint8_t>(byte),
                        nodes[static_cast<size_t>(known - prefixes.begin())]);
    }
  }
  return end;
}

bool is_plain_string(const OrderedJson& schema) {
  return schema.is_object() && schema.contains("type") && schema.at("type") == "string" && !schema.contains("enum") &&
         !schema.contains("const");
}

// One call of each function, its parameters as calls of rules of their own.
void add_call(Grammar& grammar, Node from, const OrderedJson& function, const std::string& where, Node to) {
  const OrderedJson parameters = function.value("parameters", OrderedJson::object());
  const OrderedJson properties = parameters.is_object() ? parameters.value("properties", OrderedJson::object()) : OrderedJson::object();
  const OrderedJson required = parameters.is_object() ? parameters.value("required", OrderedJson::array()) : OrderedJson::array();
  if (!properties.is_object() || !required.is_array())
    raise(invalid_input, "{}: properties: want an object beside a list of required names", where);
  for (const OrderedJson& name : required) {
    if (!name.is_string() || !properties.contains(name.get_ref<const std::string&>())) {
      raise(invalid_input, "{}: required: want names of properties", where);
    }
  }
  Node at = grammar.add_text(from, "<tool_call>\n<function=" + function.at("name").get<std::string>() + ">\n");
  for (const auto& [name, schema] : properties.items()) {
    const Node skipped = grammar.add_node();
    if (std::ranges::find(required, OrderedJson(name)) == required.end()) grammar.add_free(at, skipped);
    const Node value = grammar.add_text(at, "<parameter=" + name + ">\n");
    Node behind = 0;
    if (is_plain_string(schema)) {
      for (const char* keyword : {"minLength", "maxLength", "pattern", "format"}) {
        if (schema.contains(keyword)) raise(invalid_input, "{}: {}: not supported in this model's calls of tools", where, keyword);
      }
      behind = add_text_value(grammar, value);
    } else if (schema.is_object() && schema.contains("enum") && schema.value("type", OrderedJson("string")) == "string") {
      std::vector<std::string> texts;
      for (const OrderedJson& each : schema.at("enum")) texts.push_back(each.is_string() ? each.get<std::string>() : each.dump());
      const Node node = grammar.add_node();
      grammar.add_texts(value, texts, node);
      behind = grammar.add_text(node, "\n</parameter>");
    } else {
      behind = grammar.add_text(add_schema_value(grammar, value, schema, parameters, where), "\n</parameter>");
    }
    grammar.add_free(grammar.add_text(behind, "\n"), skipped);
    at = skipped;
  }
  grammar.add_free(grammar.add_text(at, "</function>\n</tool_call>"), to);
}

}  // namespace

Grammar xml_calls_grammar(const std::vector<OrderedJson>& functions, std::string_view separator, const std::string& where) {
  Grammar grammar;
  const uint32_t root = grammar.add_rule(), one = grammar.add_rule();
  for (const OrderedJson& function : functions) add_call(grammar, grammar.rule_start(one), function, where, grammar.rule_end(one));
  const Node behind = grammar.add_node();
  grammar.add_call(grammar.rule_start(root), one, behind);
  grammar.add_free(behind, grammar.rule_end(root));
  if (!separator.empty()) grammar.add_call(grammar.add_text(behind, separator), one, behind);
  return grammar;
}

}  // namespace quern
