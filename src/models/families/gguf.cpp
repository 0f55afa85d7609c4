#include "models/families/gguf.h"

#include "models/families/hugging_face.h"
#include "models/families/rope_fields.h"

namespace quern {

ModelConfig read_gguf_decoder(const JsonFields& metadata, const std::string& arch) {
  // Only the architecture's own keys say what the model computes; the rest (general.*, tokenizer.*, of converters) is description.
  Json own = Json::object();
  for (const auto& [key, value] : metadata.raw().items()) {
    if (key.starts_with(arch + ".")) own[key] = value;
  }
  ConfigFields fields(JsonFields(own, metadata.where()));
  const auto optional_size = [&](const char* name, uint64_t min, uint64_t max) {
    const std::string key = arch + "." + name;
    return fields.optional_size({key.c_str()}, min, max);
  };
  const auto size = [&](const char* name, uint64_t min, uint64_t max) {
    const std::string key = arch + "." + name;
    return fields.size({key.c_str()}, min, max);
  };
  ModelConfig config;
  config.hidden_size = size("embedding_length", 1, kMaxDimension);
  config.intermediate_size = size("feed_forward_length", 1, kMaxDimension);
  config.num_layers = size("block_count", 1, kMaxLayers);
  config.num_heads = size("attention.head_count", 1, kMaxDimension);
  config.num_kv_heads = optional_size("attention.head_count_kv", 1, kMaxDimension).value_or(config.num_heads);
  want_divisor(fields.where(), (arch + ".attention.head_count_kv").c_str(), config.num_kv_heads, "head_count", config.num_heads);
  if (const std::optional<uint32_t> key_length = optional_size("attention.key_length", 2, kMaxHeadDim)) {
    config.head_dim = *key_length;
  } else {
    want_divisor(fields.where(), (arch + ".attention.head_count").c_str(), config.num_heads, (arch + ".embedding_length").c_str(),
                 config.hidden_size);
    config.head_dim = config.hidden_size / config.num_heads;
  }
  const uint32_t value_length = optional_size("attention.value_length", 1, kMaxHeadDim).value_or(config.head_dim);
  if (value_length != config.head_dim) {
    raise(incompatible, "{}: {}.attention.value_length: want the key length {}, found {}", fields.where(), arch, config.head_dim,
          value_length);
  }
  config.vocab_size = optional_size("vocab_size", 1, kMaxVocabSize).value_or(0);
  config.max_position_embeddings = size("context_length", 1, kMaxPositions);
  const std::string epsilon = arch + ".attention.layer_norm_rms_epsilon", causal = arch + ".attention.causal";
  config.norm_epsilon = fields.number({epsilon.c_str()}, 1e-30, 1);
  config.windows.assign(config.num_layers, 0);
  fields.want_flag(causal.c_str(), true, "only causal attention is supported");
  const std::string layout = arch + ".tensor_data_layout", parallel = arch + ".use_parallel_residual";
  fields.optional_text({layout.c_str()});  // describes the source of the conversion
  fields.want_flag(parallel.c_str(), false, "parallel residuals are not supported");
  read_gguf_rope(fields, arch, config);
  fields.refuse_unread();
  return config;
}

}  // namespace quern
