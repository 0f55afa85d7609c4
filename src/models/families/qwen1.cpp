// Qwen, first generation: fused c_attn, halved intermediate size, dynamic NTK rope and logn attention by the prompt's length.
#include "base/log.h"
#include "models/families/chat_template.h"
#include "models/families/gguf.h"
#include "models/families/hugging_face.h"
#include "models/families/list.h"

namespace quern {
namespace {

constexpr TensorRule kRules[] = {
    {"transformer.wte.weight", "embed"},
    {"transformer.h.*.ln_1.weight", "blk.*.norm1"},
    {"transformer.h.*.attn.c_attn.weight", "blk.*.q", RowSource::third_0},
    {"transformer.h.*.attn.c_attn.weight", "blk.*.k", RowSource::third_1},
    {"transformer.h.*.attn.c_attn.weight", "blk.*.v", RowSource::third_2},
    {"transformer.h.*.attn.c_attn.bias", "blk.*.q.bias", RowSource::third_0},
    {"transformer.h.*.attn.c_attn.bias", "blk.*.k.bias", RowSource::third_1},
    {"transformer.h.*.attn.c_attn.bias", "blk.*.v.bias", RowSource::third_2},
    {"transformer.h.*.attn.c_proj.weight", "blk.*.out"},
    {"transformer.h.*.ln_2.weight", "blk.*.norm2"},
    {"transformer.h.*.mlp.w2.weight", "blk.*.gate"},  // c_proj(w1(x) * silu(w2(x)))
    {"transformer.h.*.mlp.w1.weight", "blk.*.up"},
    {"transformer.h.*.mlp.c_proj.weight", "blk.*.down"},
    {"transformer.ln_f.weight", "norm"},
    {"lm_head.weight", "head"},
};

constexpr TensorRule kGgufRules[] = {
    {"token_embd.weight", "embed"},
    {"blk.*.attn_norm.weight", "blk.*.norm1"},
    {"blk.*.attn_qkv.weight", "blk.*.q", RowSource::third_0},
    {"blk.*.attn_qkv.weight", "blk.*.k", RowSource::third_1},
    {"blk.*.attn_qkv.weight", "blk.*.v", RowSource::third_2},
    {"blk.*.attn_qkv.bias", "blk.*.q.bias", RowSource::third_0},
    {"blk.*.attn_qkv.bias", "blk.*.k.bias", RowSource::third_1},
    {"blk.*.attn_qkv.bias", "blk.*.v.bias", RowSource::third_2},
    {"blk.*.attn_output.weight", "blk.*.out"},
    {"blk.*.ffn_norm.weight", "blk.*.norm2"},
    {"blk.*.ffn_gate.weight", "blk.*.gate"},
    {"blk.*.ffn_up.weight", "blk.*.up"},
    {"blk.*.ffn_down.weight", "blk.*.down"},
    {"output_norm.weight", "norm"},
    {"output.weight", "head"},
};

uint32_t halved(const std::string& where, const char* field, uint32_t both) {
  if (both % 2 != 0) raise(invalid_input, "{}: {}: want an even number (gate and up together), found {}", where, field, both);
  return both / 2;
}

void set_long_context(ModelConfig& config, uint32_t train_length, bool dynamic_ntk, bool logn) {
  config.rope.original_context = train_length;
  if (dynamic_ntk) config.rope.scaling = RopeConfig::Scaling::qwen_ntk;
  config.logn_attention = logn;
  if (logn) config.logn_length = train_length;
}

ModelConfig read_config(const JsonFields& json) {
  ConfigFields fields(json);
  accept_harmless_fields(fields);
  ModelConfig config;
  config.hidden_size = fields.size({"hidden_size", "n_embd"}, 1, kMaxDimension);
  config.intermediate_size =
      halved(fields.where(), "intermediate_size", fields.size({"intermediate_size", "ffn_hidden_size"}, 2, 2 * kMaxDimension));
  config.num_layers = fields.size({"num_hidden_layers", "n_layer"}, 1, kMaxLayers);
  config.num_heads = fields.size({"num_attention_heads", "n_head"}, 1, kMaxDimension);
  config.num_kv_heads = config.num_heads;
  config.head_dim = fields.size({"kv_channels"}, 2, kMaxHeadDim);
  if (uint64_t{config.num_heads} * config.head_dim != config.hidden_size) {
    raise(invalid_input, "{}: kv_channels: want hidden_size {} / {} heads, found {}", fields.where(), config.hidden_size, config.num_heads,
          config.head_dim);
  }
  config.vocab_size = fields.size({"vocab_size", "padded_vocab_size"}, 1, kMaxVocabSize);
  const uint32_t train_length = fields.size({"seq_length"}, 2, kMaxPositions);
  config.max_position_embeddings =
      fields.optional_size({"max_position_embeddings", "n_positions"}, 1, kMaxPositions).value_or(train_length);
  config.norm_epsilon = fields.number({"layer_norm_epsilon"}, 1e-30, 1);
  config.rope.base = fields.number({"rotary_emb_base"}, 1, 1e15);
  config.rope.rotary_dims = config.head_dim;
  config.qkv_bias = true;
  config.tied_embeddings = fields.flag("tie_word_embeddings", false);
  config.windows.assign(config.num_layers, 0);
  // The class of the first release (n_embd) has both off by default, the later one both on.
  const bool default_on = !fields.has("n_embd");
  set_long_context(config, train_length, fields.flag("use_dynamic_ntk", default_on), fields.flag("use_logn_attn", default_on));

  fields.want_number("rotary_pct", 1, "rotating a part of a head is not supported");
  fields.want_flag("no_bias", true, "biases outside c_attn are not supported");
  fields.want_flag("scale_attn_weights", true, "attention without 1/sqrt(head_dim) is not supported");
  fields.want_flag("apply_residual_connection_post_layernorm", false, "only residuals before the norm are supported");
  fields.want_text("pos_emb", "rotary", "only rotary positions are supported");
  fields.want_text("activation", "swiglu", "only SiLU-gated layers are supported");
  fields.refuse_unread();
  return config;
}

ModelConfig read_gguf_config(const JsonFields& metadata, const ConfigOptions& options) {
  ModelConfig config = read_gguf_decoder(metadata, "qwen");
  config.intermediate_size = halved(metadata.where(), "qwen.feed_forward_length", config.intermediate_size);
  if (config.num_kv_heads != config.num_heads) {
    raise(invalid_input, "{}: qwen.attention.head_count_kv: want {} (as many as heads), found {}", metadata.where(), config.num_heads,
          config.num_kv_heads);
  }
  config.qkv_bias = true;
  if (options.gguf_qwen1_long_context) {
    if (config.rope.scaling != RopeConfig::Scaling::none)
      raise(usage, "{}: dynamic NTK excludes the file's own rope scaling", metadata.where());
    set_long_context(config, config.max_position_embeddings, true, true);
  } else {
    log_warning(
        "{}: a GGUF of first-generation Qwen does not hold dynamic NTK and logn attention; both are off, prompts beyond {} tokens suffer",
        metadata.where(), config.max_position_embeddings);
  }
  return config;
}

const char* default_chat_format(const Checkpoint& checkpoint) {
  if (checkpoint.kind() == Checkpoint::Kind::gguf) return chat_template_text(checkpoint) ? "chatml-qwen1" : nullptr;
  const Json& generation = checkpoint.generation_config();
  return generation.is_object() && generation.value("chat_format", Json()) == "chatml" ? "chatml-qwen1" : nullptr;
}

}  // namespace

const ModelFamily kQwen1 = {"qwen1", {"QWenLMHeadModel"}, {"qwen"}, read_config, read_gguf_config, kRules, kGgufRules, default_chat_format};

}  // namespace quern
