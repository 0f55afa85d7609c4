// What the Hugging Face configs of llama-like decoders have in common. Used by the family files.
#pragma once
#include <cstdint>

#include "models/config_fields.h"
#include "models/model_config.h"

namespace quern {

// Fields of any config.json that say nothing about the function of the model (ids, dropout, training, generation).
void accept_harmless_fields(ConfigFields& fields);

// hidden_size, layers, heads, kv heads, intermediate_size, vocabulary, positions, epsilon, tie, activation.
// head_dim: the field, or hidden_size / heads when it is absent and `head_dim_required` is not set.
ModelConfig read_decoder_sizes(ConfigFields& fields, bool head_dim_required);

// use_sliding_window, sliding_window, max_window_layers and layer_types as Qwen2 and Qwen3 read them.
void read_windows(ConfigFields& fields, ModelConfig& config);

// Throws invalid_input naming `field` and `whole_field` when `value` does not divide `whole`.
void want_divisor(const std::string& where, const char* field, uint32_t value, const char* whole_field, uint32_t whole);

}  // namespace quern
