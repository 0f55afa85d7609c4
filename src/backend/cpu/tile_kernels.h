// Products of integer weights by a unit that multiplies whole tiles of signed bytes (AMX): 16 rows of x by the 16 rows of a panel, over one
// group of 32 columns (or half of one, where halves have scales) at a time. Sums are exact in 32 bits and are scaled and added as in
// panel_kernels.h, so the bits are those of its rows. A panel's vectors of codes are the unit's layout already.
// Included after panel_kernels.h: by panels_avx512_amx.cpp with the processor's unit and by tile_test.cpp with a model of it.
#pragma once
#include "backend/cpu/panel_kernels.h"

namespace quern::cpu {
namespace {

// Groups in a stage, with zero points taken off the codes.
template <class S>
struct TileStage {
  using Stored = Unpacked<S>;
  static constexpr bool kSigned = S::kShift >= 0 || S::kMaxCode == 255;
  // For products outside the unit, see Lanes::Dot: signed codes are multiplied as unsigned, 128 added, where Lanes wants it so.
  static constexpr int kHalves = S::kHalves, kMaxCode = kSigned ? 255 : S::kMaxCode;
  static constexpr int kShift = kSigned && !Lanes::kSignedBytes ? 7 : -1;
  static constexpr bool kScaled = S::kScaled, kOffset = S::kOffset;
  static constexpr int kBytes = Stored::kBytes;

  const std::byte* p;
  Codes code(int q) const {
    const Codes codes = Lanes::load_codes(p + q * kVector);
    return kSigned ? Lanes::flip_signs(codes) : codes;
  }
  F scale(int i) const { return UnpackedGroup<Stored>{p}.scale(i); }
  F offset(int i) const { return UnpackedGroup<Stored>{p}.offset(i); }
};

template <class S>
inline void unpack_signed(const std::byte* panel, size_t columns, std::byte* stage) {
  for (size_t k = 0; k < columns; k += S::kBlock, panel += S::kBytes) {
    fetch_ahead<S>(panel);
    LANES_UNROLL
    for (int g = 0; g < S::kBlock / 32; ++g, stage += Unpacked<S>::kBytes) {
      Group<S::kHalves> group;
      S::load(panel, g, group);
      if constexpr (S::kShift >= 0) {
        for (Codes& codes : group.codes) codes = Lanes::less_codes(codes, 1 << S::kShift);
      }
      Unpacked<S>::store(stage, group);
    }
  }
}

// One tile of at most 16 rows against `groups` groups of a stage; y is continued. What lies behind the tile's rows is multiplied too and
// left.
template <class S, class Unit>
inline void add_tile(const std::byte* stage, size_t groups, const int8_t* codes, const float* words, size_t rows, float* out) {
  constexpr int kHalves = S::kHalves;
  constexpr size_t kHalfBytes = kGroup / kHalves;
  F y[kMostTile];
  LANES_UNROLL
  for (size_t m = 0; m < kMostTile; ++m) y[m] = m < rows ? Lanes::load(out + m * kLanes) : Lanes::zero();
  alignas(64) int32_t sums[2][kMostTile * kLanes];
  const auto multiply = [&](size_t i) {
    const int8_t* a = codes + i / kHalves * kGroup * rows + i % kHalves * kHalfBytes;
    const std::byte* b = stage + i / kHalves * TileStage<S>::kBytes + i % kHalves * kHalfBytes * kLanes;
    i % 2 == 0 ? Unit::template multiply<0>(a, b, sums[0]) : Unit::template multiply<1>(a, b, sums[1]);
  };
  const size_t count = groups * kHalves;
  multiply(0);
  for (size_t i = 0; i < count; ++i) {
    if (i + 1 < count) multiply(i + 1);  // the unit works ahead while these sums are added
    const int half = static_cast<int>(i % kHalves);
    const size_t scaled_sum = kHalves == 1 ? size_t{kScaledSum} : kScaledSum0 + i % kHalves;
    const TileStage<S> view{stage + i / kHalves * TileStage<S>::kBytes};
    const float* w = words + i / kHalves * kGroupWords * rows;
    const F scale = S::kScaled ? view.scale(half) : Lanes::zero(), offset = S::kOffset ? view.offset(half) : Lanes::zero();
    LANES_UNROLL
    for (size_t m = 0; m < kMostTile; ++m) {
      const F sum = Lanes::to_float(Lanes::load_i(reinterpret_cast<const std::byte*>(sums[i % 2] + m * kLanes)));
      const F x_scale = Lanes::all(w[kScale * rows + m]);
      y[m] = Lanes::fma(sum, S::kScaled ? Lanes::mul(scale, x_scale) : x_scale, y[m]);
      if constexpr (S::kOffset) y[m] = Lanes::fma(offset, Lanes::all(w[scaled_sum * rows + m]), y[m]);
    }
  }
  LANES_UNROLL
  for (size_t m = 0; m < kMostTile; ++m) {
    if (m < rows) Lanes::store(out + m * kLanes, y[m]);
  }
}

template <class S, class Unit>
void multiply_tiles(const PanelTask& task) {
  const PreparedRows& x = *task.rows;
  const size_t columns = x.padded_columns;
  const Tiles tiles(x.rows, kMostTile);
  for (size_t i = 0; i < x.rows * kLanes; i += kLanes) {
    Lanes::store(task.y + i, Lanes::zero());
    Lanes::store(task.rest + i, Lanes::zero());
  }
  Unit::configure(kGroup / S::kHalves);
  for (size_t k = 0, stage = 0; k < columns; k += kStage, ++stage) {
    const size_t part = columns - k < kStage ? columns - k : kStage;
    unpack_signed<S>(task.panel + k / S::kBlock * S::kBytes, part, task.stage);
    for (size_t t = 0; t < tiles.count; ++t) {
      const size_t first = tiles.first(t), rows = tiles.rows(t);
      const int8_t* codes = x.codes + first * columns + k * rows;
      const float* words = x.words + (first * columns + k * rows) / kGroup * kGroupWords;
      add_tile<S, Unit>(task.stage, part / kGroup, codes, words, rows, task.y + first * kLanes);
      add_remainders<TileStage<S>, TileStage<S>>(task.stage, k / kGroup, (k + part) / kGroup, rows,
                                                 x.remainders + first * remainders_a_row(x) + x.stage_remainders[t * num_stages(x) + stage],
                                                 task.rest + first * kLanes);
    }
  }
  Unit::release();
  finish_integer<S>(task);
}

template <class Unit>
struct ByTiles {
  template <class S>
  struct Multiply {
    static void run(const PanelTask& task) { multiply_tiles<S, Unit>(task); }
  };
};

template <class Unit>
constexpr PanelKernels make_tile_kernels(const char* name) {
  PanelKernels k = make_bare_kernels(name);
  k.integer_tile = kMostTile;
  k.codes_by_row = true;
  set_integer_kernels<ByTiles<Unit>::template Multiply>(k);
  return k;
}

}  // namespace
}  // namespace quern::cpu
