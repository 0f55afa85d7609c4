// The operations of a forward pass: one argument struct each. Norms are part of the operation that reads them, so that a device may
// fuse; a layer is qkv, attention, linear (out), gate_up, linear (down). The scalar CPU rows define the meaning.
// Promise: a row's result never depends on which other rows share the call, on the number of rows, or on the number of threads.
#pragma once
#include <cstdint>

#include "backend/ops/views.h"
#include "tensor/tensor.h"

namespace quern {

// h[t] = table[token_ids[t]]
struct EmbedArgs {
  const Weight* table = nullptr;  // one part [vocab_size, hidden]
  BatchView batch;                // token_ids
  Tensor h;                       // out [tokens, hidden], f32
};

// q, k, v = rmsnorm(h) * w^T + bias; per-head rmsnorm of q and k where given; rope; q *= query_scale; k, v into the cache's slots.
// rmsnorm(x) = x / sqrt(mean(x^2) + epsilon) * norm, in f32.
struct QkvArgs {
  Tensor h;     // [tokens, hidden], f32
  Tensor norm;  // [hidden], f32
  float norm_epsilon = 0;
  const Weight* w = nullptr;  // parts q [num_heads*head_dim, hidden], k and v [num_kv_heads*head_dim, hidden]
  Tensor bias;                // [(num_heads + 2*num_kv_heads) * head_dim] f32, or none
  Tensor q_norm, k_norm;      // [head_dim] f32, or none
  RopeView rope;
  BatchView batch;  // positions, slots, rope_variants
  KvView kv;        // written
  Tensor q;         // out [tokens, num_heads*head_dim], f32 (a device may use its own 16-bit format)
};

// y = softmax(q k^T * scale + causal) v over the paged cache. Query head i reads KV head i / (num_heads / num_kv_heads).
// Key position j is visible to query position p iff j <= p and (window == 0 or j > p - window).
struct AttentionArgs {
  Tensor q;         // [tokens, num_heads*head_dim]
  KvView kv;        // read
  BatchView batch;  // query_start, context_lengths, block_tables, positions
  float scale = 0;  // 1 / sqrt(head_dim)
  int32_t window = 0;
  Tensor y;  // out [tokens, num_heads*head_dim]
};

// y = x * w^T (+ bias) (+ residual)
struct LinearArgs {
  Tensor x;                   // [tokens, in]
  const Weight* w = nullptr;  // one part [out, in]
  Tensor bias = {};           // [out] f32, optional
  Tensor residual = {};       // [tokens, out], optional, may be y itself
  Tensor y;                   // out [tokens, out]
};

// y = silu(g) * u with g, u = rmsnorm(h) * w^T
struct GateUpArgs {
  Tensor h;     // [tokens, hidden], f32
  Tensor norm;  // [hidden], f32
  float norm_epsilon = 0;
  const Weight* w = nullptr;  // parts gate, up, each [intermediate, hidden]
  Tensor y;                   // out [tokens, intermediate]
};

// logits[r] = rmsnorm(h[sample_rows[r]]) * w^T
struct HeadArgs {
  Tensor h;         // [tokens, hidden], f32
  BatchView batch;  // sample_rows
  Tensor norm;      // [hidden], f32
  float norm_epsilon = 0;
  const Weight* w = nullptr;  // one part [vocab_size, hidden]
  Tensor logits;              // out [num_sample_rows, vocab_size], f32
};

inline constexpr int32_t kMaxLogprobs = 20;

// How one row is sampled; plain data, uploaded with the step. Tokens rank by logit, the lower id first among equals.
struct SampleRow {
  float temperature = 1;         // 0 = greedy: the first in rank
  float top_p = 1;               // keep the first in rank until their weights reach top_p of what top_k left; at least one
  float min_p = 0;               // keep weights of at least min_p times the largest
  int32_t top_k = 0;             // keep the first top_k in rank; 0 = all
  float repetition_penalty = 1;  // on tokens of prompt and output: logit > 0 ? logit / r : logit * r
  float presence_penalty = 0, frequency_penalty = 0;  // on tokens of the output: logit -= presence + frequency * in_output
  uint64_t seed = 0;
  int32_t position = 0;                      // of the token that is drawn: with the seed and the token id the counter of the random number
  int32_t counts_begin = 0, counts_end = 0;  // this row's TokenCounts, one a token
  int32_t biases_begin = 0, biases_end = 0;  // this row's TokenBiases; -infinity bans
  int32_t allowed_row = -1;                  // row of `allowed`, or -1: every token
  int32_t num_logprobs = -1;                 // -1 none, 0 the drawn token's, up to kMaxLogprobs of the likeliest besides
};
struct TokenCount {
  int32_t token, in_prompt, in_output;
};
struct TokenBias {
  int32_t token;
  float bias;
};

// Draws one token a row. Order: bias and bans, mask, penalties, temperature, top_k, top_p, min_p, draw. A token's weight is
// sample_weight() and its random number sample_word() (backend/ops/sample_random.h); the one with the smallest exponential / weight is
// drawn (Gumbel-max), so that a draw depends on the row's own logits, seed and position alone and is the same on every device.
// Logprobs are of the model's own distribution over the real tokens, before all of that.
struct SampleArgs {
  Tensor logits;                    // [rows, vocab_size], f32; may be overwritten
  int32_t num_tokens = 0;           // ids [num_tokens, vocab_size) are padding and never drawn
  const SampleRow* rows = nullptr;  // [rows]
  const TokenCount* counts = nullptr;
  const TokenBias* biases = nullptr;
  const uint32_t* allowed = nullptr;  // [n, ceil(vocab_size / 32)] bit masks
  int32_t* token_ids = nullptr;       // out [rows]; -1 when a logit is not finite or every token is banned
  float* logprobs = nullptr;          // out [rows], of the drawn token
  int32_t* top_ids = nullptr;         // out [rows, kMaxLogprobs], likeliest first
  float* top_logprobs = nullptr;      // out [rows, kMaxLogprobs]
};

}  // namespace quern
