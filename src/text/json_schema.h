// A JSON schema as a Grammar: the answers that fit it, keys in the schema's order, white space bounded. Stateless.
#pragma once
#include "base/json.h"
#include "text/grammar.h"

namespace quern {

// Throws invalid_input "<where>: <keyword>: ..." for a keyword that is not supported, which is never ignored, and for a schema that is too
// large. Absent additionalProperties count as false.
Grammar json_schema_grammar(const OrderedJson& schema, const std::string& where);
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

// Exactly one of `choices`.
Grammar choice_grammar(const std::vector<std::string>& choices);

}  // namespace quern
