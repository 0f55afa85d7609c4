// What the GGUF keys of all architectures have in common. Used by the family files.
#pragma once
#include <string>

#include "models/config_fields.h"
#include "models/model_config.h"

namespace quern {

// "<arch>.*" of a llama-like decoder, refusing keys that are not understood. vocab_size is 0 when the file leaves it to the tensors.
ModelConfig read_gguf_decoder(const JsonFields& metadata, const std::string& arch);

}  // namespace quern
