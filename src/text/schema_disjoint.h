// Whether the alternatives of a oneOf exclude each other: then writing any of them is exact. Stateless.
#pragma once
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "base/json.h"

namespace quern {

// The first two of `schemas` of which a value written for one might fit the other; nothing when that can be excluded for all, by types, by
// constants, by bounds of numbers, or by a member: one that both have with schemas that exclude each other, or one that the other
// requires and what is written cannot have. Written is what json_schema_grammar() writes (properties without a type are an object, and
// one without further members); fitting is as JSON Schema defines it. `resolve` gives the schema of a $ref.
std::optional<std::pair<size_t, size_t>> first_overlap(const std::vector<OrderedJson>& schemas,
                                                       const std::function<const OrderedJson&(const OrderedJson&)>& resolve);

}  // namespace quern
