// Products of integer and of bf16 weights by the tile unit of AMX.
#include "backend/cpu/lanes_avx512.h"
// After its lanes.
#include "backend/cpu/tile_kernels.h"

namespace quern::cpu {
namespace {

// What is at `p` is in memory: GCC 12's intrinsics do not say that they read it.
void written(const void* p) { asm volatile("" ::"r"(p) : "memory"); }

// Two sets of tiles (sums, x, weights) take turns, so that one is loaded while the other is multiplied.
struct TileUnit {
  struct Shapes {  // as LDTILECFG reads it
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };

  // For products over `columns` columns of signed bytes.
  static void configure(size_t columns) {
    alignas(64) Shapes shapes;
    for (int set = 0; set < 6; set += 3) {
      shapes.rows[set] = shapes.rows[set + 1] = kMostTile;
      shapes.row_bytes[set] = shapes.row_bytes[set + 2] = kVector;
      shapes.row_bytes[set + 1] = static_cast<uint16_t>(columns);
      shapes.rows[set + 2] = static_cast<uint8_t>(columns / 4);
    }
    written(&shapes);
    _tile_loadconfig(&shapes);
  }
  // For products of tiles of bf16 pairs.
  static void configure_pairs() {
    alignas(64) Shapes shapes;
    for (int tile = 0; tile < 8; ++tile) {
      shapes.rows[tile] = kMostTile;
      shapes.row_bytes[tile] = kVector;
    }
    written(&shapes);
    _tile_loadconfig(&shapes);
  }
  static void release() { _tile_release(); }

  // y of kT tiles of rows by kP panels, plus the products of `count` tiles of columns. Tiles of rows are `step` words apart in x.
  // Registers: sums 0-3 (panel, then rows), x 4-5, weights 6-7.
  template <int kP, int kT>
  static void multiply_pairs(const uint32_t* x, size_t step, const std::byte* const (&weights)[kP], size_t count, float* const (&y)[kP]) {
    constexpr size_t kTile = kMostTile * kLanes;
    written(y[0]);
    _tile_loadd(0, y[0], kVector);
    if constexpr (kT == 2) _tile_loadd(1, y[0] + kTile, kVector);
    if constexpr (kP == 2) _tile_loadd(2, y[1], kVector);
    if constexpr (kP == 2 && kT == 2) _tile_loadd(3, y[1] + kTile, kVector);
    for (size_t i = 0; i < count; ++i, x += kTileWords) {
      _tile_loadd(4, x, kVector);
      _tile_loadd(6, weights[0] + i * kTile * 4, kVector);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (kT == 2) {
        _tile_loadd(5, x + step, kVector);
        _tile_dpbf16ps(1, 5, 6);
      }
      if constexpr (kP == 2) {
        _tile_loadd(7, weights[1] + i * kTile * 4, kVector);
        _tile_dpbf16ps(2, 4, 7);
        if constexpr (kT == 2) _tile_dpbf16ps(3, 5, 7);
      }
    }
    _tile_stored(0, y[0], kVector);
    if constexpr (kT == 2) _tile_stored(1, y[0] + kTile, kVector);
    if constexpr (kP == 2) _tile_stored(2, y[1], kVector);
    if constexpr (kP == 2 && kT == 2) _tile_stored(3, y[1] + kTile, kVector);
  }

  // sums [16][16] = rows of x, a RoundedGroup apart, by vectors of weights.
  template <int kSet>
  static void multiply(const int8_t* x, const std::byte* weights, int32_t* sums) {
    written(weights);
    if constexpr (kSet == 0) {
      _tile_zero(0);
      _tile_loadd(1, x, sizeof(RoundedGroup));
      _tile_loadd(2, weights, kVector);
      _tile_dpbssd(0, 1, 2);
      _tile_stored(0, sums, kVector);
    } else {
      _tile_zero(3);
      _tile_loadd(4, x, sizeof(RoundedGroup));
      _tile_loadd(5, weights, kVector);
      _tile_dpbssd(3, 4, 5);
      _tile_stored(3, sums, kVector);
    }
  }
};

}  // namespace

constinit const PanelKernels kPanelsAmx = make_tile_kernels<TileUnit>("amx");
constinit const PanelKernels kPanelsAmxBf16 = make_pair_tile_kernels<TileUnit>("amx_bf16");

}  // namespace quern::cpu
