// The row for 16-bit caches with a head_dim of 64 or 128: decode rows split over their context, prompt chunks by running maximum.
#include <algorithm>
#include <bit>

#include "backend/cuda/attention_decode.cuh"
#include "backend/cuda/attention_few.cuh"
#include "backend/cuda/attention_flash.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/placement.h"

namespace quern::cuda {
namespace {

AttentionView view_of(const AttentionArgs& a) {
  return {.q = reinterpret_cast<const uint16_t*>(a.q.data),
          .y = a.y.data,
          .kv = a.kv,
          .query_start = a.batch.query_start,
          .context_lengths = a.batch.context_lengths,
          .positions = a.batch.positions,
          .block_tables = a.batch.block_tables,
          .num_sequences = a.batch.num_sequences,
          .num_decode = a.batch.num_decode,
          .block_table_stride = a.batch.block_table_stride,
          .num_heads = static_cast<int>(a.q.columns()) / a.kv.head_dim,
          .window = a.window,
          .page_shift = std::countr_zero(static_cast<unsigned>(a.kv.block_tokens)),
          .scale = a.scale * kLog2E};
}

bool supports(const AttentionArgs& a, const DeviceInfo& info) {
  const int head_dim = a.kv.head_dim;
  if (info.sm < 80 || (head_dim != 64 && head_dim != 128) || a.q.format != Format::f16 || a.y.format != Format::f16) return false;
  if (a.kv.format != Format::f16 && a.kv.format != Format::bf16) return false;
  const size_t heads = a.q.columns() / static_cast<size_t>(head_dim), kv_heads = static_cast<size_t>(a.kv.num_kv_heads);
  return heads % kv_heads == 0 && heads / kv_heads <= kMaxGroup && std::has_single_bit(static_cast<unsigned>(a.kv.block_tokens)) &&
         a.kv.block_tokens >= kStepTokens && static_cast<size_t>(kMaxDecode) * kv_heads <= CudaStream::kNumCounters;
}

// Up to so many pairs of at most so many positions go to attention_few.
constexpr int kFewPairs = 64, kFewContext = 4096;

// Decode sequences of one launch, so that the parts of cut pairs stay within kPartialBytes.
constexpr size_t kPartialBytes = size_t{96} << 20;
struct DecodePlan {
  size_t most_warps;  // of a launch
  int num_chunks;     // of the longest context
  size_t pair_bytes;  // of a cut pair's parts
  size_t sequences;   // at once
};
DecodePlan plan_decode(const AttentionArgs& a, const DeviceInfo& info) {
  DecodePlan plan;
  const auto kv_heads = static_cast<size_t>(a.kv.num_kv_heads);
  plan.most_warps = static_cast<size_t>(2 * info.num_sms * kDecodeWarps);
  plan.num_chunks = chunk_of(std::max(a.batch.block_table_stride * a.kv.block_tokens, 1) - 1) + 1;
  plan.pair_bytes = static_cast<size_t>(plan.num_chunks) * (a.q.columns() / kv_heads + kPartialTail) * sizeof(float);
  plan.sequences = plan.most_warps * plan.pair_bytes <= kPartialBytes
                       ? kMaxDecode
                       : std::clamp<size_t>(kPartialBytes / (plan.pair_bytes * kv_heads), 1, kMaxDecode);
  return plan;
}

// Warps of a launch. Two blocks a multiprocessor read faster than one, but cut more pairs, which costs the more the larger their groups
// are, and leave the next kernel no room. As many warps as cut pairs of equal length evenly or not at all, where that costs little.
size_t decode_warps(size_t pairs, size_t group, const DeviceInfo& info) {
  const bool two = pairs >= (group <= 2 ? 256 : 1024);
  const size_t warps = static_cast<size_t>((two ? 2 : 1) * info.num_sms * kDecodeWarps), a_warp = (pairs + warps - 1) / warps;
  const size_t even = pairs >= warps ? (pairs + a_warp - 1) / a_warp : warps / pairs * pairs;
  return even * 10 >= warps * 9 ? even : warps;
}

// How attention_few is launched; num_blocks 0: the steps are dealt to the whole device instead.
struct FewPlan {
  unsigned num_blocks = 0;
  int block_shift = 0;  // log2 of a cluster's blocks
  size_t smem = 0;
};
template <int kHeadDim>
FewPlan plan_few(const AttentionArgs& a, const AttentionView& view, const DeviceInfo& info) {
  const int pairs = view.num_decode * view.kv.num_kv_heads;
  if (info.sm < 90 || pairs == 0 || pairs > kFewPairs || a.batch.max_context > kFewContext) return {};
  FewPlan plan;
  plan.block_shift = pairs <= kFewPairs / 4 ? 3 : 2;
  plan.num_blocks = static_cast<unsigned>(pairs << plan.block_shift);
  const int chunks = chunk_of(std::max(a.batch.max_context, 1) - 1) + 1, warps = kFewWarps << plan.block_shift;
  plan.smem = FewSmem<kHeadDim>::bytes(view.num_heads / view.kv.num_kv_heads, (chunks + warps - 1) / warps);
  return plan.smem <= kBesideSmem ? plan : FewPlan{};
}

template <int kHeadDim, bool kBfloat>
void run_kernels(const AttentionArgs& a, CudaStream& stream) {
  const AttentionView view = view_of(a);
  const FewPlan few = plan_few<kHeadDim>(a, view, *stream.info);
  if (few.num_blocks > 0) {
    launch("attention_few", &attention_few<kHeadDim, kBfloat>, {few.num_blocks, kFewWarps * kWarp, few.smem, 1U << few.block_shift}, stream,
           FewArgs{view, few.block_shift});
  }
  const DecodePlan plan = plan_decode(a, *stream.info);
  const int at_once = static_cast<int>(plan.sequences);
  for (int first = few.num_blocks > 0 ? view.num_decode : 0; first < view.num_decode; first += at_once) {
    DecodeArgs args = {view, reinterpret_cast<float*>(stream.workspace), stream.counters, plan.num_chunks, 0, false};
    args.view.num_decode = std::min(at_once, view.num_decode - first);
    args.view.query_start += first;
    args.view.context_lengths += first;
    args.view.block_tables += static_cast<ptrdiff_t>(first) * view.block_table_stride;
    const auto pairs = static_cast<size_t>(args.view.num_decode * view.kv.num_kv_heads);
    const size_t warps = decode_warps(pairs, static_cast<size_t>(view.num_heads / view.kv.num_kv_heads), *stream.info);
    const auto blocks = static_cast<unsigned>((warps + kDecodeWarps - 1) / kDecodeWarps);
    args.num_warps = static_cast<int>(warps);
    args.is_by_pair = pairs < warps;
    launch("attention_decode", &attention_decode<kHeadDim, kBfloat>,
           {even_blocks(blocks, stream), kDecodeWarps * kWarp, DecodeSmem<kHeadDim>::bytes(args.view.num_decode)}, stream, args);
  }
  if (view.num_sequences > view.num_decode) {
    const dim3 blocks(static_cast<unsigned>(view.num_heads),
                      (static_cast<unsigned>(a.batch.max_query_tokens) + kQueryTokens - 1) / kQueryTokens,
                      static_cast<unsigned>(view.num_sequences - view.num_decode));
    launch("attention_flash", &attention_flash<kHeadDim, kBfloat>, {blocks, kFlashWarps * kWarp, FlashSmem<kHeadDim>::kBytes}, stream,
           view);
  }
}

void run(const AttentionArgs& a, Stream& stream) {
  CudaStream& cuda = cuda_stream(stream);
  const bool is_bfloat = a.kv.format == Format::bf16;
  if (a.kv.head_dim == 64) return is_bfloat ? run_kernels<64, true>(a, cuda) : run_kernels<64, false>(a, cuda);
  return is_bfloat ? run_kernels<128, true>(a, cuda) : run_kernels<128, false>(a, cuda);
}

}  // namespace

const KernelRow<AttentionArgs> kAttentionMma = {
    "attention_mma", supports, run, [](const AttentionArgs& a, const DeviceInfo& info) {
      const DecodePlan plan = plan_decode(a, info);
      const size_t decode =
          std::min<size_t>(static_cast<size_t>(std::max(a.batch.num_sequences, 1)), plan.sequences);  // any of them may become one
      return std::min(plan.most_warps, decode * static_cast<size_t>(a.kv.num_kv_heads)) * plan.pair_bytes;
    }};

}  // namespace quern::cuda
