// Products by a unit that multiplies whole tiles (AMX): bf16 pairs, and signed bytes. Of bytes: 16 rows of x by the 16 rows of a panel,
// over one group of 32 columns (or half of one, where halves have scales) at a time. Sums are exact in 32 bits and are scaled and added as
// in panel_kernels.h, so the bits are those of its rows. A panel's vectors of codes are the unit's layout already. Included after
// panel_kernels.h: by panels_avx512_amx.cpp with the processor's unit and by tile_test.cpp with a model of it.
#pragma once
#include <cstdint>

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
  const std::byte* group;
  int half;
};

// Sums of some pieces wait here, so that the unit is pieces ahead of the additions: a sum is read long after it was written.
constexpr size_t kAheadPieces = 4;
struct alignas(64) TileSums {
  int32_t of[kAheadPieces][kMostTile * kLanes];
};

// Sums of pieces [first, end), at most kAheadPieces; piece(i) describes one.
template <class S, class Unit, class Piece>
inline void multiply_pieces(size_t first, size_t end, const Piece& piece, TileSums& sums) {
  constexpr size_t kHalfBytes = kGroup / S::kHalves;
  for (size_t i = first; i < end; ++i) {
    const TilePiece p = piece(i);
    const int8_t* x = p.x->codes + static_cast<size_t>(p.half) * kHalfBytes;
    const std::byte* weights = p.group + static_cast<size_t>(p.half) * kHalfBytes * kLanes;
    int32_t* sum = sums.of[i - first];
    if (i % 2 == 0) {
      Unit::template multiply<0>(x, weights, sum);
    } else {
      Unit::template multiply<1>(x, weights, sum);
    }
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
  const size_t count = groups * kHalves;
  const auto piece = [=](size_t i) {
    return TilePiece{x + i / kHalves * rows, stage + i / kHalves * Unpacked<S>::kBytes, static_cast<int>(i % kHalves)};
  };
  const auto end_of = [=](size_t i) { return i + kAheadPieces < count ? i + kAheadPieces : count; };
  TileSums sums[2];
  multiply_pieces<S, Unit>(0, end_of(0), piece, sums[0]);
  F y[kMostTile];  // nobody takes its address: it stays in registers
  LANES_UNROLL
  for (size_t m = 0; m < kMostTile; ++m) y[m] = m < rows ? Lanes::load(out + m * kLanes) : Lanes::zero();
  for (size_t i = 0, turn = 0; i < count; i += kAheadPieces, turn ^= 1) {
    if (i + kAheadPieces < count) multiply_pieces<S, Unit>(i + kAheadPieces, end_of(i + kAheadPieces), piece, sums[turn ^ 1]);
    for (size_t j = i; j < end_of(i); ++j) {
      const TilePiece now = piece(j);
      const F scale = scale_of<S>(now), offset = offset_of<S>(now);
      const int32_t* const of = sums[turn].of[j - i];
      LANES_UNROLL
      for (size_t m = 0; m < kMostTile; ++m) y[m] = add_row<S>(now, scale, offset, of, m, y[m]);
    }
  }
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
  const size_t count = tiles.count * kHalves;
  const RoundedGroup* const first = x.gathered + g * x.rows;
  const auto piece = [=](size_t i) { return TilePiece{first + tiles.first(i / kHalves), group, static_cast<int>(i % kHalves)}; };
  TileSums sums;
  for (size_t i = 0; i < count; i += kAheadPieces) {
    const size_t end = i + kAheadPieces < count ? i + kAheadPieces : count;
    multiply_pieces<S, Unit>(i, end, piece, sums);
    for (size_t j = i; j < end; ++j) {
      const TilePiece now = piece(j);
      const F scale = scale_of<S>(now), offset = offset_of<S>(now);
      for (size_t m = 0; m < tiles.rows(j / kHalves); ++m) {
        float* const to = rest + now.x[m].row * kLanes;
        Lanes::store(to, add_row<S>(now, scale, offset, sums.of[j - i], m, Lanes::load(to)));
      }
    }
  }
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

// Products of bf16 weights: tiles of x (PreparedRows::tile_pairs) by a panel's pairs, summed in the unit over all columns. A row's sums do
// not depend on the rows beside it, so that one row goes the same way as many. The weights of a block of columns stay in the first-level
// cache.
constexpr size_t kTilePairs = 16;                      // columns of a tile, in pairs
constexpr size_t kTileWords = kMostTile * kTilePairs;  // 4 bytes each, of a tile of x or of weights
constexpr size_t kTileBlock = 16;                      // tiles of columns

template <class Unit, int P>
inline void add_pair_tiles(const PreparedRows& x, size_t tile, size_t tiles, const std::byte* (&weights)[P], float* const (&y)[P]) {
  const size_t row_tiles = (x.rows + kMostTile - 1) / kMostTile, step = num_tiles(x) * kTileWords;
  const uint32_t* from = x.tile_pairs + tile * kTileWords;
  for (size_t t = 0; t < row_tiles; t += 2, from += 2 * step) {
    float* to[P];
    for (int p = 0; p < P; ++p) to[p] = y[p] + t * kMostTile * kLanes;
    if (t + 1 < row_tiles) {
      Unit::template multiply_pairs<P, 2>(from, step, weights, tiles, to);
    } else {
      Unit::template multiply_pairs<P, 1>(from, step, weights, tiles, to);
    }
  }
}

template <class Unit, int P>
void multiply_pair_tiles(const PanelTask& task) {
  const PreparedRows& x = *task.rows;
  const Panels<P> panels = panels_of<P>(task);
  const size_t padded = (x.columns + 15) / 16 * 16, whole = padded / (2 * kTilePairs);  // a panel has whole half tiles
  float* y[P];
  for (int p = 0; p < P; ++p) {
    y[p] = panels.y[p];
    for (size_t i = 0; i < (x.rows + kMostTile - 1) / kMostTile * kMostTile * kLanes; i += kLanes) Lanes::store(y[p] + i, Lanes::zero());
  }
  Unit::configure_pairs();
  const std::byte* weights[P];
  for (size_t tile = 0; tile < whole; tile += kTileBlock) {
    for (int p = 0; p < P; ++p) weights[p] = panels.panel[p] + tile * kTileWords * 4;
    add_pair_tiles<Unit, P>(x, tile, whole - tile < kTileBlock ? whole - tile : kTileBlock, weights, y);
  }
  if (padded % (2 * kTilePairs) != 0) {  // half a tile, zeros behind it
    for (int p = 0; p < P; ++p) {
      std::byte* to = task.stage + p * kTileWords * 4;
      for (size_t i = 0; i < kTileWords * 4; i += kVector) {
        const bool inside = i < kTileWords * 2;
        __builtin_memset(to + i, 0, kVector);
        if (inside) __builtin_memcpy(to + i, panels.panel[p] + whole * kTileWords * 4 + i, kVector);
      }
      weights[p] = to;
    }
    add_pair_tiles<Unit, P>(x, whole, 1, weights, y);
  }
  Unit::release();
}

template <class Unit>
constexpr PanelKernels make_pair_tile_kernels(const char* name) {
  PanelKernels k = make_bare_kernels(name);
  k.floats = FloatRows::tiles;
  k.direct_tile = 0;
  k.multiply[static_cast<size_t>(Format::bf16)] = multiply_pair_tiles<Unit, 1>;
  k.multiply_two[static_cast<size_t>(Format::bf16)] = multiply_pair_tiles<Unit, 2>;
  return k;
}

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
