// y = x w^T for up to 64 rows of f16 x, with the sums of stream_kernel.cuh to the bit. A cluster of four blocks takes 4 * kTiles tiles
// of 16 output features, each block a quarter of K: warp 4 s + r has tiles r * kTiles .. of slice 2 * rank + s. A warp copies its own
// weights; x is shared by the four warps of a slice. The blocks then exchange sums through each other's shared memory and each finishes
// a quarter.
#pragma once
#include "backend/cuda/cluster_kernel.cuh"
#include "backend/cuda/launch.h"
#include "backend/cuda/stream_finish.cuh"

namespace quern::cuda {

constexpr int kTileWarps = 8, kRowWarps = 4, kClusterBlocks = 4;
static_assert(kClusterBlocks * kTileWarps / kRowWarps == kSlices);

template <class W, int kTiles, int kTokenTiles, int kDepth>
struct TileShape {
  static constexpr int kChunks = W::kColumns / 8;                    // of 16 bytes a row and stage of x
  static constexpr int kXBytes = kTokenTiles * 8 * W::kColumns * 2;  // of a stage and slice
  static constexpr int kWeightBytes = kTiles * W::kBytes;            // of a stage and warp
  static constexpr size_t kSums = size_t{kRowWarps} * kTiles * kTokenTiles * kWarp * sizeof(float4);
  static constexpr size_t kCopies = size_t{kDepth} * (kTileWarps * kWeightBytes + 2 * kXBytes);
  static constexpr size_t kSmem = kCopies > 2 * kSums ? kCopies : 2 * kSums;
};

// Blocks of a multiprocessor at once. They are short: a third hides the beginning and the end of the others where registers allow it.
constexpr int tile_blocks(int bits, int token_tiles) { return token_tiles > 4 ? 1 : token_tiles == 1 && bits == 16 ? 3 : 2; }

template <class W, int kTiles, int kTokenTiles, int kDepth>
__global__ void __launch_bounds__(kTileWarps* kWarp, tile_blocks(W::kBits, kTokenTiles))
    tile_product(const __grid_constant__ StreamArgs a) {
  using S = TileShape<W, kTiles, kTokenTiles, kDepth>;
  let_next_start();
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int slice_warp = warp / kRowWarps, row_warp = warp % kRowWarps;
  const int rank = static_cast<int>(cluster_rank()), slice = 2 * rank + slice_warp;
  const int first_tile = static_cast<int>(blockIdx.x) / kClusterBlocks * kRowWarps * kTiles;
  unsigned char* const slots = dynamic_smem() + warp * kDepth * S::kWeightBytes;
  unsigned char* const x_slots = dynamic_smem() + kTileWarps * kDepth * S::kWeightBytes + slice_warp * kDepth * S::kXBytes;
  const int begin = slice_begin<W>(a.columns, slice), stages = slice_begin<W>(a.columns, slice + 1) - begin;
  const uint64_t policy = evict_first_policy();

  TileSource sources[kTiles];
#pragma unroll
  for (int m = 0; m < kTiles; ++m) sources[m] = tile_source<W>(a, min(first_tile + row_warp * kTiles + m, a.num_tiles - 1));
  const auto copy_weights = [&](int stage) {
    if (stage >= stages) return;
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
      W::copy(slots + stage % kDepth * S::kWeightBytes + m * W::kBytes, sources[m], begin + stage, a.columns, lane, policy);
    }
  };
  const int thread = row_warp * kWarp + lane;  // of the slice
  const auto copy_x = [&](int stage) {
    if (stage >= stages) return;
    unsigned char* const to = x_slots + stage % kDepth * S::kXBytes;
    for (int i = thread; i < kTokenTiles * 8 * S::kChunks; i += kRowWarps * kWarp) {
      const int m = i / S::kChunks, chunk = i % S::kChunks;
      const auto token = static_cast<size_t>(a.first_token + min(m, a.num_tokens - 1));
      copy16(to + m * W::kColumns * 2 + (chunk ^ (m % 2 * 4)) * 16,
             a.x + token * static_cast<size_t>(a.columns) + static_cast<size_t>((begin + stage) * W::kColumns + chunk * 8));
    }
  };
  for (int i = 0; i < kDepth - 1; ++i) copy_weights(i);
  wait_for_previous();
  for (int i = 0; i < kDepth - 1; ++i) {
    copy_x(i);
    copy_commit();
  }

  const int g = lane / 4, t = lane % 4;
  float4 sums[kTiles][kTokenTiles] = {};
  for (int stage = 0; stage < stages; ++stage) {
    copy_wait<kDepth - 2>();
    sync_threads(1 + slice_warp, kRowWarps * kWarp);  // x of this stage is there for all; the stage before it is no longer read
    const unsigned char* const x = x_slots + stage % kDepth * S::kXBytes + g * W::kColumns * 2;
    W::multiply(
        slots + stage % kDepth * S::kWeightBytes, lane,
        [&](int j, int n) { return load16(x + n * 8 * W::kColumns * 2 + ((4 * j + t) ^ (g % 2 * 4)) * 16); }, sums);
    copy_weights(stage + kDepth - 1);
    copy_x(stage + kDepth - 1);
    copy_commit();
  }
  copy_wait<0>();
  sync_block();

  // Slices 2 rank and 2 rank + 1 are added in this block, the four blocks' sums in order of rank.
  auto* const meeting = reinterpret_cast<float4*>(dynamic_smem());
  const auto place = [&](int m, int n) { return ((row_warp * kTiles + m) * kTokenTiles + n) * kWarp + lane; };
  if (slice_warp == 1) {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) meeting[place(m, n)] = sums[m][n];
    }
  }
  sync_block();
  if (slice_warp == 0) {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
        float4& other = meeting[place(m, n)];
        other = make_float4(sums[m][n].x + other.x, sums[m][n].y + other.y, sums[m][n].z + other.z, sums[m][n].w + other.w);
      }
    }
  }
  sync_block();
  sync_cluster();
  constexpr int kPieces = kRowWarps * kTiles * kTokenTiles;
  for (int piece = rank + kClusterBlocks * warp; piece < kPieces; piece += kClusterBlocks * kTileWarps) {
    const float4* const at = meeting + piece * kWarp + lane;
    const FinishInputs inputs = load_finish<W>(a, min(first_tile + piece / kTokenTiles, a.num_tiles - 1), piece % kTokenTiles * 8, lane);
    float4 total = load_cluster16(at, 0);
#pragma unroll
    for (uint32_t block = 1; block < kClusterBlocks; ++block) {
      const float4 part = load_cluster16(at, block);
      total = make_float4(total.x + part.x, total.y + part.y, total.z + part.z, total.w + part.w);
    }
    const int tile = first_tile + piece / kTokenTiles;
    if (tile < a.num_tiles) finish_tile(a, tile, piece % kTokenTiles * 8, lane, total, inputs);
  }
  sync_cluster();  // no block ends while another reads its shared memory
}

template <class W, int kTiles, int kTokenTiles, int kDepth>
void run_tile_shape(const StreamArgs& a, CudaStream& stream) {
  constexpr int kTilesPerCluster = kRowWarps * kTiles;
  const unsigned clusters = static_cast<unsigned>((a.num_tiles + kTilesPerCluster - 1) / kTilesPerCluster);
  launch("tile_product", &tile_product<W, kTiles, kTokenTiles, kDepth>,
         {clusters * kClusterBlocks, kTileWarps * kWarp, TileShape<W, kTiles, kTokenTiles, kDepth>::kSmem, kClusterBlocks}, stream, a);
}

// kWide: tiles a warp for more than 16 tokens, at most.
template <class W, int kWide>
void run_tiles(const StreamArgs& a, CudaStream& stream) {
  // Up to 8 tokens and not too long a row, clusters read large weights faster; 4-bit codes are unpacked faster here.
  if constexpr (W::kBits > 4) {
    if (a.num_tokens <= 8 && a.columns <= 8192 && (W::kBits == 16 || a.num_tiles >= 512)) return run_clusters<W>(a, stream);
  }
  if (a.num_tokens <= 8) return run_tile_shape<W, 1, 1, 4>(a, stream);
  if (a.num_tokens <= 16) return run_tile_shape<W, 1, 2, 4>(a, stream);
  if (a.num_tokens > 32) return run_tile_shape<W, kWide, 8, 3>(a, stream);
  if constexpr (kWide == 1) {
    run_tile_shape<W, 1, 4, 4>(a, stream);
  } else {
    // Two tiles a warp read x half as often. 4-bit codes have more to compute: where one tile a warp fills the device, that is faster.
    if constexpr (W::kBits == 4) {
      if (a.num_tiles <= 2 * stream.info->num_sms) return run_tile_shape<W, 1, 4, 4>(a, stream);
    }
    run_tile_shape<W, kWide, 4, 3>(a, stream);
  }
}

}  // namespace quern::cuda
