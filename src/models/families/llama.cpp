// Llama and what has its form: SmolLM2, TinyLlama, Llama 3.x. In GGUF files q and k are stored for rope on adjacent pairs.
#include "models/families/chat_template.h"
#include "models/families/gguf.h"
#include "models/families/hugging_face.h"
#include "models/families/list.h"
#include "models/families/rope_fields.h"
#include "models/families/tensor_names.h"

namespace quern {
namespace {

constexpr TensorRule kGgufRules[] = {
    {"token_embd.weight", "embed"},
    {"blk.*.attn_norm.weight", "blk.*.norm1"},
    {"blk.*.attn_q.weight", "blk.*.q", RowSource::unpermute_heads},
    {"blk.*.attn_k.weight", "blk.*.k", RowSource::unpermute_heads},
    {"blk.*.attn_v.weight", "blk.*.v"},
    {"blk.*.attn_q.bias", "blk.*.q.bias", RowSource::unpermute_heads},
    {"blk.*.attn_k.bias", "blk.*.k.bias", RowSource::unpermute_heads},
    {"blk.*.attn_v.bias", "blk.*.v.bias"},
    {"blk.*.attn_output.weight", "blk.*.out"},
    {"blk.*.ffn_norm.weight", "blk.*.norm2"},
    {"blk.*.ffn_gate.weight", "blk.*.gate"},
    {"blk.*.ffn_up.weight", "blk.*.up"},
    {"blk.*.ffn_down.weight", "blk.*.down"},
    {"output_norm.weight", "norm"},
    {"output.weight", "head"},
};

ModelConfig read_config(const JsonFields& json) {
  ConfigFields fields(json);
  ModelConfig config = read_decoder_sizes(fields, false);
  fields.want_text("model_type", "llama", "the architecture and the model type disagree");
  fields.want_flag("attention_bias", false, "biases on q, k, v and o are not supported for this architecture");
  fields.want_flag("mlp_bias", false, "biases in the MLP are not supported");
  fields.want_flag("rope_interleaved", false, "rope on adjacent pairs is not supported");
  read_rope(fields, config);
  fields.refuse_unread();
  return config;
}

ModelConfig read_gguf_config(const JsonFields& metadata, const ConfigOptions&) { return read_gguf_decoder(metadata, "llama"); }

const char* default_chat_format(const Checkpoint& checkpoint) {
  const std::optional<std::string> text = chat_template_text(checkpoint);
  if (!text) return nullptr;
  const auto has = [&](const char* part) { return text->find(part) != text->npos; };
  if (has("<|im_start|>")) return has("SmolLM") ? "chatml-smollm2" : "chatml";
  if (has("<|user|>")) return "zephyr";
  return has("[INST]") ? "llama2" : nullptr;
}

}  // namespace

const ModelFamily kLlama = {"llama",          {"LlamaForCausalLM"}, {"llama"},  read_config,
                            read_gguf_config, decoder_rules(),      kGgufRules, default_chat_format};

}  // namespace quern
