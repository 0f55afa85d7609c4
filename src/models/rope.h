// Rotary position tables of one model: inverse frequencies by the config's scaling, cos and sin by position, and the logn factors on q.
// float32 arithmetic in the order of transformers, so that tables agree with the reference. Plain functions; any thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "models/model_config.h"

namespace quern {

class ThreadPool;

struct RopeTables {
  size_t num_variants = 1, max_positions = 0, rotary_dims = 0;
  std::vector<float> cos_sin;      // [num_variants, max_positions, rotary_dims/2, 2], times the attention factor
  std::vector<float> query_scale;  // [max_positions], or empty: no logn attention
};

// On `pool` when there is one; the values do not depend on it.
RopeTables make_rope_tables(const ModelConfig& config, size_t max_positions, ThreadPool* pool = nullptr);

// Angle a position adds to pair i, [rotary_dims/2]. `variant` counts doublings of the training length (qwen_ntk); 0 for all others.
std::vector<float> rope_inv_freq(const RopeConfig& rope, int32_t variant);

// Factor on cos and sin; 1 for all scalings but yarn.
double rope_attention_factor(const RopeConfig& rope);

// qwen_ntk: the smallest k with original_context * 2^k >= prompt_tokens; 0 for all others. A sequence keeps it for its whole life.
int32_t rope_variant(const RopeConfig& rope, size_t prompt_tokens);
// qwen_ntk: 1 for variant 0, else 2^(variant + 1) - 1.
double rope_ntk_alpha(int32_t variant);

// Factor on the query at the 0-based `position`: log(position + 1) / log(logn_length) beyond logn_length, else 1.
float logn_scale(uint32_t logn_length, size_t position);

}  // namespace quern
