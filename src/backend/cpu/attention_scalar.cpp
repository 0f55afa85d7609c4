// Attention by its definition, one query head at a time: scores over all visible positions, softmax, weighted sum of V. Plain C++; what
// the other rows are checked against.
#include <algorithm>
#include <cstring>
#include <vector>

#include "backend/cpu/attention_product.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/kv_codes.h"
#include "backend/cpu/scalar_math.h"
#include "base/thread_pool.h"

namespace quern::cpu {
namespace {

// A code of an i8 cache without its scale.
struct Code {
  static constexpr size_t kBytes = 1;
  static void unpack(const std::byte* from, size_t count, float* values) {
    for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(static_cast<int>(from[i]) - kCodeZero);
  }
};

struct Cache {
  const KvView& kv;
  const int32_t* table;  // the sequence's block ids
  size_t kv_head;

  // The block of `position` in K or V.
  const std::byte* block(const std::byte* half, size_t position) const {
    const size_t id = static_cast<size_t>(table[position / static_cast<size_t>(kv.block_tokens)]);
    return half + (id * static_cast<size_t>(kv.num_kv_heads) + kv_head) * head_bytes(kv);
  }
  // What the codes of `position` are multiplied by; 1 in the formats that have no scales.
  float scale(const std::byte* half, size_t position) const {
    if (kv.format != Format::i8) return 1;
    const auto tokens = static_cast<size_t>(kv.block_tokens), head_dim = static_cast<size_t>(kv.head_dim);
    float scale;
    std::memcpy(&scale, block(half, position) + scales_offset(tokens, head_dim) + position % tokens * sizeof(scale), sizeof(scale));
    return scale;
  }
};

template <class S>
void attend(const Cache& cache, const float* q, size_t begin, size_t end, float scale, std::vector<float>& scores, std::vector<float>& row,
            float* y) {
  const auto head_dim = static_cast<size_t>(cache.kv.head_dim), tokens = static_cast<size_t>(cache.kv.block_tokens);
  float most = -INFINITY;
  for (size_t j = begin; j < end; ++j) {
    const std::byte* k = cache.block(cache.kv.k, j);
    for (size_t d = 0; d < head_dim; ++d) S::unpack(k + (d * tokens + j % tokens) * S::kBytes, 1, &row[d]);
    scores[j - begin] = dot(q, row.data(), head_dim) * scale * cache.scale(cache.kv.k, j);
    most = std::max(most, scores[j - begin]);
  }
  float sum = 0;
  std::fill_n(y, head_dim, 0.F);
  for (size_t j = begin; j < end; ++j) {
    const float weight = std::exp(scores[j - begin] - most);
    sum += weight;
    S::unpack(cache.block(cache.kv.v, j) + j % tokens * head_dim * S::kBytes, head_dim, row.data());
    const float scaled = weight * cache.scale(cache.kv.v, j);
    for (size_t d = 0; d < head_dim; ++d) y[d] += scaled * row[d];
  }
  for (size_t d = 0; d < head_dim; ++d) y[d] /= sum;
}

void run(const AttentionArgs& a, Stream& stream) {
  const auto head_dim = static_cast<size_t>(a.kv.head_dim);
  const size_t num_heads = a.q.columns() / head_dim, group = num_heads / static_cast<size_t>(a.kv.num_kv_heads);
  const auto attend_all = [&]<class S>() {
    for (int32_t s = 0; s < a.batch.num_sequences; ++s) {
      const auto first = static_cast<size_t>(a.batch.query_start[s]), last = static_cast<size_t>(a.batch.query_start[s + 1]);
      const int32_t* table = a.batch.block_tables + static_cast<ptrdiff_t>(s) * a.batch.block_table_stride;
      stream.pool->parallel_for((last - first) * num_heads, 1, [&](size_t begin, size_t end) {
        std::vector<float> scores(static_cast<size_t>(a.batch.context_lengths[s])), row(head_dim);
        for (size_t i = begin; i < end; ++i) {
          const size_t token = first + i / num_heads, head = i % num_heads;
          const auto visible_end = static_cast<size_t>(a.batch.positions[token]) + 1, window = static_cast<size_t>(a.window);
          const size_t visible_begin = window == 0 || visible_end < window ? 0 : visible_end - window;
          const Cache cache{a.kv, table, head / group};
          attend<S>(cache, a.q.f32(token) + head * head_dim, visible_begin, visible_end, a.scale, scores, row,
                    a.y.f32(token) + head * head_dim);
        }
      });
    }
  };
  if (a.kv.format == Format::i8) return attend_all.operator()<Code>();
  with_format(a.kv.format, attend_all);
}

}  // namespace

const KernelRow<AttentionArgs> kAttentionScalar = {
    "attention_scalar", [](const AttentionArgs& a, const DeviceInfo&) { return cache_index(a.kv.format) < kCacheFormats; }, run};

}  // namespace quern::cpu
