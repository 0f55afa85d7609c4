// Rope fields of Hugging Face configs and GGUF files as a RopeConfig. Formulas: docs/models.md.
#pragma once
#include "models/config_fields.h"
#include "models/model_config.h"

namespace quern {

// rope_theta + rope_scaling, or rope_parameters (transformers 5); sets rope, and raises max_position_embeddings to what the scaling
// is meant for. head_dim and max_position_embeddings are set before. Unknown types are incompatible.
void read_rope(ConfigFields& fields, ModelConfig& config);

// "<arch>.rope.*" keys.
void read_gguf_rope(ConfigFields& fields, const std::string& arch, ModelConfig& config);

}  // namespace quern
