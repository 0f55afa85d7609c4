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

// The scales of groups of a row, and what x is multiplied by to become codes.
struct GroupScales {
  alignas(64) float scale[kLanes], inverse[kLanes], most[kLanes];
};

// Of 16 groups of x. scale = max|x| / 127. The largest magnitude is found in the bits, so that a NaN or an infinity becomes the scale and
// so the result; its codes are 0.
inline void find_scales(const float* x, size_t groups, GroupScales& to) {
  const I magnitude = Lanes::all_i(0x7fffffff);
  for (size_t g = 0; g < groups; ++g, x += kGroup) {
    const I low = Lanes::and_i(Lanes::as_int(Lanes::load(x)), magnitude);
    const I high = Lanes::and_i(Lanes::as_int(Lanes::load(x + kLanes)), magnitude);
    const int32_t bits = Lanes::largest_i(Lanes::max_i(low, high));
    __builtin_memcpy(&to.most[g], &bits, 4);
  }
  for (size_t g = groups; g < kLanes; ++g) to.most[g] = 0;
  for (size_t g = 0; g < kLanes; ++g) {
    to.scale[g] = to.most[g] / 127.F;
    to.inverse[g] = to.scale[g] > 0x1p-120F ? 1.F / to.scale[g] : 0.F;  // below, all codes are 0
  }
}

inline void put_group(F low, F high, float scale, RoundedGroup& to) {
  Lanes::store_bytes(to.codes, low, high);
  to.words[kScale] = scale;
  Lanes::put_sums(to);
}

// One group of a row, and whether it has a remainder.
inline bool quantize_group(const float* x, float most, float scale, float inverse, float limit, RoundedGroup& to, RoundedGroup& remainder) {
  if (!(most < __builtin_inff())) {
    put_group(Lanes::zero(), Lanes::zero(), scale, to);
    return false;
  }
  const F low = Lanes::mul(Lanes::load(x), Lanes::all(inverse)), high = Lanes::mul(Lanes::load(x + kLanes), Lanes::all(inverse));
  const F whole_low = Lanes::round(low), whole_high = Lanes::round(high);
  put_group(whole_low, whole_high, scale, to);
  if (!(most > limit)) return false;
  const F steps = Lanes::all(254.F);  // half a step becomes 127
  put_group(Lanes::round(Lanes::mul(Lanes::sub(low, whole_low), steps)), Lanes::round(Lanes::mul(Lanes::sub(high, whole_high), steps)),
            scale / 254.F, remainder);
  return true;
}

// Tile `tile` of normalized rows x, `padded_columns` apart, to groups and remainders.
inline void quantize_tile(const PreparedRows& to, const Tiles& tiles, size_t tile, const float* x) {
  const size_t first = tiles.first(tile), rows = tiles.rows(tile), columns = to.padded_columns, groups = num_groups(to);
  float limits[kMostTile];
  for (size_t m = 0; m < rows; ++m) limits[m] = remainder_limit(x + m * columns, columns);
  RoundedGroup* group = to.groups + first * groups;
  RoundedGroup* remainder = to.remainders + first * remainders_a_row(to);
  GroupScales scales[kMostTile];
  for (size_t first_group = 0; first_group < groups; first_group += kLanes) {
    const size_t end = first_group + kLanes < groups ? first_group + kLanes : groups;
    for (size_t m = 0; m < rows; ++m) find_scales(x + m * columns + first_group * kGroup, end - first_group, scales[m]);
    for (size_t g = first_group; g < end; ++g) {
      for (size_t m = 0; m < rows; ++m, ++group) {
        const size_t i = g - first_group;
        const GroupScales& of = scales[m];
        if (!quantize_group(x + m * columns + g * kGroup, of.most[i], of.scale[i], of.inverse[i], limits[m], *group, *remainder)) continue;
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

// 32 values, or the last of a row and the zeros behind.
inline void round_to_bf16(const float* x, uint16_t* to) {
  for (size_t i = 0; i < 32; ++i) to[i] = rounded_bf16(x[i]);
}

// A row of normalized x, zeros behind its end, into its place of its tile.
inline void put_tile_pairs(const PreparedRows& to, size_t row, const float* x) {
  auto* place = reinterpret_cast<uint16_t*>(to.tile_pairs + (row / kMostTile * num_tiles(to) * kMostTile + row % kMostTile) * 16);
  for (size_t tile = 0; tile < num_tiles(to); ++tile, x += 32, place += 2 * 16 * kMostTile) {
    round_to_bf16(x, place);
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
      } else {  // zeros stand behind an odd end
        uint32_t* pairs = to.pairs + first * num_pairs(to) + (row - first);
        for (size_t k = 0; k < to.columns; k += 32) {
          alignas(64) uint32_t rounded[16];
          round_to_bf16(x + k, reinterpret_cast<uint16_t*>(rounded));
          for (size_t i = 0; i < 16 && k + 2 * i < to.columns; ++i, pairs += step) *pairs = rounded[i];
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
