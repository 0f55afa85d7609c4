// A JSON schema as a Grammar: the answers that fit it, keys in the schema's order, white space bounded. Stateless.
#pragma once
#include "base/json.h"
#include "text/grammar.h"

namespace quern {

// Throws invalid_input "<where>: <keyword>: ..." for a keyword that is not supported, which is never ignored, and for a schema that is too
// large. Absent additionalProperties beside properties count as false.
Grammar json_schema_grammar(const OrderedJson& schema, const std::string& where);
// A value of `schema`, a part of `root` that its references point into, from `from` to the node that is returned.
Grammar::Node add_schema_value(Grammar& grammar, Grammar::Node from, const OrderedJson& schema, const OrderedJson& root,
                               const std::string& where);
// Any JSON object.
Grammar json_object_grammar();

// A value of a schema between two fixed texts.
struct WrappedSchema {
  std::string prefix;
  OrderedJson schema;
  std::string suffix;
};
// One of `alternatives`; several, with `separator` between them, unless that is empty.
Grammar wrapped_schemas_grammar(const std::vector<WrappedSchema>& alternatives, std::string_view separator, const std::string& where);

// Calls of `functions` ({name, parameters}) in Qwen3-Coder's dialect: <tool_call>, <function=NAME>, <parameter=KEY> with a value, and so
// on. Strings are plain text without a closing tag; their lengths, patterns and formats are refused.
Grammar xml_calls_grammar(const std::vector<OrderedJson>& functions, std::string_view separator, const std::string& where);

}  // namespace quern
