#include "backend/cpu/qkv_finish.h"

#include <algorithm>
#include <cstring>

#include "backend/cpu/kv_codes.h"
#include "backend/cpu/scalar_math.h"

namespace quern::cpu {
namespace {

constexpr size_t kMostHeadBytes = 1024;  // of a head's K that is packed at once, 4 bytes a value at most

void rotate(const RopeView& rope, int32_t variant, int32_t position, float* head) {
  const size_t half = static_cast<size_t>(rope.rotary_dims) / 2;
  const float* cos_sin =
      rope.cos_sin + (static_cast<size_t>(variant) * static_cast<size_t>(rope.max_positions) + static_cast<size_t>(position)) * half * 2;
  for (size_t i = 0; i < half; ++i) {
    const float cos = cos_sin[2 * i], sin = cos_sin[2 * i + 1], a = head[i], b = head[i + half];
    head[i] = a * cos - b * sin;
    head[i + half] = b * cos + a * sin;
  }
}

void store_coded_row(const KvView& kv, size_t slot, const float* k, const float* v) {
  const auto head_dim = static_cast<size_t>(kv.head_dim), tokens = static_cast<size_t>(kv.block_tokens), in_block = slot % tokens;
  for (size_t head = 0; head < static_cast<size_t>(kv.num_kv_heads); ++head, k += head_dim, v += head_dim) {
    const size_t block = (slot / tokens * static_cast<size_t>(kv.num_kv_heads) + head) * head_bytes(kv);
    store_codes(k, head_dim, tokens, in_block, in_block, tokens, kv.k + block);
    store_codes(v, head_dim, tokens, in_block, in_block * head_dim, 1, kv.v + block);
  }
}

}  // namespace

void finish_qkv_row(const QkvArgs& a, size_t token, float* products) {
  const auto head_dim = static_cast<size_t>(a.kv.head_dim), kv_heads = static_cast<size_t>(a.kv.num_kv_heads);
  const auto block_tokens = static_cast<size_t>(a.kv.block_tokens);
  const size_t num_heads = a.q.columns() / head_dim;
  if (a.bias) {
    const float* bias = a.bias.f32();
    for (size_t i = 0; i < (num_heads + 2 * kv_heads) * head_dim; ++i) products[i] += bias[i];
  }
  const int32_t position = a.batch.positions[token];
  const int32_t variant = a.batch.rope_variants == nullptr ? 0 : a.batch.rope_variants[token];
  for (size_t head = 0; head < num_heads + kv_heads; ++head) {  // q heads, then k heads
    float* values = products + head * head_dim;
    const Tensor& norm = head < num_heads ? a.q_norm : a.k_norm;
    if (norm) rmsnorm(values, norm.f32(), a.norm_epsilon, head_dim, values);
    rotate(a.rope, variant, position, values);
  }
  float* q = a.q.f32(token);
  const float scale = a.rope.query_scale == nullptr ? 1.F : a.rope.query_scale[position];
  for (size_t i = 0; i < num_heads * head_dim; ++i) q[i] = products[i] * scale;

  const auto slot = static_cast<size_t>(a.batch.slots[token]);
  if (a.kv.format == Format::i8) {
    const float* keys = products + num_heads * head_dim;
    return store_coded_row(a.kv, slot, keys, keys + kv_heads * head_dim);
  }
  const size_t block_values = block_tokens * head_dim, in_block = slot % block_tokens;
  const FormatInfo& format = format_info(a.kv.format);
  const float *k = products + num_heads * head_dim, *v = k + kv_heads * head_dim;
  for (size_t head = 0; head < kv_heads; ++head, k += head_dim, v += head_dim) {
    const size_t block = (slot / block_tokens * kv_heads + head) * block_values;
    format.pack(v, head_dim, a.kv.v + (block + in_block * head_dim) * format.block_bytes);
    std::byte packed[kMostHeadBytes];
    for (size_t first = 0; first < head_dim; first += kMostHeadBytes / 4) {
      const size_t count = std::min(kMostHeadBytes / 4, head_dim - first);
      format.pack(k + first, count, packed);
      std::byte* to = a.kv.k + (block + first * block_tokens + in_block) * format.block_bytes;
      for (size_t d = 0; d < count; ++d, to += block_tokens * format.block_bytes) {
        std::memcpy(to, packed + d * format.block_bytes, format.block_bytes);
      }
    }
  }
}

}  // namespace quern::cpu
