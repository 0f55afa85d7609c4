// Every row of linear: right within a derived tolerance, and the same bits for any number of rows and threads and on
// every instruction set.
#include "backend/cpu/op_fixture.h"

namespace quern::cpu {
namespace {

struct Size {
  size_t in, out;
};

// Odd multiples of the block, widths that are no multiple of 16, more columns than a chain or a stage.
std::vector<Size> sizes_of(Format format) {
  const size_t block = format_info(format).block_values;
  if (is_float(format) && block == 1) return {{1, 1}, {2, 17}, {33, 16}, {172, 40}, {257, 8}, {600, 33}, {1031, 24}};
  if (block == 1) return {{1, 5}, {31, 16}, {172, 40}, {1031, 24}};
  return {{block, 5}, {3 * block, 24}, {(1024 / block + 5) * block, 33}};
}

TEST(Linear, EveryRowAndFormat) {
  TestDevice devices[] = {TestDevice(1), TestDevice(2), TestDevice(3)};
  for (const FormatInfo& format : kFormats) {
    Random random(static_cast<uint64_t>(format.format) + 1);
    for (const Size size : sizes_of(format.format)) {
      const Owned x = random.floats({kMostRows, size.in}), bias = random.floats({size.out}),
                  residual = random.floats({kMostRows, size.out});
      const Owned w = random.weights(size.out, size.in, format.format);
      const std::vector<float> weights = unpacked(w.tensor);
      std::map<std::string, std::vector<float>> first;  // of all rows, by arithmetic
      for (TestDevice& device : devices) {
        for (const LayoutWeight& loaded : device.layouts(WeightUse::down, {w.tensor})) {
          const bool is_canonical = loaded.weight.layout == kCanonical;
          for (const auto& row : device.tables().linear) {
            for (auto count = std::rbegin(kRowCounts); count != std::rend(kRowCounts); ++count) {
              if (is_canonical && *count != kMostRows && *count > 3) continue;
              Owned y({*count, size.out}, Format::f32);
              y.poison();
              Tensor some_x = x.tensor, some_residual = residual.tensor;
              some_x.shape = {*count, size.in};
              some_residual.shape = y.tensor.shape;
              const LinearArgs args{.x = some_x, .w = &loaded.weight, .bias = bias.tensor, .residual = some_residual, .y = y.tensor};
              if (!row.supports(args, device.info())) continue;
              device.run(row, args);
              const std::string arithmetic = arithmetic_of(loaded.weight, row.name);
              std::vector<float>& all = first[arithmetic];
              const std::string what = fmt::format("{} {} {}x{} rows {} threads {}", row.name, format.name, size.out, size.in, *count,
                                                   device.info().num_threads);
              if (!all.empty()) {
                ASSERT_TRUE(same_bits(y.f32(), all.data(), y.count())) << what;
                continue;
              }
              ASSERT_EQ(*count, kMostRows);
              all = copy_of(y);
              for (size_t m = 0; m < kMostRows; ++m) {
                const auto seen = as_multiplied(x.f32(m), size.in, format.format, arithmetic);
                const auto exact = exact_products(seen, weights);
                for (size_t n = 0; n < size.out; ++n) {
                  const double want = exact[n].value + bias.f32()[n] + residual.f32(m)[n];
                  // Two more additions, each rounding a partial sum.
                  const double added = std::fabs(exact[n].value) + std::fabs(bias.f32()[n]) + std::fabs(residual.f32(m)[n]);
                  const double tolerance = exact[n].tolerance + 0x1p-23 * added;
                  ASSERT_NEAR(y.f32(m)[n], want, tolerance) << what << " row " << m << " output " << n;
                }
              }
            }
          }
        }
      }
      const DeviceInfo& info = devices[0].info();  // QUERN_CPU_OFF may leave little
#if defined(__x86_64__)
      const bool has_panels = info.avx2;
#else
      const bool has_panels = true;
#endif
      const bool is_bf16 = format.format == Format::bf16, has_pairs = is_bf16 && info.avx512_bf16, has_tiles = is_bf16 && info.amx;
      EXPECT_EQ(first.size(), 1U + (has_panels ? 1U : 0U) + (has_pairs ? 1U : 0U) + (has_tiles ? 1U : 0U)) << format.name;
    }
  }
}

TEST(Linear, ResidualMayBeTheOutputAndRowsMayExceedABlock) {
  constexpr size_t kRows = 1100;
  TestDevice device(2);
  Random random(3);
  for (const Format format : {Format::f16, Format::i4g32}) {
    const Owned x = random.floats({kRows, 64}), y = random.floats({kRows, 20}), w = random.weights(20, 64, format);
    const std::vector<float> before = copy_of(y);
    for (const LayoutWeight& loaded : device.layouts(WeightUse::attention_out, {w.tensor})) {
      for (const auto& row : device.tables().linear) {
        const Owned plain({kRows, 20}, Format::f32);
        plain.poison();
        LinearArgs args{.x = x.tensor, .w = &loaded.weight, .y = plain.tensor};
        if (!row.supports(args, device.info())) continue;
        device.run(row, args);
        std::copy(before.begin(), before.end(), y.f32());
        args.residual = args.y = y.tensor;
        device.run(row, args);
        for (size_t i = 0; i < y.count(); ++i) ASSERT_EQ(y.f32()[i], plain.f32()[i] + before[i]) << row.name << ' ' << i;
        // Each row alone.
        for (const size_t m : {size_t{0}, size_t{503}, size_t{504}, kRows - 1}) {
          const Owned one({1, 20}, Format::f32);
          Tensor x_row = x.tensor;
          x_row.shape = {1, 64};
          x_row.data = reinterpret_cast<std::byte*>(x.f32(m));
          device.run(row, LinearArgs{.x = x_row, .w = &loaded.weight, .y = one.tensor});
          ASSERT_TRUE(same_bits(one.f32(), plain.f32(m), 20)) << row.name << ' ' << m;
        }
      }
    }
  }
}

// One large value in a group does not cost its neighbours their bits: x is off by half a step at most, which in the large value's group is
// a 254th of what 8 bits give.
TEST(Linear, ALargeValueKeepsItsGroupFine) {
  constexpr size_t kRows = 7, kColumns = 128, kLarge = 40;
  TestDevice device(2);
  Random random(12);
  for (const Format format : {Format::i8, Format::i4g32, Format::q4_1}) {
    const Owned x = random.floats({kRows, kColumns}), w = random.weights(20, kColumns, format);
    for (size_t m = 0; m < kRows; ++m) x.f32(m)[kLarge] = 1000;
    const std::vector<float> weights = unpacked(w.tensor);
    for (const LayoutWeight& loaded : device.layouts(WeightUse::down, {w.tensor})) {
      for (const auto& row : device.tables().linear) {
        const Owned y({kRows, 20}, Format::f32);
        const LinearArgs args{.x = x.tensor, .w = &loaded.weight, .y = y.tensor};
        if (!row.supports(args, device.info())) continue;
        device.run(row, args);
        for (size_t m = 0; m < kRows; ++m) {
          const auto exact = exact_products({x.f32(m), x.f32(m) + kColumns}, weights);
          for (size_t n = 0; n < 20; ++n) {
            double tolerance = exact[n].tolerance;
            for (size_t k = 0; k < kColumns; ++k) {
              float most = 0;
              for (size_t i = k / kGroup * kGroup; i < (k / kGroup + 1) * kGroup; ++i) most = std::max(most, std::fabs(x.f32(m)[i]));
              tolerance += std::fabs(weights[n * kColumns + k]) * most / (k / kGroup == kLarge / kGroup ? 127 * 254 * 2 : 127 * 2);
            }
            ASSERT_NEAR(y.f32(m)[n], exact[n].value, tolerance) << row.name << ' ' << format_info(format).name << ' ' << m << ' ' << n;
          }
        }
      }
    }
  }
}

// A NaN or an infinity in a row of x reaches all of that row's outputs and no other row.
TEST(Linear, NonFiniteRowsStayApart) {
  TestDevice device(2);
  Random random(4);
  for (const FormatInfo& format : kFormats) {
    const size_t in = std::max<size_t>(64, format.block_values), out = 24, rows = 20;
    const Owned x = random.floats({rows, in}), w = random.weights(out, in, format.format);
    const std::vector<float> weights = unpacked(w.tensor);
    for (const LayoutWeight& loaded : device.layouts(WeightUse::down, {w.tensor})) {
      for (const auto& row : device.tables().linear) {
        const Owned clean({rows, out}, Format::f32), y({rows, out}, Format::f32);
        LinearArgs args{.x = x.tensor, .w = &loaded.weight, .y = clean.tensor};
        if (!row.supports(args, device.info())) continue;
        device.run(row, args);
        for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
          const float good = std::exchange(x.f32(7)[5], bad);
          args.y = y.tensor;
          device.run(row, args);
          x.f32(7)[5] = good;
          for (size_t m = 0; m < rows; ++m) {
            for (size_t n = 0; n < out; ++n) {
              if (m != 7) {
                ASSERT_EQ(y.f32(m)[n], clean.f32(m)[n]) << row.name;
              } else if (weights[n * in + 5] != 0) {
                ASSERT_FALSE(std::isfinite(y.f32(m)[n])) << row.name << ' ' << format.name;
              }
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace quern::cpu
