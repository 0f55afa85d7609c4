// The kernels by tiles with a model of the tile unit, on every machine: the bits of the plain rows. With the processor's own unit they are
// rows like others (linear_test.cpp and the rest), where there is one.
#include "backend/cpu/lanes_plain.h"
// After its lanes.
#include "backend/cpu/op_fixture.h"
#include "backend/cpu/panels.h"
#include "backend/cpu/remainders.h"
#include "backend/cpu/tile_kernels.h"

namespace quern::cpu {
namespace {

// sums[m][n] = sum over k of x[m][k] * weights[k / 4][n][k % 4], signed bytes, as TDPBSSD has it.
struct ModelUnit {
  static inline size_t width = 0;
  static void configure(size_t columns) { width = columns; }
  static void release() { width = 0; }
  template <int kSet>
  static void multiply(const int8_t* x, const std::byte* weights, int32_t* sums) {
    for (size_t m = 0; m < 16; ++m) {
      for (size_t n = 0; n < 16; ++n) {
        int32_t sum = 0;
        for (size_t k = 0; k < width; ++k)
          sum += x[m * sizeof(RoundedGroup) + k] * static_cast<int8_t>(weights[k / 4 * 64 + n * 4 + k % 4]);
        sums[m * 16 + n] = sum;
      }
    }
  }
};

constexpr PanelKernels kModel = make_tile_kernels<ModelUnit>("model of tiles");

// x [rows, columns] times the panel.
std::vector<float> product(const PanelKernels& kernels, const Owned& x, const std::byte* panel, Format format) {
  const size_t rows = x.tensor.rows(), columns = x.tensor.columns();
  PreparedRows p;
  p.rows = rows;
  p.columns = columns;
  p.padded_columns = (columns + kGroup - 1) / kGroup * kGroup;
  p.float_tile = kernels.float_tile;
  p.integer_tile = kernels.integer_tile;
  // What lies behind the end may be read and changes nothing.
  RoundedGroup poison;
  std::memset(&poison, 0x7f, sizeof(poison));
  std::vector<RoundedGroup> groups(rows * num_groups(p) + kMostTile, poison), gathered(groups);
  std::vector<float> y(rows * kLanes), rest(2 * y.size()), scratch(kMostTile * p.padded_columns);
  std::vector<RoundedGroup> remainders(rows * remainders_a_row(p));
  std::vector<uint32_t> counts(num_groups(p));
  p.groups = groups.data();
  p.remainders = remainders.data();
  p.gathered = gathered.data();
  p.gathered_counts = counts.data();
  kernels.prepare({.x = x.f32(), .scratch = scratch.data(), .rows = &p, .begin = 0, .end = rows});
  gather_remainders(p, 0, num_groups(p));
  const Storage stage = host_bytes(kStageBytes);
  kernels.multiply[static_cast<size_t>(format)]({.panel = panel, .rows = &p, .stage = stage.data(), .y = y.data(), .rest = rest.data()});
  return y;
}

TEST(Tiles, HaveTheBitsOfThePlainRows) {
  for (const FormatInfo& format : kFormats) {
    if (is_float(format.format) || panel_bytes(format.format, 256) == 0) continue;
    const size_t block = format.block_values;
    const std::vector<size_t> widths =
        block == 1 ? std::vector<size_t>{1, 31, 172, 1031} : std::vector<size_t>{block, (1024 / block + 3) * block};
    Random random(static_cast<uint64_t>(format.format) + 900);
    for (const size_t columns : widths) {
      const Owned w = random.weights(16, columns, format.format);
      const Storage panel = host_bytes(panel_bytes(format.format, columns));
      pack_panels(w.tensor, 0, 1, panel_bytes(format.format, columns), panel.data());
      for (const size_t rows : {1, 8, 15, 16, 17, 33}) {
        const Owned x = random.floats({rows, columns});
        for (size_t m = 0; m < rows; m += 3) x.f32(m)[m % columns] *= 100;  // groups with a remainder and groups without
        const std::vector<float> want = product(kPanelsPlain, x, panel.data(), format.format);
        const std::vector<float> seen = product(kModel, x, panel.data(), format.format);
        ASSERT_TRUE(same_bits(seen.data(), want.data(), want.size())) << format.name << ' ' << rows << 'x' << columns;
      }
    }
  }
}

}  // namespace
}  // namespace quern::cpu
