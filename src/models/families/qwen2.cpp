// Qwen1.5, Qwen2, Qwen2.5, QwQ: biases on q, k, v; grouped KV heads; YaRN and sliding windows by config.
#include <algorithm>

#include "base/log.h"
#include "models/families/chat_template.h"
#include "models/families/gguf.h"
#include "models/families/hugging_face.h"
#include "models/families/list.h"
#include "models/families/rope_fields.h"
#include "models/families/tensor_names.h"

namespace quern {
namespace {

// Qwen2.5-1M: attention is the plain one within a chunk; beyond it another algorithm would be needed.
void limit_to_one_chunk(ConfigFields& fields, ModelConfig& config) {
  std::optional<ConfigFields> dual_chunk = fields.optional_object("dual_chunk_attention_config");
  if (!dual_chunk) return;
  const uint32_t chunk = dual_chunk->size({"chunk_size"}, 2, kMaxPositions), local = dual_chunk->size({"local_size"}, 1, kMaxPositions);
  dual_chunk->optional_size({"original_max_position_embeddings"}, 0, kMaxPositions);
  if (local >= chunk) raise(invalid_input, "{}: local_size: want less than chunk_size {}, found {}", dual_chunk->where(), chunk, local);
  dual_chunk->refuse_unread();
  if (config.max_position_embeddings <= chunk - local) return;
  log_warning("{}: dual chunk attention is not supported: the context is limited to {} tokens of {}", fields.where(), chunk - local,
              config.max_position_embeddings);
  config.max_position_embeddings = chunk - local;
}

ModelConfig read_config(const JsonFields& json) {
  ConfigFields fields(json);
  ModelConfig config = read_decoder_sizes(fields, false);
  config.qkv_bias = true;
  fields.want_text("model_type", "qwen2", "the architecture and the model type disagree");
  fields.want_flag("attention_bias", true, "this architecture has biases on q, k and v");
  fields.want_flag("qkv_bias", true, "this architecture has biases on q, k and v");
  read_rope(fields, config);
  read_windows(fields, config);
  limit_to_one_chunk(fields, config);
  fields.refuse_unread();
  return config;
}

ModelConfig read_gguf_config(const JsonFields& metadata, const ConfigOptions&) {
  ModelConfig config = read_gguf_decoder(metadata, "qwen2");
  config.qkv_bias = true;
  return config;
}

const char* default_chat_format(const Checkpoint& checkpoint) {
  const std::optional<std::string> text = chat_template_text(checkpoint);
  const auto has = [&](const char* part) { return text->find(part) != text->npos; };
  if (!text || !has("<|im_start|>")) return nullptr;
  if (has("You are Qwen")) return "chatml-qwen2.5";
  return has("You are a helpful assistant") ? "chatml-qwen2" : "chatml";
}

}  // namespace

const ModelFamily kQwen2 = {"qwen2",         {"Qwen2ForCausalLM"}, {"qwen2"},          read_config, read_gguf_config,
                            decoder_rules(), gguf_decoder_rules(), default_chat_format};

}  // namespace quern
