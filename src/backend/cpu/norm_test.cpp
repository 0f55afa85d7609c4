// head and gate_up: rmsnorm, the product that linear_test.cpp proves, and what follows it; the same bits for any number of rows, threads
// and on every instruction set.
#include "backend/cpu/op_fixture.h"

namespace quern::cpu {
namespace {

constexpr float kEpsilon = 1e-6F;

Owned identity(size_t size) {
  Owned w({size, size}, Format::f32);
  std::fill_n(w.f32(), w.count(), 0.F);
  for (size_t i = 0; i < size; ++i) w.f32(i)[i] = 1;
  return w;
}

struct HeadCase {
  Owned h, norm;
  std::vector<int32_t> rows;  // sample_rows

  HeadArgs args(const Weight& w, size_t count, const Owned& logits) const {
    HeadArgs a{.h = h.tensor, .norm = norm.tensor, .norm_epsilon = kEpsilon, .w = &w, .logits = logits.tensor};
    a.batch.num_tokens = static_cast<int32_t>(h.tensor.rows());
    a.batch.num_sample_rows = static_cast<int32_t>(count);
    a.batch.sample_rows = rows.data();
    return a;
  }
};

HeadCase head_case(size_t tokens, size_t columns, uint64_t seed) {
  Random random(seed);
  HeadCase c{random.floats({tokens, columns}, 3), random.floats({columns}, 0.2F, 1), {}};
  for (size_t i = 0; i < tokens; ++i) c.rows.push_back(static_cast<int32_t>(i * 7 % tokens));
  return c;
}

// rmsnorm itself, seen through a product with the identity, which is exact. Rounding: the sum of squares adds at most columns / 16 + 4
// times, its root halves that error; mean, epsilon, root, reciprocal and two products round once each.
TEST(Norm, WithinItsRounding) {
  TestDevice device(2);
  for (const size_t columns : {1, 8, 16, 31, 172, 896}) {
    const HeadCase c = head_case(23, columns, columns);
    const Owned w = identity(columns);
    for (const LayoutWeight& loaded : device.layouts(WeightUse::head, {w.tensor})) {
      for (const auto& row : device.tables().head) {
        const Owned y({23, columns}, Format::f32);
        y.poison();
        const HeadArgs args = c.args(loaded.weight, 23, y);
        if (!row.supports(args, device.info())) continue;
        device.run(row, args);
        for (size_t m = 0; m < 23; ++m) {
          const auto want = exact_norm(c.h.f32(static_cast<size_t>(c.rows[m])), c.norm.f32(), kEpsilon, columns);
          for (size_t k = 0; k < columns; ++k) {
            const double tolerance = (static_cast<double>(columns) / 32 + 8) * 0x1p-24 * std::fabs(want[k]);
            ASSERT_NEAR(y.f32(m)[k], want[k], tolerance) << row.name << ' ' << columns << " row " << m;
          }
        }
      }
    }
  }
}

// The rows of h that are sampled, normalized.
Owned normalized(TestDevice& device, const HeadCase& c, LayoutId layout) {
  Owned sampled({c.rows.size(), c.h.tensor.columns()}, Format::f32);
  for (size_t m = 0; m < c.rows.size(); ++m) std::copy_n(c.h.f32(static_cast<size_t>(c.rows[m])), sampled.tensor.columns(), sampled.f32(m));
  return device.normalized(sampled.tensor, c.norm.tensor, kEpsilon, layout);
}

TEST(Head, EveryRowAndFormat) {
  TestDevice devices[] = {TestDevice(2), TestDevice(1), TestDevice(3)};
  for (const FormatInfo& format : kFormats) {
    const HeadCase c = head_case(kMostRows, 256, 5);
    Random random(static_cast<uint64_t>(format.format) + 200);
    const Owned w = random.weights(40, 256, format.format);
    for (TestDevice& device : devices) {
      for (const LayoutWeight& loaded : device.layouts(WeightUse::head, {w.tensor})) {
        const Owned x = normalized(device, c, loaded.weight.layout);
        for (const auto& row : device.tables().head) {
          const HeadArgs shape = c.args(loaded.weight, 1, x);
          if (!row.supports(shape, device.info())) continue;
          const Owned want = device.multiply(x.tensor, w.tensor, arithmetic_of(loaded.weight, row.name));
          for (const size_t count : {kMostRows, size_t{17}, size_t{1}}) {
            const Owned y({count, 40}, Format::f32);
            y.poison();
            const HeadArgs args = c.args(loaded.weight, count, y);
            device.run(row, args);
            ASSERT_TRUE(same_bits(y.f32(), want.f32(), y.count())) << row.name << ' ' << format.name << ' ' << count;
          }
        }
      }
    }
  }
}

// silu(g) * u of products that are known to the bit. exp errs by 2 units in the last place, the sum, the quotient and the product by one
// each: 5 * 2^-23 of the value, and a value below the least normal number may be lost.
TEST(GateUp, EveryRowAndFormat) {
  TestDevice devices[] = {TestDevice(2), TestDevice(1), TestDevice(3)};
  for (const FormatInfo& format : kFormats) {
    HeadCase c = head_case(kMostRows, 256, 6);
    for (size_t m = 0; m < c.rows.size(); ++m) c.rows[m] = static_cast<int32_t>(m);
    Random random(static_cast<uint64_t>(format.format) + 300);
    const Owned gate = random.weights(40, 256, format.format), up = random.weights(40, 256, format.format);
    std::map<std::string, std::vector<float>> first;
    for (TestDevice& device : devices) {
      for (const LayoutWeight& loaded : device.layouts(WeightUse::gate_up, {gate.tensor, up.tensor})) {
        const Owned x = normalized(device, c, loaded.weight.layout);
        for (const auto& row : device.tables().gate_up) {
          for (const size_t count : {kMostRows, size_t{17}, size_t{2}, size_t{1}}) {
            const Owned y({count, 40}, Format::f32);
            y.poison();
            Tensor h = c.h.tensor;
            h.shape = {count, 256};
            const GateUpArgs args{.h = h, .norm = c.norm.tensor, .norm_epsilon = kEpsilon, .w = &loaded.weight, .y = y.tensor};
            if (!row.supports(args, device.info())) continue;
            device.run(row, args);
            const std::string arithmetic = arithmetic_of(loaded.weight, row.name);
            std::vector<float>& all = first[arithmetic];
            if (!all.empty()) {
              ASSERT_TRUE(same_bits(y.f32(), all.data(), y.count())) << row.name << ' ' << format.name << ' ' << count;
              continue;
            }
            all = copy_of(y);
            const Owned g = device.multiply(x.tensor, gate.tensor, arithmetic), u = device.multiply(x.tensor, up.tensor, arithmetic);
            for (size_t i = 0; i < y.count(); ++i) {
              const double gi = g.f32()[i], want = gi / (1 + std::exp(-gi)) * u.f32()[i];
              ASSERT_NEAR(y.f32()[i], want, 5 * 0x1p-23 * std::fabs(want) + 0x1p-126) << row.name << ' ' << format.name << " g " << gi;
            }
          }
        }
      }
    }
  }
}

// Gates over the whole range of float, through the identity.
TEST(GateUp, SiluOverTheWholeRange) {
  TestDevice device(1);
  std::vector<float> gates = {0.F, -0.F, 1e-30F, -1e-30F, 20, -20, 86, -86, 87.5F, -87.5F, 89, -89, 1000, -1000, 1e30F};
  for (int i = 0; i < 541; ++i) gates.push_back(-100 + 0.37F * static_cast<float>(i));
  const size_t columns = gates.size();
  // One column a row of weights: g = gate * x, u = x with x = 1 after the norm of a single column.
  Owned h({1, 1}, Format::f32), norm({1}, Format::f32), gate({columns, 1}, Format::f32), up({columns, 1}, Format::f32);
  h.f32()[0] = norm.f32()[0] = 1;
  std::copy(gates.begin(), gates.end(), gate.f32());
  std::fill_n(up.f32(), columns, 1.F);
  for (const LayoutWeight& loaded : device.layouts(WeightUse::gate_up, {gate.tensor, up.tensor})) {
    for (const auto& row : device.tables().gate_up) {
      const Owned y({1, columns}, Format::f32);
      y.poison();
      const GateUpArgs args{.h = h.tensor, .norm = norm.tensor, .norm_epsilon = 0, .w = &loaded.weight, .y = y.tensor};
      if (!row.supports(args, device.info())) continue;
      device.run(row, args);
      for (size_t i = 0; i < columns; ++i) {
        const double g = gates[i], want = g / (1 + std::exp(-g));
        // Beyond -87 the factor stays at e^-88: at most 1000 * e^-87 away from the true value, which is below e^-80.
        ASSERT_NEAR(y.f32()[i], want, 5 * 0x1p-23 * std::fabs(want) + (g < -86 ? 1000 * std::exp(-87.) : 0)) << row.name << ' ' << g;
      }
    }
  }
}

}  // namespace
}  // namespace quern::cpu
