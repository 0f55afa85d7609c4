// JSON schemas that hold at once, as one: allOf, and keywords beside anyOf or $ref; and what a $ref names. Stateless.
#pragma once
#include <functional>
#include <string>

#include "base/json.h"

namespace quern {

// What fits both. `resolve` gives the schema of a $ref. Throws invalid_input "<keyword>: ..." for keywords that do not go together.
OrderedJson merged_schemas(const OrderedJson& a, const OrderedJson& b, const std::function<const OrderedJson&(const OrderedJson&)>& resolve,
                           int depth = 0);

// The place in `root` that a reference names, "#" or a JSON pointer behind it; null when there is none.
const OrderedJson* schema_at(const OrderedJson& root, const std::string& reference);

// Keywords that json_schema_grammar() keeps.
bool is_rule(const std::string& keyword);
// Keywords that say nothing about what fits.
bool is_annotation(const std::string& keyword);

}  // namespace quern
