// What operations see of a step, the KV cache, rope tables and weights: device pointers and host counts, owning nothing.
#pragma once
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace quern {

// The rows of one step, on the device. Sequences with one query token (decode rows) come first, then prompt chunks.
// A token's row is its place in the flat batch; row query_start[s] is the first of sequence s.
struct BatchView {
  int32_t num_tokens = 0;  // rows, padded rows of a captured step included
  int32_t num_sequences = 0;
  int32_t num_decode = 0;  // sequences [0, num_decode) have exactly one query token
  int32_t num_sample_rows = 0;
  int32_t max_query_tokens = 0;              // longest chunk of the step
  int32_t max_context = 0;                   // longest context_lengths entry
  int32_t block_table_stride = 0;            // blocks a row of block_tables
  const int32_t* token_ids = nullptr;        // [num_tokens]
  const int32_t* positions = nullptr;        // [num_tokens], 0-based position in its sequence
  const int32_t* slots = nullptr;            // [num_tokens], block * block_tokens + offset: where the token's K and V go
  const int32_t* rope_variants = nullptr;    // [num_tokens], which table of Rope::cos_sin
  const int32_t* query_start = nullptr;      // [num_sequences + 1]
  const int32_t* context_lengths = nullptr;  // [num_sequences], tokens in the cache once this step has written its own
  const int32_t* block_tables = nullptr;     // [num_sequences, block_table_stride], KV block ids in order of position
  const int32_t* sample_rows = nullptr;      // [num_sample_rows], rows whose logits are wanted
};

// Rotary tables. cos and sin already carry an attention factor (YaRN). Pairs are halves: (i, i + rotary_dims/2).
struct RopeView {
  const float* cos_sin = nullptr;      // [num_variants, max_positions, rotary_dims/2, 2]
  const float* query_scale = nullptr;  // [max_positions] factor on q after rope (logn attention), or null
  int32_t rotary_dims = 0;
  int32_t max_positions = 0;
};

// One layer of the paged KV cache: K and V each [num_blocks, num_kv_heads, block_tokens, head_dim] in `format` (f32, f16 or bf16).
struct KvView {
  std::byte* k = nullptr;
  std::byte* v = nullptr;
  Format format = Format::f16;
  int32_t num_blocks = 0, num_kv_heads = 0, block_tokens = 0, head_dim = 0;
};

// What a weight is for; a backend may arrange it accordingly (interleave gate and up, say).
enum class WeightUse : uint8_t { embed, qkv, attention_out, gate_up, down, head };

// A weight matrix as a backend holds it: parts stacked along the output dimension, each [out, in] in its own format.
// qkv has the parts q, k, v; gate_up has gate, up; the others have one. `packed` is set by layouts that hold all parts in one piece.
struct Weight {
  WeightUse use = WeightUse::down;
  std::vector<Tensor> parts;    // shapes and formats always; data where the layout is a part's own
  std::byte* packed = nullptr;  // data of a layout over all parts
  LayoutId layout = kCanonical;

  size_t in_features() const { return parts.front().columns(); }
  size_t out_features() const {
    size_t out = 0;
    for (const Tensor& part : parts) out += part.rows();
    return out;
  }
};

}  // namespace quern
