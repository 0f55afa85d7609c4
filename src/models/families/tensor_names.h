// Tensor names that several families share.
#pragma once
#include "models/family.h"

namespace quern {

// model.layers.*.self_attn.q_proj.weight and so on: Qwen2, Qwen3, Llama. A rule for a tensor that the config does not have is not used.
std::span<const TensorRule> decoder_rules();
// blk.*.attn_q.weight and so on: every architecture with separate q, k, v but llama.
std::span<const TensorRule> gguf_decoder_rules();

}  // namespace quern
