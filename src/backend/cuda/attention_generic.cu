// Paged attention for any head_dim, cache format, window and mix of chunks: one block a token and query head. Each warp takes every
// fourth visible position with a running maximum, and the four parts are merged in order; the order depends on positions alone.
#include "backend/cuda/kernels.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/values.cuh"

namespace quern::cuda {
namespace {

constexpr int kWarps = 4;

struct GenericArgs {
  const void* q;
  Format q_format;
  KvView kv;
  const int32_t *positions, *query_start, *block_tables;
  int num_sequences, block_table_stride, num_heads, window;
  float scale;
  void* y;
  Format y_format;
};

QUERN_DEVICE int sequence_of(const int32_t* query_start, int num_sequences, int token) {
  int low = 0, high = num_sequences - 1;  // the last sequence that starts at or before the token
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (query_start[middle] <= token)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

// Shared memory: q [head_dim], then for each warp its sums [head_dim], then maximum and weight of each warp.
__global__ void attention(const __grid_constant__ GenericArgs a) {
  wait_for_previous();
  let_next_start();
  const int token = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y), head_dim = a.kv.head_dim;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  float* const q = reinterpret_cast<float*>(dynamic_smem());
  float* const sums = q + (1 + warp) * head_dim;
  float* const maxima = q + (1 + kWarps) * head_dim;
  float* const weights = maxima + kWarps;
  const size_t row =
      (static_cast<size_t>(token) * static_cast<size_t>(a.num_heads) + static_cast<size_t>(head)) * static_cast<size_t>(head_dim);
  for (int d = static_cast<int>(threadIdx.x); d < head_dim; d += kWarps * kWarp)
    q[d] = load_value(a.q, row + static_cast<size_t>(d), a.q_format);
  for (int d = lane; d < head_dim; d += kWarp) sums[d] = 0;
  sync_block();

  const int32_t* const table =
      a.block_tables + static_cast<size_t>(sequence_of(a.query_start, a.num_sequences, token)) * static_cast<size_t>(a.block_table_stride);
  const int end = a.positions[token] + 1, begin = a.window == 0 || end < a.window ? 0 : end - a.window;
  const int kv_head = head / (a.num_heads / a.kv.num_kv_heads);
  float most = -INFINITY, weight = 0;
  for (int j = begin + warp; j < end; j += kWarps) {
    const size_t block = static_cast<size_t>(table[j / a.kv.block_tokens]);
    const size_t at =
        ((block * static_cast<size_t>(a.kv.num_kv_heads) + static_cast<size_t>(kv_head)) * static_cast<size_t>(a.kv.block_tokens) +
         static_cast<size_t>(j % a.kv.block_tokens)) *
        static_cast<size_t>(head_dim);
    float score = 0;
    for (int d = lane; d < head_dim; d += kWarp) score = fmaf(q[d], load_value(a.kv.k, at + static_cast<size_t>(d), a.kv.format), score);
    score = warp_sum(score) * a.scale;
    const float next = fmaxf(most, score), keep = expf(most - next), add = expf(score - next);
    most = next;
    weight = fmaf(weight, keep, add);
    for (int d = lane; d < head_dim; d += kWarp) {
      sums[d] = fmaf(sums[d], keep, add * load_value(a.kv.v, at + static_cast<size_t>(d), a.kv.format));
    }
  }
  if (lane == 0) {
    maxima[warp] = most;
    weights[warp] = weight;
  }
  sync_block();
  float total_most = maxima[0];
  for (int w = 1; w < kWarps; ++w) total_most = fmaxf(total_most, maxima[w]);
  float shares[kWarps], total = 0;
  for (int w = 0; w < kWarps; ++w) {
    shares[w] = maxima[w] == -INFINITY ? 0.F : expf(maxima[w] - total_most);
    total = fmaf(weights[w], shares[w], total);
  }
  for (int d = static_cast<int>(threadIdx.x); d < head_dim; d += kWarps * kWarp) {
    float sum = 0;
    for (int w = 0; w < kWarps; ++w) sum = fmaf(q[(1 + w) * head_dim + d], shares[w], sum);
    store_value(a.y, row + static_cast<size_t>(d), a.y_format, sum / total);
  }
}

void run(const AttentionArgs& a, Stream& stream) {
  const int num_heads = static_cast<int>(a.q.columns()) / a.kv.head_dim;
  const GenericArgs args = {a.q.data,
                            a.q.format,
                            a.kv,
                            a.batch.positions,
                            a.batch.query_start,
                            a.batch.block_tables,
                            a.batch.num_sequences,
                            a.batch.block_table_stride,
                            num_heads,
                            a.window,
                            a.scale,
                            a.y.data,
                            a.y.format};
  const size_t smem = (static_cast<size_t>(1 + kWarps) * static_cast<size_t>(a.kv.head_dim) + 2 * kWarps) * sizeof(float);
  launch("attention_generic", &attention, {dim3(static_cast<unsigned>(a.q.rows()), static_cast<unsigned>(num_heads)), kWarps * kWarp, smem},
         cuda_stream(stream), args);
}

}  // namespace

const KernelRow<AttentionArgs> kAttentionGeneric = {"attention_generic", [](const AttentionArgs&, const DeviceInfo&) { return true; }, run};

}  // namespace quern::cuda
