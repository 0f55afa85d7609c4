// y = x w^T for up to 8 rows: one block a multiprocessor, each of its 8 warps a slice of K, tiles of 16 output features dealt to the
// blocks in turn and summed kTiles at a time. Each warp keeps kDepth - 1 stages of weights on the way, across tiles, from before the kernel
// before this one has ended; the 16 bytes that a lane copies are (but for f16 and scales) the 16 it multiplies. The slices of a tile meet
// in shared memory, where one warp in turn finishes it while the others go on. x lies in shared memory, normed by every block for itself.
#pragma once
#include "backend/cuda/launch.h"
#include "backend/cuda/norm.cuh"
#include "backend/cuda/placement.h"
#include "backend/cuda/stream_finish.cuh"

namespace quern::cuda {

constexpr int kStreamThreads = kSlices * kWarp;
// Sums of kTiles tiles, twice: of those that are being finished and of those that are being made.
constexpr size_t partial_bytes(int tiles) { return static_cast<size_t>(2 * tiles * kSlices * kWarp) * sizeof(float4); }
static_assert(kStreamThreads == kNormThreads);

// Bytes from one row of x in shared memory to the next: 64 more than a multiple of 128, so that two rows meet no bank twice.
constexpr int x_stride(int columns) { return columns * 2 + 64; }

// The norm's weights of this thread, fetched before the kernel before this one has ended.
constexpr int kVectors = 5;  // of 4 columns a thread: rows of up to 5120 columns stay in registers
struct NormWeights {
  float4 of[kVectors];
};
QUERN_DEVICE int column_of(int vector) { return 4 * (static_cast<int>(threadIdx.x) + vector * kStreamThreads); }
QUERN_DEVICE void load_row(const float* row, int columns, float4 (&values)[kVectors]) {
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (column_of(i) < columns) values[i] = *reinterpret_cast<const float4*>(row + column_of(i));
  }
}

QUERN_DEVICE void stage_plain(const StreamArgs& a, unsigned char* x) {
  const int stride = x_stride(a.columns);
  for (int m = 0; m < a.num_tokens; ++m) {
    const uint16_t* const row = a.x + static_cast<size_t>(a.first_token + m) * static_cast<size_t>(a.columns);
#pragma unroll 4
    for (int k = 8 * static_cast<int>(threadIdx.x); k < a.columns; k += 8 * kStreamThreads) {
      *reinterpret_cast<uint4*>(x + m * stride + k * 2) = *reinterpret_cast<const uint4*>(row + k);
    }
  }
}

QUERN_DEVICE void store_normed(unsigned char* x, int column, float factor, const float4& v, const float4& w) {
  *reinterpret_cast<uint2*>(x + column * 2) = make_uint2(half2_from(normed(v.x, factor, w.x), normed(v.y, factor, w.y)),
                                                         half2_from(normed(v.z, factor, w.z), normed(v.w, factor, w.w)));
}

// x of the launch as f16 rows in shared memory. `sums`: room for kSlices floats a row.
QUERN_DEVICE void stage_input(const StreamArgs& a, const NormWeights& weights, unsigned char* x, float* sums) {
  if (a.x != nullptr) return stage_plain(a, x);
  const int thread = static_cast<int>(threadIdx.x), stride = x_stride(a.columns);
  const auto h_row = [&](int m) {
    const int row = a.h_rows == nullptr ? a.first_token + m : a.h_rows[a.first_token + m];
    return a.h + static_cast<size_t>(row) * static_cast<size_t>(a.columns);
  };
  const bool is_short = a.columns <= 4 * kVectors * kStreamThreads;
  float4 values[kVectors];
  for (int m = 0; m < a.num_tokens; ++m) {
    float part = 0;
    if (is_short) {
      load_row(h_row(m), a.columns, values);
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {  // the order of partial_squares
        const float4 v = values[i];
        if (column_of(i) < a.columns) part = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, part))));
      }
    } else {
      part = partial_squares(h_row(m), a.columns);
    }
    const float sum = warp_sum(part);
    if (thread % kWarp == 0) sums[m * kNormWarps + thread / kWarp] = sum;
  }
  sync_block();
  for (int m = 0; m < a.num_tokens; ++m) {
    const float factor = inverse_rms(sums + m * kNormWarps, a.columns, a.epsilon);
    if (!is_short) {
      for (int k = 4 * thread; k < a.columns; k += 4 * kStreamThreads) {
        store_normed(x + m * stride, k, factor, *reinterpret_cast<const float4*>(h_row(m) + k),
                     *reinterpret_cast<const float4*>(a.norm + k));
      }
      continue;
    }
    if (a.num_tokens > 1) load_row(h_row(m), a.columns, values);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (column_of(i) < a.columns) store_normed(x + m * stride, column_of(i), factor, values[i], weights.of[i]);
    }
  }
}

template <class W, int kTiles, int kDepth>
__global__ void __launch_bounds__(kStreamThreads, 2) stream_product(const __grid_constant__ StreamArgs a) {
  constexpr int kSlotBytes = kTiles * W::kBytes;
  let_next_start();
  if (static_cast<int>(blockIdx.x) >= a.num_tiles) return wait_for_previous();
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int tile_step = static_cast<int>(gridDim.x);
  unsigned char* const partials = dynamic_smem();
  unsigned char* const slots = partials + partial_bytes(kTiles) + warp * kDepth * kSlotBytes;
  unsigned char* const x = partials + partial_bytes(kTiles) + kSlices * kDepth * kSlotBytes;
  const int begin = slice_begin<W>(a.columns, warp), stages = slice_begin<W>(a.columns, warp + 1) - begin;
  const uint64_t policy = evict_first_policy();

  // The copies run ahead of the products by kDepth - 1 stages, into the next tiles of this block.
  int next_tile = static_cast<int>(blockIdx.x), next_stage = 0;
  if (stages == 0) next_tile = a.num_tiles;
  TileSource sources[kTiles];
  const auto find_sources = [&] {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) sources[m] = tile_source<W>(a, min(next_tile + m * tile_step, a.num_tiles - 1));
  };
  find_sources();
  const auto copy_next = [&](int slot) {
    if (next_tile < a.num_tiles) {
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        if (m > 0 && next_tile + m * tile_step >= a.num_tiles) break;
        W::copy(slots + slot * kSlotBytes + m * W::kBytes, sources[m], begin + next_stage, a.columns, lane, policy);
      }
      if (++next_stage == stages) {
        next_stage = 0;
        next_tile += kTiles * tile_step;
        if (next_tile < a.num_tiles) find_sources();
      }
    }
    copy_commit();
  };
  for (int i = 0; i < kDepth - 1; ++i) copy_next(i);

  NormWeights weights;
  if (a.norm != nullptr) load_row(a.norm, a.columns, weights.of);
  wait_for_previous();
  stage_input(a, weights, x, reinterpret_cast<float*>(partials));
  sync_block();

  const unsigned char* const x_lane = x + min(lane / 4, a.num_tokens - 1) * x_stride(a.columns) + lane % 4 * 16 + begin * W::kColumns * 2;
  int slot = 0, turn = 0, half = 0;
  for (int tile = static_cast<int>(blockIdx.x); tile < a.num_tiles; tile += kTiles * tile_step) {
    // Warp turn + m finishes tile m.
    const int mine = warp - turn, my_tile = tile + mine * tile_step;
    const bool finishes = mine >= 0 && mine < kTiles && my_tile < a.num_tiles;
    FinishInputs inputs;
    if (finishes) inputs = load_finish<W>(a, my_tile, 0, lane);
    float4 sums[kTiles][1] = {};
    for (int stage = 0; stage < stages; ++stage) {
      copy_wait<kDepth - 2>();
      sync_warp();
      const unsigned char* const x_stage = x_lane + stage * W::kColumns * 2;
      W::multiply(
          slots + slot * kSlotBytes, lane, [&](int j, int) { return load16(x_stage + j * 64); }, sums);
      copy_next(slot == 0 ? kDepth - 1 : slot - 1);  // the slot that the stage before this one used
      slot = slot == kDepth - 1 ? 0 : slot + 1;
    }
    auto* const meeting = reinterpret_cast<float4*>(partials) + half * kTiles * kSlices * kWarp;
#pragma unroll
    for (int m = 0; m < kTiles; ++m) meeting[(m * kSlices + warp) * kWarp + lane] = sums[m][0];
    sync_block();
    if (finishes) {
      const float4* const parts = meeting + mine * kSlices * kWarp;
      float4 total = {};
#pragma unroll
      for (int pair = 0; pair < kSlices / 2; ++pair) {
        const float4 p = parts[2 * pair * kWarp + lane], q = parts[(2 * pair + 1) * kWarp + lane];
        const float4 sum = make_float4(p.x + q.x, p.y + q.y, p.z + q.z, p.w + q.w);
        total = pair == 0 ? sum : make_float4(total.x + sum.x, total.y + sum.y, total.z + sum.z, total.w + sum.w);
      }
      finish_tile(a, my_tile, 0, lane, total, inputs);
    }
    turn = turn + kTiles == kSlices ? 0 : turn + kTiles;
    half ^= 1;
  }
}

// Shared memory of the variant of kDepth stages for `tokens` rows of `columns`.
template <class W, int kTiles, int kDepth>
constexpr size_t stream_smem(int columns, int tokens) {
  return partial_bytes(kTiles) + static_cast<size_t>(kSlices * kDepth * kTiles * W::kBytes) +
         static_cast<size_t>(tokens) * static_cast<size_t>(x_stride(columns));
}

template <class W, int kTiles, int kDepth>
void launch_depth(const StreamArgs& a, CudaStream& stream) {
  const unsigned blocks = even_blocks(static_cast<unsigned>(std::min(stream.info->num_sms, a.num_tiles)), stream);
  const bool is_alone = a.norm != nullptr && stream.overlaps_launches;  // qkv, gate_up, head: never one after the other
  const size_t smem = stream_smem<W, kTiles, kDepth>(a.columns, a.num_tokens);
  launch("stream_product", &stream_product<W, kTiles, kDepth>, {blocks, kStreamThreads, is_alone ? std::max(smem, kAloneSmem) : smem},
         stream, a);
}

// kTiles: so many that a stage's sums do not wait for each other. The most stages that leave the next kernel's block room beside this one;
// where none does, the most that fit.
template <class W, int kTiles>
void run_stream(const StreamArgs& a, CudaStream& stream) {
  if constexpr (kTiles > 1) {
    if (stream.info->smem_per_block < kTwoTilesSmem) return run_stream<W, 1>(a, stream);
  }
  constexpr bool kIsSmall = kTiles * W::kBytes < 2048;  // bytes of a stage
  constexpr int kDeep = kIsSmall ? 8 : W::kBits == 4 ? 4 : 5, kMiddle = 4, kShallow = kIsSmall ? 4 : 3;
  const size_t beside = std::min(kBesideSmem, stream.info->smem_per_block);
  const size_t deep = stream_smem<W, kTiles, kDeep>(a.columns, a.num_tokens),
               middle = stream_smem<W, kTiles, kMiddle>(a.columns, a.num_tokens),
               shallow = stream_smem<W, kTiles, kShallow>(a.columns, a.num_tokens);
  if (deep <= beside || (shallow > beside && deep <= stream.info->smem_per_block)) return launch_depth<W, kTiles, kDeep>(a, stream);
  if (middle <= beside) return launch_depth<W, kTiles, kMiddle>(a, stream);
  launch_depth<W, kTiles, kShallow>(a, stream);
}

}  // namespace quern::cuda
