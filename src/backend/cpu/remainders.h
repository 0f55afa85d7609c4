// Remainders are found tile by tile of rows; products of many rows want them group by group.
#pragma once
#include "backend/cpu/panel_product.h"

namespace quern::cpu {

// Those of groups [begin, end) from the tiles of `rows` to rows.gathered, in order of rows. Groups may be gathered at the same time.
void gather_remainders(const PreparedRows& rows, size_t begin, size_t end);

}  // namespace quern::cpu
