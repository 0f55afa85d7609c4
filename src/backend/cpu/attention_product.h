// What the attention kernels of one instruction set offer to attention.cpp: plain data and function pointers only (see panel_product.h).
//
// The context is cut into chunks of kChunk positions, counted from position 0. Within a chunk a query row takes the largest of its scores,
// the weights exp(score - largest), their sum and the weighted sum of V; chunks are then merged in order. So a row's result depends on its
// own positions only, whether a prompt's rows come together, one after the other, or a thread takes each chunk.
// With i8 the codes are summed like values; a score is then multiplied by its key's scale, a weight by its value's after the weights were
// added up.
// A score is two chains of fused multiply-adds over even and odd dimensions; a weighted sum is two chains over even and odd positions.
#pragma once
#include <cstddef>
#include <cstdint>

#include "formats/format.h"

namespace quern::cpu {

inline constexpr size_t kChunk = 256;  // positions; a multiple of the block
inline constexpr size_t kCacheFormats = 4;
// Place of a cache's format in AttentionKernels::attend; kCacheFormats: no cache is in it.
constexpr size_t cache_index(Format format) {
  switch (format) {
    case Format::f32: return 0;
    case Format::f16: return 1;
    case Format::bf16: return 2;
    case Format::i8: return 3;
    default: return kCacheFormats;
  }
}

inline constexpr size_t kUnitRows = 96;  // query rows of a unit, at most

// What is known of one row after some chunks: the weighted sum of V [head_dim], then the largest score and the sum of weights.
constexpr size_t partial_floats(size_t head_dim) { return (head_dim + 2 + 15) / 16 * 16; }

// A unit: query rows of one sequence that share a KV head; row r is query head r % group of token r / group.
struct AttentionUnit {
  const float* q = nullptr;  // of its first token's first head; tokens are `stride` floats apart
  float* y = nullptr;
  size_t stride = 0;
  size_t tokens = 0, group = 0, head_dim = 0;
  const int32_t* positions = nullptr;  // [tokens], each one more than the one before
  size_t window = 0;                   // 0: all positions before
  float scale = 0;

  const std::byte *k = nullptr,
                  *v = nullptr;     // of this KV head in block 0. K of a block is [head_dim][block_tokens], V the other way round
  const int32_t* blocks = nullptr;  // ids in order of position
  size_t block_tokens = 0;          // a multiple of 16
  size_t block_bytes = 0;           // from one block to the next

  float* queries = nullptr;   // scratch, [rows][head_dim]
  float* scores = nullptr;    // scratch, [tile][kChunk]
  float* sums = nullptr;      // scratch, [tile][head_dim]
  float* partials = nullptr;  // [rows][partial_floats]
};

struct AttentionKernels {
  const char* name;
  size_t tile;  // query rows at once
  // Chunks [begin, end) of the unit into its partials. By format of the cache; null: none.
  void (*attend[kCacheFormats])(const AttentionUnit&, size_t begin, size_t end);
  // Partials of one chunk more, `more` [rows][partial_floats], into the unit's.
  void (*merge)(const AttentionUnit&, const float* more);
  // y of the unit from its partials.
  void (*finish)(const AttentionUnit&);
};

extern const AttentionKernels kAttentionAvx512, kAttentionAvx2, kAttentionPlain;

}  // namespace quern::cpu
