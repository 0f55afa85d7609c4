// Products of integer weights by a unit that multiplies whole tiles of signed bytes (AMX): 16 rows of x by the 16 rows of a panel, over one
// group of 32 columns (or half of one, where halves have scales) at a time. Sums are exact in 32 bits and are scaled and added as in
// panel_kernels.h, so the bits are those of its rows. A panel's vectors of codes are the unit's layout already.
// Included after panel_kernels.h: by panels_avx512_amx.cpp with the processor's unit and by tile_test.cpp with a model of it.
#pragma once
#include "backend/cpu/panel_kernels.h"

namespace quern::cpu {
namespace {

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

// One group (or half of one) of at most 16 rows of x, and the unpacked group of weights.
struct TilePiece {
  const RoundedGroup* x;
  size_t rows;
  const std::byte* group;
  int half;
};

// Calls add(piece, sums [16][16]) for each of `count` pieces in order; the unit works on the next piece meanwhile.
template <class S, class Unit, class Piece, class Add>
inline void each_piece(size_t count, const Piece& piece, const Add& add) {
  constexpr size_t kHalfBytes = kGroup / S::kHalves;
  alignas(64) int32_t sums[2][kMostTile * kLanes];
  const auto multiply = [&](const TilePiece& p, size_t i) {
    const int8_t* x = p.x->codes + static_cast<size_t>(p.half) * kHalfBytes;
    const std::byte* weights = p.group + static_cast<size_t>(p.half) * kHalfBytes * kLanes;
    i % 2 == 0 ? Unit::template multiply<0>(x, weights, sums[0]) : Unit::template multiply<1>(x, weights, sums[1]);
  };
  if (count == 0) return;
  TilePiece now = piece(0);
  multiply(now, 0);
  for (size_t i = 0; i < count; ++i) {
    TilePiece next = now;
    if (i + 1 < count) {
      next = piece(i + 1);
      multiply(next, i + 1);
    }
    add(now, sums[i % 2], i);
    now = next;
  }
}

// y + the scaled sums of row m.
template <class S>
inline F add_row(const TilePiece& piece, F scale, F offset, const int32_t* sums, size_t m, F y) {
  const size_t scaled_sum = S::kHalves == 1 ? size_t{kScaledSum} : static_cast<size_t>(kScaledSum0 + piece.half);
  const F sum = Lanes::to_float(Lanes::load_i(reinterpret_cast<const std::byte*>(sums + m * kLanes)));
  const F x_scale = Lanes::all(piece.x[m].words[kScale]);
  y = Lanes::fma(sum, S::kScaled ? Lanes::mul(scale, x_scale) : x_scale, y);
  if constexpr (S::kOffset) y = Lanes::fma(offset, Lanes::all(piece.x[m].words[scaled_sum]), y);
  return y;
}

template <class S>
inline F scale_of(const TilePiece& piece) {
  return S::kScaled ? UnpackedGroup<Unpacked<S>>{piece.group}.scale(piece.half) : Lanes::zero();
}
template <class S>
inline F offset_of(const TilePiece& piece) {
  return S::kOffset ? UnpackedGroup<Unpacked<S>>{piece.group}.offset(piece.half) : Lanes::zero();
}

// One tile of rows against `groups` groups of a stage; y is continued. What lies behind the tile's rows is multiplied too and left.
template <class S, class Unit>
inline void add_tile(const std::byte* stage, size_t groups, const RoundedGroup* x, size_t rows, float* out) {
  constexpr size_t kHalves = S::kHalves;
  F y[kMostTile];
  LANES_UNROLL
  for (size_t m = 0; m < kMostTile; ++m) y[m] = m < rows ? Lanes::load(out + m * kLanes) : Lanes::zero();
  const auto piece = [&](size_t i) {
    const size_t g = i / kHalves;
    return TilePiece{x + g * rows, rows, stage + g * Unpacked<S>::kBytes, static_cast<int>(i % kHalves)};
  };
  each_piece<S, Unit>(groups * kHalves, piece, [&](const TilePiece& now, const int32_t* sums, size_t) {
    const F scale = scale_of<S>(now), offset = offset_of<S>(now);
    LANES_UNROLL
    for (size_t m = 0; m < kMostTile; ++m) y[m] = add_row<S>(now, scale, offset, sums, m, y[m]);
  });
  LANES_UNROLL
  for (size_t m = 0; m < kMostTile; ++m) {
    if (m < rows) Lanes::store(out + m * kLanes, y[m]);
  }
}

// The gathered remainders of one group.
template <class S, class Unit>
inline void add_group_remainders(const std::byte* group, size_t g, const PreparedRows& x, float* rest) {
  constexpr size_t kHalves = S::kHalves;
  if (x.gathered_counts[g] == 0) return;
  const Tiles tiles(x.gathered_counts[g], kMostTile);
  const RoundedGroup* const first = x.gathered + g * x.rows;
  const auto piece = [&](size_t i) {
    return TilePiece{first + tiles.first(i / kHalves), tiles.rows(i / kHalves), group, static_cast<int>(i % kHalves)};
  };
  each_piece<S, Unit>(tiles.count * kHalves, piece, [&](const TilePiece& now, const int32_t* sums, size_t) {
    const F scale = scale_of<S>(now), offset = offset_of<S>(now);
    for (size_t m = 0; m < now.rows; ++m) {
      float* const to = rest + now.x[m].row * kLanes;
      Lanes::store(to, add_row<S>(now, scale, offset, sums, m, Lanes::load(to)));
    }
  });
}

template <class S, class Unit>
void multiply_tiles(const PanelTask& task) {
  const PreparedRows& x = *task.rows;
  const Panels<1> panels = panels_of<1>(task);
  const size_t columns = x.padded_columns;
  const Tiles tiles(x.rows, kMostTile);
  clear_sums(panels, x.rows);
  Unit::configure(kGroup / S::kHalves);
  for (size_t k = 0; k < columns; k += kStage) {
    const size_t part = columns - k < kStage ? columns - k : kStage;
    unpack_signed<S>(task.panel + k / S::kBlock * S::kBytes, part, task.stage);
    for (size_t t = 0; t < tiles.count; ++t) {
      const size_t first = tiles.first(t), rows = tiles.rows(t);
      add_tile<S, Unit>(task.stage, part / kGroup, x.groups + first * num_groups(x) + k / kGroup * rows, rows, task.y + first * kLanes);
    }
    for (size_t g = 0; g < part / kGroup; ++g)
      add_group_remainders<S, Unit>(task.stage + g * Unpacked<S>::kBytes, k / kGroup + g, x, task.rest);
  }
  Unit::release();
  finish_integer<S>(panels, x);
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
  k.direct_tile = 0;
  set_integer_kernels<ByTiles<Unit>::template Multiply>(k.multiply);
  return k;
}

}  // namespace
}  // namespace quern::cpu
