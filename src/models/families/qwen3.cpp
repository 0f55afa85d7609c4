// Qwen3, dense: RMSNorm on the heads of q and k before rope, explicit head_dim, no biases.
#include "models/families/chat_template.h"
#include "models/families/gguf.h"
#include "models/families/hugging_face.h"
#include "models/families/list.h"
#include "models/families/rope_fields.h"
#include "models/families/tensor_names.h"

namespace quern {
namespace {

ModelConfig read_config(const JsonFields& json) {
  ConfigFields fields(json);
  ModelConfig config = read_decoder_sizes(fields, true);
  config.qk_norm = true;
  fields.want_text("model_type", "qwen3", "the architecture and the model type disagree");
  fields.want_flag("attention_bias", false, "biases on q, k, v and o are not supported for this architecture");
  read_rope(fields, config);
  read_windows(fields, config);
  fields.refuse_unread();
  return config;
}

ModelConfig read_gguf_config(const JsonFields& metadata, const ConfigOptions&) {
  metadata.size({"qwen3.attention.key_length"}, 2, kMaxHeadDim);  // never hidden / heads
  ModelConfig config = read_gguf_decoder(metadata, "qwen3");
  config.qk_norm = true;
  return config;
}

const char* default_chat_format(const Checkpoint& checkpoint) {
  const std::optional<std::string> text = chat_template_text(checkpoint);
  return text && text->find("<|im_start|>") != text->npos ? "chatml-qwen3" : nullptr;
}

}  // namespace

const ModelFamily kQwen3 = {"qwen3",         {"Qwen3ForCausalLM"}, {"qwen3"},          read_config, read_gguf_config,
                            decoder_rules(), gguf_decoder_rules(), default_chat_format};

}  // namespace quern
