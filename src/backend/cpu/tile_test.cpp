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

  // As TDPBF16PS has it: the products of a tile's columns are summed in two chains, of even and of odd columns, from zero.
  static void configure_pairs() {}
  template <int kP, int kT>
  static void multiply_pairs(const uint32_t* x, size_t step, const std::byte* const (&weights)[kP], size_t count, float* const (&y)[kP]) {
    const auto value = [](const void* p, size_t index) {
      uint16_t bits;
      std::memcpy(&bits, static_cast<const std::byte*>(p) + 2 * index, 2);
      return bf16_to_f32(bits);
    };
    for (size_t tile = 0; tile < count; ++tile, x += kTileWords) {
      for (size_t i = 0; i < kP * kT * kTileWords; ++i) {
        const size_t p = i / kTileWords % kP, t = i / kTileWords / kP, m = i % kTileWords / kLanes, n = i % kLanes;
        float sums[2] = {0, 0};
        for (size_t k = 0; k < 2 * kTilePairs; ++k) {
          const float w = value(weights[p] + tile * kTileWords * 4, (k / 2 * kLanes + n) * 2 + k % 2);
          sums[k % 2] = std::fma(value(x + t * step, m * 2 * kTilePairs + k), w, sums[k % 2]);
        }
        y[p][(t * kMostTile + m) * kLanes + n] += sums[0] + sums[1];
      }
    }
  }
};

constexpr PanelKernels kPairModel = make_pair_tile_kernels<ModelUnit>("model of tiles of bf16");
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

// The sums of x [rows, columns] by the first panel, then by the second.
std::vector<float> pair_products(const PanelKernels& kernels, const float* x, size_t rows, size_t columns, const std::byte* first,
                                 const std::byte* second) {
  PreparedRows p;
  p.rows = rows;
  p.columns = columns;
  const size_t whole_rows = (rows + kMostTile - 1) / kMostTile * kMostTile;
  std::vector<uint32_t> pairs(whole_rows * num_tiles(p) * kTilePairs, 0x7fc07fc0);  // NaNs behind the last row
  p.tile_pairs = pairs.data();
  std::vector<float> scratch((columns + kGroup - 1) / kGroup * kGroup * kMostTile);
  kernels.prepare({.x = x, .scratch = scratch.data(), .rows = &p, .begin = 0, .end = rows});
  const Storage stage = host_bytes(kStageBytes), y = host_bytes(2 * whole_rows * kLanes * sizeof(float));
  auto* sums = reinterpret_cast<float*>(y.data());
  kernels.multiply_two[static_cast<size_t>(Format::bf16)](
      {.panel = first, .second = second, .rows = &p, .stage = stage.data(), .y = sums, .second_y = sums + whole_rows * kLanes});
  std::vector<float> out(sums, sums + rows * kLanes);
  out.insert(out.end(), sums + whole_rows * kLanes, sums + (whole_rows + rows) * kLanes);
  kernels.multiply[static_cast<size_t>(Format::bf16)]({.panel = second, .rows = &p, .stage = stage.data(), .y = sums});
  EXPECT_TRUE(same_bits(sums, out.data() + rows * kLanes, rows * kLanes)) << rows << 'x' << columns;
  return out;
}

TEST(Tiles, PairsAreRightAndTheProcessorsUnitHasTheModelsBits) {
  Random random(77);
  for (const size_t columns : {1, 31, 32, 48, 172, 600, 1031}) {
    const Owned w = random.weights(32, columns, Format::bf16);
    const size_t bytes = panel_bytes(Format::bf16, columns);
    const Storage panels = host_bytes(2 * bytes);
    pack_panels(w.tensor, 0, 2, bytes, panels.data());
    const std::vector<float> weights = unpacked(w.tensor);
    for (const size_t rows : {1, 15, 16, 17, 33, 50}) {
      const Owned x = random.floats({rows, columns});
      const std::vector<float> seen = pair_products(kPairModel, x.f32(), rows, columns, panels.data(), panels.data() + bytes);
      for (size_t m = 0; m < rows; ++m) {
        const auto exact = exact_products(as_multiplied(x.f32(m), columns, Format::bf16, "tiles of bf16"), weights);
        for (size_t n = 0; n < 32; ++n) {
          const float y = seen[(n / kLanes * rows + m) * kLanes + n % kLanes];
          ASSERT_NEAR(y, exact[n].value, exact[n].tolerance) << rows << 'x' << columns;
        }
        const std::vector<float> alone = pair_products(kPairModel, x.f32(m), 1, columns, panels.data(), panels.data() + bytes);
        ASSERT_TRUE(same_bits(alone.data(), seen.data() + m * kLanes, kLanes)) << rows << 'x' << columns;
      }
#if defined(__x86_64__)
      if (!TestDevice(1).info().amx) continue;
      const std::vector<float> unit = pair_products(kPanelsAmxBf16, x.f32(), rows, columns, panels.data(), panels.data() + bytes);
      ASSERT_TRUE(same_bits(unit.data(), seen.data(), seen.size())) << rows << 'x' << columns;
#endif
    }
  }
}

}  // namespace
}  // namespace quern::cpu
