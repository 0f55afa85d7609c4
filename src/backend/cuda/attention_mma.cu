// The row for 16-bit caches with a head_dim of 64 or 128: decode rows split over their context, prompt chunks by running maximum.
#include <algorithm>
#include <bit>

#include "backend/cuda/attention_decode.cuh"
#include "backend/cuda/attention_flash.cuh"
#include "backend/cuda/kernels.h"

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
         static_cast<size_t>(kMaxDecode) * kv_heads <= CudaStream::kNumCounters;
}

// Decode sequences of one launch, so that the partial sums stay within kPartialBytes.
constexpr size_t kPartialBytes = size_t{96} << 20;
size_t item_bytes(const AttentionArgs& a) { return static_cast<size_t>(kMaxGroup * (a.kv.head_dim + 2)) * sizeof(float); }
size_t items_of_sequence(const AttentionArgs& a) {
  const int longest = std::max(a.batch.block_table_stride * a.kv.block_tokens, 1);
  return static_cast<size_t>(chunk_of(longest - 1) + 1) * static_cast<size_t>(a.kv.num_kv_heads);
}
int sequences_at_once(const AttentionArgs& a) {
  return static_cast<int>(std::clamp<size_t>(kPartialBytes / (items_of_sequence(a) * item_bytes(a)), 1, kMaxDecode));
}

template <int kHeadDim, bool kBfloat>
void run_kernels(const AttentionArgs& a, CudaStream& stream) {
  const AttentionView view = view_of(a);
  const int at_once = sequences_at_once(a);
  for (int first = 0; first < view.num_decode; first += at_once) {
    DecodeArgs args = {view, reinterpret_cast<float*>(stream.workspace), stream.counters};
    args.view.num_decode = std::min(at_once, view.num_decode - first);
    args.view.query_start += first;
    args.view.context_lengths += first;
    args.view.block_tables += static_cast<ptrdiff_t>(first) * view.block_table_stride;
    const size_t smem = DecodeSmem<kHeadDim>::bytes(args.view.num_decode);
    const unsigned blocks_on_one = static_cast<unsigned>(std::clamp<size_t>(stream.info->smem_per_block / (smem + 1024), 1, 4));
    const auto blocks = static_cast<unsigned>(std::min<size_t>(static_cast<size_t>(stream.info->num_sms) * blocks_on_one,
                                                               items_of_sequence(a) * static_cast<size_t>(args.view.num_decode)));
    launch("attention_decode", &attention_decode<kHeadDim, kBfloat>, {blocks, kDecodeWarps * kWarp, smem}, stream, args);
  }
  if (view.num_sequences > view.num_decode) {
    const dim3 blocks((static_cast<unsigned>(a.batch.max_query_tokens) + kQueryTokens - 1) / kQueryTokens,
                      static_cast<unsigned>(view.num_heads), static_cast<unsigned>(view.num_sequences - view.num_decode));
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

const KernelRow<AttentionArgs> kAttentionMma = {"attention_mma", supports, run, [](const AttentionArgs& a, const DeviceInfo&) {
                                                  const int decode =
                                                      std::min(a.batch.num_sequences, sequences_at_once(a));  // any of them may become one
                                                  return items_of_sequence(a) * static_cast<size_t>(std::max(decode, 1)) * item_bytes(a);
                                                }};

}  // namespace quern::cuda
