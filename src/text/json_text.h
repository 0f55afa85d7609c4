// JSON as Python's json.dumps(value, ensure_ascii=False) writes it: ", " and ": ", keys in their order, floats as repr(). Pure functions.
#pragma once
#include <string>

#include "base/json.h"

namespace quern {

std::string python_json(const OrderedJson& value);

// A finite double as Python's repr() writes it: 1.0, 1e-05, 1e+16.
std::string python_float(double value);

}  // namespace quern
