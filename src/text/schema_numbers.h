// The numbers of a JSON schema. Stateless.
#pragma once
#include "base/json.h"
#include "text/number_range.h"

namespace quern {

// minimum, maximum and their kin, multipleOf, and OpenAPI's formats. Throws invalid_input "<keyword>: ..." for what is not supported.
NumberRange schema_number_range(const OrderedJson& schema, bool has_fraction);

}  // namespace quern
