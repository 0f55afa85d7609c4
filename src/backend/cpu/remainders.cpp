#include "backend/cpu/remainders.h"

#include <vector>

#include "backend/cpu/row_tiles.h"

namespace quern::cpu {

void gather_remainders(const PreparedRows& rows, size_t begin, size_t end) {
  const Tiles tiles(rows.rows, rows.integer_tile);
  std::vector<const RoundedGroup*> next(tiles.count);  // of each tile
  for (size_t t = 0; t < tiles.count; ++t) {
    next[t] = rows.remainders + tiles.first(t) * remainders_a_row(rows);
    while (next[t]->group < begin) ++next[t];
  }
  for (size_t group = begin; group < end; ++group) {
    RoundedGroup* const first = rows.gathered + group * rows.rows;
    RoundedGroup* to = first;
    for (size_t t = 0; t < tiles.count; ++t) {
      for (; next[t]->group == group; ++next[t], ++to) {
        *to = *next[t];
        to->row = static_cast<uint16_t>(tiles.first(t) + next[t]->row);
      }
    }
    rows.gathered_counts[group] = static_cast<uint32_t>(to - first);
  }
}

}  // namespace quern::cpu
