// Keys and values of the cache in 8 bits (Format::i8): one float32 scale a token and KV head. A block of one head holds the codes, each
// plus kCodeZero so that a byte is unsigned, in the order of the other formats (K [head_dim, block_tokens], V the other way round), and
// behind them the scales [block_tokens].
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backend/ops/views.h"
#include "formats/list.h"

namespace quern::cpu {

inline constexpr int kCodeZero = 128;

// Bytes from one KV head to the next within a block: codes and scales.
inline size_t head_bytes(const KvView& kv) {
  return static_cast<size_t>(kv.block_tokens) * row_bytes(kv.format, static_cast<size_t>(kv.head_dim));
}

// Where the scales of a head's block begin.
constexpr size_t scales_offset(size_t block_tokens, size_t head_dim) { return block_tokens * head_dim; }

// One token of one head into its block, rounded as a row of I8: codes `step` bytes apart, from `first` on, and the scale of place
// `in_block`.
inline void store_codes(const float* values, size_t head_dim, size_t block_tokens, size_t in_block, size_t first, size_t step,
                        std::byte* block) {
  const float scale = std::min(max_magnitude(values, head_dim) / 127.F, I8::kMaxScale), divisor = scale > 0 ? scale : 1.F;
  for (size_t d = 0; d < head_dim; ++d) {
    block[first + d * step] = static_cast<std::byte>(static_cast<int>(round_to_int8(values[d] / divisor)) + kCodeZero);
  }
  std::memcpy(block + scales_offset(block_tokens, head_dim) + in_block * sizeof(scale), &scale, sizeof(scale));
}

}  // namespace quern::cpu
