// What happens to rows of x before products by panels (norm, rounding) and to the sums after them, written once over Lanes. Included by
// panel_kernels.h; everything has internal linkage.
#pragma once
#include "backend/cpu/lanes_math.h"
#include "backend/cpu/panel_product.h"
#include "backend/cpu/row_tiles.h"

namespace quern::cpu {
namespace {

using F = Lanes::F;
using I = Lanes::I;

// values (and norm, when given) to scratch, zeros behind the end up to a multiple of 32.
inline void normalize(const float* x, const float* norm, float epsilon, size_t columns, float* scratch) {
  const size_t whole = columns / kLanes * kLanes, padded = (columns + kGroup - 1) / kGroup * kGroup;
  for (size_t k = 0; k < whole; k += kLanes) Lanes::store(scratch + k, Lanes::load(x + k));
  for (size_t k = whole; k < padded; ++k) scratch[k] = k < columns ? x[k] : 0.F;
  if (norm == nullptr) return;
  F squares = Lanes::zero();
  for (size_t k = 0; k < padded; k += kLanes) squares = Lanes::fma(Lanes::load(scratch + k), Lanes::load(scratch + k), squares);
  const float factor = 1.F / __builtin_sqrtf(sum_lanes(squares) / static_cast<float>(columns) + epsilon);
  for (size_t k = 0; k < whole; k += kLanes) {
    Lanes::store(scratch + k, Lanes::mul(Lanes::mul(Lanes::load(scratch + k), Lanes::all(factor)), Lanes::load(norm + k)));
  }
  for (size_t k = whole; k < columns; ++k) scratch[k] = scratch[k] * factor * norm[k];
}

// Of x as normalize() leaves it: the magnitude of a group above which its remainder is kept.
inline float remainder_limit(const float* x, size_t columns) {
  F squares = Lanes::zero();
  for (size_t k = 0; k < columns; k += kLanes) squares = Lanes::fma(Lanes::load(x + k), Lanes::load(x + k), squares);
  return kRemainderAbove * __builtin_sqrtf(sum_lanes(squares) / static_cast<float>(columns));
}

// The words of a group from its codes as floats.
inline void put_words(F low, F high, float scale, RoundedGroup& to) {
  const int32_t sum0 = Lanes::sum_i(Lanes::to_int(low)), sum1 = Lanes::sum_i(Lanes::to_int(high));
  const auto put = [&](int word, int32_t value) { __builtin_memcpy(to.words + word, &value, 4); };
  to.words[kScale] = scale;
  put(kMinusSum, -(sum0 + sum1));
  put(kMinusSum0, -sum0);
  put(kMinusSum1, -sum1);
  to.words[kScaledSum] = scale * static_cast<float>(sum0 + sum1);
  to.words[kScaledSum0] = scale * static_cast<float>(sum0);
  to.words[kScaledSum1] = scale * static_cast<float>(sum1);
}

// One group of a row, and whether it has a remainder.
// scale = max|x| / 127. The largest magnitude is found in the bits, so that a NaN or an infinity becomes the scale and so the result.
inline bool quantize_group(const float* x, float limit, RoundedGroup& to, RoundedGroup& remainder) {
  const I magnitude = Lanes::all_i(0x7fffffff);
  F low = Lanes::load(x), high = Lanes::load(x + kLanes);
  const int32_t bits =
      Lanes::largest_i(Lanes::max_i(Lanes::and_i(Lanes::as_int(low), magnitude), Lanes::and_i(Lanes::as_int(high), magnitude)));
  float most;
  __builtin_memcpy(&most, &bits, 4);
  const float scale = most / 127.F;
  if (!(most < __builtin_inff())) {
    Lanes::store_bytes(to.codes, Lanes::zero(), Lanes::zero());
    put_words(Lanes::zero(), Lanes::zero(), scale, to);
    return false;
  }
  const F inverse = Lanes::all(scale > 0x1p-120F ? 1.F / scale : 0.F);  // below, all codes are 0
  low = Lanes::mul(low, inverse);
  high = Lanes::mul(high, inverse);
  const F whole_low = Lanes::round(low), whole_high = Lanes::round(high);
  Lanes::store_bytes(to.codes, whole_low, whole_high);
  put_words(whole_low, whole_high, scale, to);
  if (!(most > limit)) return false;
  const F steps = Lanes::all(254.F);  // half a step becomes 127
  low = Lanes::round(Lanes::mul(Lanes::sub(low, whole_low), steps));
  high = Lanes::round(Lanes::mul(Lanes::sub(high, whole_high), steps));
  Lanes::store_bytes(remainder.codes, low, high);
  put_words(low, high, scale / 254.F, remainder);
  return true;
}

// Tile `tile` of normalized rows x, `padded_columns` apart, to groups and remainders.
inline void quantize_tile(const PreparedRows& to, const Tiles& tiles, size_t tile, const float* x) {
  const size_t first = tiles.first(tile), rows = tiles.rows(tile), columns = to.padded_columns, groups = num_groups(to);
  float limits[kMostTile];
  for (size_t m = 0; m < rows; ++m) limits[m] = remainder_limit(x + m * columns, columns);
  RoundedGroup* group = to.groups + first * groups;
  RoundedGroup* remainder = to.remainders + first * remainders_a_row(to);
  for (size_t g = 0; g < groups; ++g) {
    for (size_t m = 0; m < rows; ++m, ++group) {
      if (quantize_group(x + m * columns + g * kGroup, limits[m], *group, *remainder)) {
        remainder->group = static_cast<uint16_t>(g);
        remainder->row = static_cast<uint16_t>(m);
        ++remainder;
      }
    }
  }
  remainder->group = kNoGroup;
}

// To nearest, ties to even; a NaN stays one.
inline uint16_t rounded_bf16(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}

// A row of normalized x, zeros behind its end, into its place of its tile.
inline void put_tile_pairs(const PreparedRows& to, size_t row, const float* x) {
  auto* place = reinterpret_cast<uint16_t*>(to.tile_pairs + (row / kMostTile * num_tiles(to) * kMostTile + row % kMostTile) * 16);
  for (size_t tile = 0; tile < num_tiles(to); ++tile, x += 32, place += 2 * 16 * kMostTile) {
    for (size_t i = 0; i < 32; ++i) place[i] = rounded_bf16(x[i]);
  }
}

void prepare_rows(const PrepareTask& task) {
  const PreparedRows& to = *task.rows;
  const Tiles tiles(to.rows, to.integer_tile);
  for (size_t row = task.begin; row < task.end; ++row) {
    const size_t source = task.row_ids == nullptr ? row : static_cast<size_t>(task.row_ids[row]);
    const size_t tile = tiles.of(row), place = row - tiles.first(tile);
    float* const x = task.scratch + place * ((to.columns + kGroup - 1) / kGroup * kGroup);
    normalize(task.x + source * to.columns, task.norm, task.epsilon, to.columns, x);
    if (to.values != nullptr || to.pairs != nullptr) {
      const Tiles float_tiles(to.rows, to.float_tile);
      const size_t float_tile = float_tiles.of(row), first = float_tiles.first(float_tile), step = float_tiles.rows(float_tile);
      if (to.values != nullptr) {
        float* values = to.values + first * to.columns + (row - first);
        for (size_t k = 0; k < to.columns; ++k) values[k * step] = x[k];
      } else {
        uint32_t* pairs = to.pairs + first * num_pairs(to) + (row - first);
        for (size_t k = 0; k < to.columns; k += 2, pairs += step) {
          *pairs = rounded_bf16(x[k]) | (k + 1 < to.columns ? static_cast<uint32_t>(rounded_bf16(x[k + 1])) << 16 : 0U);
        }
      }
    }
    if (to.tile_pairs != nullptr) put_tile_pairs(to, row, x);
    if (to.groups != nullptr && place + 1 == tiles.rows(tile)) quantize_tile(to, tiles, tile, task.scratch);
  }
}

void store_rows(const StoreTask& task) {
  for (size_t m = 0; m < task.rows; ++m) {
    F y = Lanes::load(task.y + m * kLanes);
    if (task.up != nullptr) y = Lanes::mul(silu(y), Lanes::load(task.up + m * kLanes));
    float* out = task.out + m * task.stride;
    const float* residual = task.residual == nullptr ? nullptr : task.residual + m * task.stride;
    if (task.lanes == kLanes) {
      if (task.bias != nullptr) y = Lanes::add(y, Lanes::load(task.bias));
      if (residual != nullptr) y = Lanes::add(y, Lanes::load(residual));
      Lanes::store(out, y);
      continue;
    }
    float values[kLanes];
    Lanes::store(values, y);
    for (size_t i = 0; i < task.lanes; ++i) {
      if (task.bias != nullptr) values[i] += task.bias[i];
      if (residual != nullptr) values[i] += residual[i];
      out[i] = values[i];
    }
  }
}

}  // namespace
}  // namespace quern::cpu
