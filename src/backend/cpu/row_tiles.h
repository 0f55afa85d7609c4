// How kernels cut rows into tiles. Included by kernel files only; everything has internal linkage.
#pragma once
#include <cstddef>

namespace quern::cpu {
namespace {

// Tiles of nearly equal size, at most `most` rows each.
struct Tiles {
  size_t count, small, num_large;  // the first num_large tiles have small + 1 rows
  Tiles(size_t rows, size_t most) : count((rows + most - 1) / most), small(rows / count), num_large(rows % count) {}
  size_t first(size_t tile) const { return tile * small + (tile < num_large ? tile : num_large); }
  size_t rows(size_t tile) const { return small + (tile < num_large ? 1 : 0); }
  size_t of(size_t row) const {
    const size_t large = num_large * (small + 1);
    return row < large ? row / (small + 1) : num_large + (row - large) / small;
  }
};

// Calls Kernel::run<rows>(args...) for rows in 1..kMost.
template <class Kernel, int kMost, class... Args>
inline void with_rows(size_t rows, const Args&... args) {
  if constexpr (kMost > 1) {
    if (rows < kMost) return with_rows<Kernel, kMost - 1>(rows, args...);
  }
  Kernel::template run<kMost>(args...);
}

}  // namespace
}  // namespace quern::cpu
