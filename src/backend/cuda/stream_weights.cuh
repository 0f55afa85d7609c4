// Weights as the stream kernels read them: stages of kColumns columns of 16 rows, copied to shared memory in the background by the warp
// that multiplies them. The 16 rows of a tile are two granules of 8 rows that need not be neighbours: row g of lane 4 g + t comes from
// the first, row g + 8 from the second. Column 32 j + 8 t + i of a stage is matrix column 2 t + i % 2 + 8 (i / 2 % 2) of instruction
// 2 j + i / 4, for weights and x alike, so that 16 bytes of x feed two instructions.
#pragma once
#include "backend/cuda/granules.cuh"
#include "backend/cuda/stream.h"

namespace quern::cuda {

// Where the two granules of a tile begin.
struct TileSource {
  const std::byte *codes[2], *scales[2];
};

// A fragment of 16 x 32 weights in f16: registers of two matrix instructions.
struct Fragment {
  uint32_t low[4], high[4];  // rows g and g + 8, pairs i = 0 1, 2 3, 4 5, 6 7
};
QUERN_DEVICE void multiply_fragment(float4& sum, const Fragment& w, const uint4& x) {
  mma_f16(sum, w.low[0], w.high[0], w.low[1], w.high[1], x.x, x.y);
  mma_f16(sum, w.low[2], w.high[2], w.low[3], w.high[3], x.z, x.w);
}
QUERN_DEVICE void add_scaled(float4& sum, const float4& part, float low, float high) {
  sum.x = fmaf(part.x, low, sum.x);
  sum.y = fmaf(part.y, low, sum.y);
  sum.z = fmaf(part.z, high, sum.z);
  sum.w = fmaf(part.w, high, sum.w);
}

// f16 rows in memory order. A stage is 128 bytes of each row, so that whole lines are read; its 16-byte chunks are exchanged between
// even and odd rows (chunk ^ 4), which keeps reads free of bank conflicts.
struct HalfWeights {
  static constexpr int kBits = 16, kColumns = 64, kBytes = 2048;
  static constexpr bool kHasRowScales = false;
  static constexpr size_t granule_bytes(int columns) { return static_cast<size_t>(columns) * 16; }
  static constexpr size_t scale_bytes(int) { return 0; }

  QUERN_DEVICE static void copy(unsigned char* slot, const TileSource& tile, int stage, int columns, int lane, uint64_t policy) {
    const int chunk = lane % 8;
    const size_t row_bytes = static_cast<size_t>(columns) * 2, offset = static_cast<size_t>(stage) * 128 + static_cast<size_t>(chunk) * 16;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 8 + 4 * i;
      copy16(slot + row * 128 + (chunk ^ (row % 2 * 4)) * 16, tile.codes[i / 2] + static_cast<size_t>(row % 8) * row_bytes + offset,
             policy);
    }
  }
  // sums[m][n] += tile m of the stage at slots + m * kBytes, times x fragments x(j, n).
  template <int kTiles, int kTokenTiles, class X>
  QUERN_DEVICE static void multiply(const unsigned char* slots, int lane, const X& x, float4 (&sums)[kTiles][kTokenTiles]) {
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      uint4 xs[kTokenTiles];
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) xs[n] = x(j, n);
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        const unsigned char* const at = slots + m * kBytes + g * 128 + ((4 * j + t) ^ (g % 2 * 4)) * 16;
        const uint4 low = load16(at), high = load16(at + 1024);
        const Fragment w = {{low.x, low.y, low.z, low.w}, {high.x, high.y, high.z, high.w}};
#pragma unroll
        for (int n = 0; n < kTokenTiles; ++n) multiply_fragment(sums[m][n], w, xs[n]);
      }
    }
  }
};

// Granules of kBits-bit codes. kGroups scales a row and granule (0: one a row, applied at the end), each with its zero point if kZeros.
template <int kCodeBits, int kGroups, bool kZeros>
struct GranuleWeights {
  static constexpr int kBits = kCodeBits, kColumns = kBits == 4 ? 128 : 64, kBlocks = kColumns / 32;  // blocks of 32 columns
  static constexpr int kEntry = kZeros ? 4 : 2, kScaleBytes = 8 * kGroups * kEntry;                   // of a granule
  static constexpr int kBytes = 1024 + 2 * kScaleBytes;
  static constexpr bool kHasRowScales = kGroups == 0;
  static constexpr size_t granule_bytes(int columns) { return static_cast<size_t>(columns) * kBits; }
  static constexpr size_t scale_bytes(int columns) { return kGroups == 0 ? 32 : static_cast<size_t>(columns / kColumns) * kScaleBytes; }

  QUERN_DEVICE static void copy(unsigned char* slot, const TileSource& tile, int stage, int, int lane, uint64_t policy) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      copy16(slot + i * 512 + lane * 16, tile.codes[i] + static_cast<size_t>(stage) * 512 + static_cast<size_t>(lane) * 16, policy);
    }
    constexpr int kChunks = kScaleBytes / 16;
    if constexpr (kGroups != 0) {
      if (lane < 2 * kChunks) {
        const std::byte* const scales = lane < kChunks ? tile.scales[0] : tile.scales[1];
        copy16(slot + 1024 + lane * 16, scales + static_cast<size_t>(stage) * kScaleBytes + static_cast<size_t>(lane % kChunks) * 16,
               policy);
      }
    }
  }

  template <int kTiles, int kTokenTiles, class X>
  QUERN_DEVICE static void multiply(const unsigned char* slots, int lane, const X& x, float4 (&sums)[kTiles][kTokenTiles]) {
    constexpr int kGroupBlocks = kGroups == 0 ? kBlocks : kBlocks / kGroups;
    uint4 codes[kTiles][2];
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
      codes[m][0] = load16(slots + m * kBytes + lane * 16);
      codes[m][1] = load16(slots + m * kBytes + 512 + lane * 16);
    }
#pragma unroll
    for (int group = 0; group < (kGroups == 0 ? 1 : kGroups); ++group) {
      float4 parts[kTiles][kTokenTiles] = {};
      Scale low[kTiles], high[kTiles];
      if constexpr (kGroups != 0) {
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
          const unsigned char* const at = slots + m * kBytes + 1024 + (lane / 4 * kGroups + group) * kEntry;
          low[m] = read_scale(at);
          high[m] = read_scale(at + kScaleBytes);
        }
      }
#pragma unroll
      for (int j = group * kGroupBlocks; j < (group + 1) * kGroupBlocks; ++j) {
        uint4 xs[kTokenTiles];
#pragma unroll
        for (int n = 0; n < kTokenTiles; ++n) xs[n] = x(j, n);
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
          Fragment w;
          unpack(codes[m][0], j, low[m], w.low);
          unpack(codes[m][1], j, high[m], w.high);
#pragma unroll
          for (int n = 0; n < kTokenTiles; ++n) multiply_fragment(kGroups == 0 ? sums[m][n] : parts[m][n], w, xs[n]);
        }
      }
      if constexpr (kGroups != 0) {
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
#pragma unroll
          for (int n = 0; n < kTokenTiles; ++n) add_scaled(sums[m][n], parts[m][n], low[m].scale, high[m].scale);
        }
      }
    }
  }

 private:
  struct Scale {
    float scale;
    uint32_t offset, high_offset;  // 1024 + zero, and -(64 + zero), twice
  };
  QUERN_DEVICE static Scale read_scale(const unsigned char* at) {
    if constexpr (kZeros) {
      const uint32_t entry = *reinterpret_cast<const uint32_t*>(at), offset = permute_bytes(entry, 0, 0x3232);
      return {float_from_half(static_cast<uint16_t>(entry)), offset, half2_subtract(0x63806380, offset)};  // 960 - (1024 + zero)
    } else {
      return {float_from_half(*reinterpret_cast<const uint16_t*>(at)), 0, 0};
    }
  }
  QUERN_DEVICE static uint32_t word(const uint4& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }
  QUERN_DEVICE static void unpack(const uint4& codes, int j, const Scale& scale, uint32_t (&pairs)[4]) {
    if constexpr (kBits == 4) {
      unpack_u4(word(codes, j), kZeros ? scale.offset : 0x64086408, kZeros ? scale.high_offset : 0xd480d480, pairs);  // 1032, -72
    } else {
      unpack_u8(word(codes, 2 * j), pairs[0], pairs[1]);
      unpack_u8(word(codes, 2 * j + 1), pairs[2], pairs[3]);
    }
  }
};

// The slices of K, in stages of W.
template <class W>
QUERN_DEVICE int slice_begin(int columns, int slice) {
  return columns / kUnitColumns * slice / kSlices * (kUnitColumns / W::kColumns);
}

// Which rows a tile has: granule of each half, in the part that it belongs to.
struct TileRows {
  int part[2], granule[2];
};
QUERN_DEVICE TileRows tile_rows(const StreamArgs& a, int tile) {
  if (a.op == StreamOp::linear) return {{0, 0}, {2 * tile, 2 * tile + 1}};
  if (a.op == StreamOp::gate_up) return {{0, 1}, {tile, tile}};
  // Tiles of a head pair dimension d with d + head_dim / 2, as rope does.
  const int tiles_per_head = a.kv.head_dim / 16, head = tile / tiles_per_head, i = tile % tiles_per_head;
  const int part = head < a.num_heads ? 0 : head < a.num_heads + a.kv.num_kv_heads ? 1 : 2;
  const int first = (head - (part == 0 ? 0 : part == 1 ? a.num_heads : a.num_heads + a.kv.num_kv_heads)) * 2 * tiles_per_head + i;
  return {{part, part}, {first, first + tiles_per_head}};
}
template <class W>
QUERN_DEVICE TileSource tile_source(const StreamArgs& a, int tile) {
  const TileRows rows = tile_rows(a, tile);
  TileSource source;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    source.codes[i] = a.codes[rows.part[i]] + static_cast<size_t>(rows.granule[i]) * W::granule_bytes(a.columns);
    source.scales[i] = a.scales[rows.part[i]] + static_cast<size_t>(rows.granule[i]) * W::scale_bytes(a.columns);
  }
  return source;
}

}  // namespace quern::cuda
