// y = x w^T for up to 8 rows of f16 x, with the sums of stream_kernel.cuh to the bit. A cluster of eight blocks, one for each slice of K,
// takes eight tiles of 16 output features at a time, one a warp, and goes on to its next ones without a pause: a warp's copies run ahead
// across rounds. The block's slice of x lies in shared memory. A round's sums meet in the blocks' shared memory: block r finishes the tile
// of every block's warp r, by its warps in turn, while the others are a round ahead.
#pragma once
#include "backend/cuda/launch.h"
#include "backend/cuda/stream_finish.cuh"

namespace quern::cuda {

constexpr int kClusterWarps = 8, kClusterTokens = 8;
constexpr int kClusterRounds = 3;  // whose sums have room: a warp finishes sums after it has handed on its own
static_assert(kClusterWarps == kSlices);

template <class W, int kDepth>
struct ClusterSmem {
  static constexpr size_t kCopies = size_t{kDepth} * kClusterWarps * W::kBytes;
  static constexpr size_t kSums = size_t{kClusterWarps} * kWarp * sizeof(float4);  // of a round
  // Of the longest slice, from one token to the next: 64 more than a multiple of 128, so that two rows meet no bank twice.
  static constexpr int x_stride(int columns) { return (columns / kUnitColumns + kSlices - 1) / kSlices * kUnitColumns * 2 + 64; }
  static constexpr size_t bytes(int columns) {
    return kCopies + kClusterRounds * kSums + static_cast<size_t>(kClusterTokens) * static_cast<size_t>(x_stride(columns));
  }
};

template <class W, int kDepth>
__global__ void __launch_bounds__(kClusterWarps* kWarp, 2) cluster_product(const __grid_constant__ StreamArgs a) {
  using Smem = ClusterSmem<W, kDepth>;
  let_next_start();
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp, lane = thread % kWarp, g = lane / 4, t = lane % 4;
  const int slice = static_cast<int>(cluster_rank()), cluster = static_cast<int>(blockIdx.x) / kSlices;
  const int clusters = static_cast<int>(gridDim.x) / kSlices;
  const int rounds = (a.num_tiles - cluster + clusters * kClusterWarps - 1) / (clusters * kClusterWarps);  // of the cluster's first warp
  unsigned char* const slots = dynamic_smem() + warp * kDepth * W::kBytes;
  auto* const meeting = reinterpret_cast<float4*>(dynamic_smem() + Smem::kCopies);
  unsigned char* const x = dynamic_smem() + Smem::kCopies + kClusterRounds * Smem::kSums;
  const int x_stride = Smem::x_stride(a.columns);
  const int begin = slice_begin<W>(a.columns, slice), stages = slice_begin<W>(a.columns, slice + 1) - begin;
  const uint64_t policy = evict_first_policy();
  const auto tile_of = [&](int round, int of_warp) { return (round * kClusterWarps + of_warp) * clusters + cluster; };

  // Copies run ahead of the products by kDepth - 1 stages, into the next rounds.
  int next_tile = stages == 0 ? a.num_tiles : tile_of(0, warp), next_stage = 0;
  TileSource source = tile_source<W>(a, min(next_tile, a.num_tiles - 1));
  const auto copy_next = [&](int slot) {
    if (next_tile < a.num_tiles) {
      W::copy(slots + slot * W::kBytes, source, begin + next_stage, a.columns, lane, policy);
      if (++next_stage == stages) {
        next_stage = 0;
        next_tile += kClusterWarps * clusters;
        if (next_tile < a.num_tiles) source = tile_source<W>(a, next_tile);
      }
    }
    copy_commit();
  };
  for (int i = 0; i < kDepth - 1; ++i) copy_next(i);
  wait_for_previous();
  const int x_chunks = stages * W::kColumns / 8;  // of 16 bytes a row
  for (int m = warp; m < kClusterTokens; m += kClusterWarps) {
    const auto token = static_cast<size_t>(a.first_token + min(m, a.num_tokens - 1));
    const uint16_t* const row = a.x + token * static_cast<size_t>(a.columns) + static_cast<size_t>(begin * W::kColumns);
#pragma unroll 4
    for (int i = lane; i < x_chunks; i += kWarp) *reinterpret_cast<uint4*>(x + m * x_stride + i * 16) = load16(row + i * 8);
  }
  sync_block();

  // The tile of warp `slice` of every block: its eight sums, added as ((01 + 23) + 45) + 67.
  const auto finish = [&](int round) {
    const int tile = tile_of(round, slice);
    if (warp != round % kClusterWarps || tile >= a.num_tiles) return;
    const float4* const sums = meeting + (round % kClusterRounds * kClusterWarps + slice) * kWarp + lane;
    float4 parts[kSlices];
#pragma unroll
    for (uint32_t block = 0; block < kSlices; ++block) parts[block] = load_cluster16(sums, block);
    const FinishInputs inputs = load_finish<W>(a, tile, 0, lane);
    float4 total = {};
#pragma unroll
    for (int pair = 0; pair < kSlices / 2; ++pair) {
      const float4 &p = parts[2 * pair], &q = parts[2 * pair + 1];
      const float4 sum = make_float4(p.x + q.x, p.y + q.y, p.z + q.z, p.w + q.w);
      total = pair == 0 ? sum : make_float4(total.x + sum.x, total.y + sum.y, total.z + sum.z, total.w + sum.w);
    }
    finish_tile(a, tile, 0, lane, total, inputs);
  };

  const unsigned char* const x_lane = x + g * x_stride + t * 16;
  int slot = 0;
  for (int round = 0; round <= rounds; ++round) {
    float4 sums[1][1] = {};
    if (round < rounds && tile_of(round, warp) < a.num_tiles) {
      for (int stage = 0; stage < stages; ++stage) {
        copy_wait<kDepth - 2>();
        sync_warp();
        const unsigned char* const x_stage = x_lane + stage * W::kColumns * 2;
        W::multiply(
            slots + slot * W::kBytes, lane, [&](int j, int) { return load16(x_stage + j * 64); }, sums);
        copy_next(slot == 0 ? kDepth - 1 : slot - 1);  // the slot that the stage before this one used
        slot = slot == kDepth - 1 ? 0 : slot + 1;
      }
    }
    if (round > 0) wait_cluster();  // all have handed on the round before this one, and have finished the one before that
    if (round < rounds) {
      meeting[(round % kClusterRounds * kClusterWarps + warp) * kWarp + lane] = sums[0][0];
      arrive_cluster();
    }
    if (round > 0) finish(round - 1);
  }
  copy_wait<0>();
  sync_cluster();  // no block ends while another reads its shared memory
}

template <class W>
void run_clusters(const StreamArgs& a, CudaStream& stream) {
  constexpr int kDepth = W::kBytes < 2048 ? 9 : 5;
  const int most = stream.info->num_sms / kSlices, wanted = (a.num_tiles + kClusterWarps - 1) / kClusterWarps;
  const auto blocks = static_cast<unsigned>(std::clamp(most, 1, std::max(wanted, 1)) * kSlices);
  launch("cluster_product", &cluster_product<W, kDepth>, {blocks, kClusterWarps * kWarp, ClusterSmem<W, kDepth>::bytes(a.columns), kSlices},
         stream, a);
}

}  // namespace quern::cuda
