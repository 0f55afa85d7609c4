#include "backend/cpu/remainders.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "backend/cpu/row_tiles.h"

namespace quern::cpu {
namespace {

// A remainder's place in the row block.
struct Found {
  const Remainder* remainder;
  uint16_t row;
};

// Entries `found` of one group to the group's tiles.
void put_group(const PreparedRows& rows, size_t group, const std::vector<Found>& found) {
  const GatheredRemainders& to = rows.gathered;
  to.counts[group] = static_cast<uint32_t>(found.size());
  if (found.empty()) return;
  const Tiles tiles(found.size(), rows.integer_tile);
  size_t next = 0;
  for (size_t t = 0; t < tiles.count; ++t) {
    const size_t entry = group * rows.rows + tiles.first(t), count = tiles.rows(t);
    int8_t* const codes = to.codes + entry * kGroup;
    float* const words = to.words + entry * kGroupWords;
    for (size_t m = 0; m < count; ++m, ++next) {
      const Remainder& r = *found[next].remainder;
      to.row[entry + m] = found[next].row;
      for (size_t w = 0; w < kGroupWords; ++w) std::memcpy(&words[w * count + m], &r.words[w], sizeof(float));
      if (rows.codes_by_row) {
        std::memcpy(codes + m * kGroup, r.codes, kGroup);
      } else {
        for (size_t q = 0; q < kGroup; q += 4) std::memcpy(codes + q * count + m * 4, r.codes + q, 4);
      }
    }
  }
}

}  // namespace

void gather_remainders(const PreparedRows& rows, size_t begin, size_t end) {
  const Tiles tiles(rows.rows, rows.integer_tile);
  std::vector<const Remainder*> next(tiles.count);  // of each tile
  for (size_t t = 0; t < tiles.count; ++t) {
    next[t] = rows.remainders + tiles.first(t) * remainders_a_row(rows);
    while (next[t]->group < begin) ++next[t];
  }
  std::vector<Found> found;
  found.reserve(rows.rows);
  for (size_t group = begin; group < end; ++group) {
    found.clear();
    for (size_t t = 0; t < tiles.count; ++t) {
      for (; next[t]->group == group; ++next[t]) found.push_back({next[t], static_cast<uint16_t>(tiles.first(t) + next[t]->row)});
    }
    put_group(rows, group, found);
  }
}

}  // namespace quern::cpu
