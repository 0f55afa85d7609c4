// Functions over Lanes, the same operations in the same order on every instruction set. Internal linkage.
#pragma once

namespace quern::cpu {
namespace {

// The 16 lanes summed as a tree: halves, quarters, pairs, one.
inline float sum_lanes(Lanes::F x) {
  alignas(64) float v[16];
  Lanes::store(v, x);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) v[i] += v[i + width];
  }
  return v[0];
}

// The largest lane; any lane when one is NaN.
inline float largest_lane(Lanes::F x) {
  alignas(64) float v[16];
  Lanes::store(v, x);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) v[i] = v[i] > v[i + width] ? v[i] : v[i + width];
  }
  return v[0];
}

inline float first_lane(Lanes::F x) {
  alignas(64) float v[16];
  Lanes::store(v, x);
  return v[0];
}

// e^x for x in [-87, 88], the ends beyond, NaN for NaN; within 2 units in the last place. x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its
// series of degree 7 (truncation 5e-9 relative).
inline Lanes::F exp_lanes(Lanes::F x) {
  x = Lanes::min(Lanes::all(88.F), Lanes::max(Lanes::all(-87.F), x));
  const Lanes::F n = Lanes::round(Lanes::mul(x, Lanes::all(1.44269504F)));
  Lanes::F r = Lanes::fma(n, Lanes::all(-0.693145752F), x);  // ln 2, high 16 bits
  r = Lanes::fma(n, Lanes::all(-1.42860682e-6F), r);         // the rest
  Lanes::F p = Lanes::all(1.F / 5040);
  constexpr float kSeries[] = {1.F / 720, 1.F / 120, 1.F / 24, 1.F / 6, 0.5F, 1.F, 1.F};
  for (const float c : kSeries) p = Lanes::fma(p, r, Lanes::all(c));
  return Lanes::mul(p, Lanes::as_float(Lanes::shift_left<23>(Lanes::add_i(Lanes::to_int(n), Lanes::all_i(127)))));
}

inline Lanes::F silu(Lanes::F x) {
  const Lanes::F one = Lanes::all(1.F);
  return Lanes::div(x, Lanes::add(one, exp_lanes(Lanes::sub(Lanes::zero(), x))));
}

}  // namespace
}  // namespace quern::cpu
