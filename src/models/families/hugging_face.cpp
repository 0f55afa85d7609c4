#include "models/families/hugging_face.h"

namespace quern {
namespace {

// Written by transformers, by training programs and by converters; none changes what forward() computes.
constexpr const char* kHarmless[] = {
    // identity and code; a quantization that is not read is refused before
    "quantization_config", "architectures", "auto_map", "model_type", "name_or_path", "tokenizer_class", "tokenizer_type", "torch_dtype",
    "dtype", "transformers_version", "transformers.js_config", "unsloth_version", "unsloth_fixed", "is_llama_config", "license",
    "model_max_length", "use_bfloat16", "params_dtype",
    // token ids
    "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "unk_token_id", "decoder_start_token_id", "forced_bos_token_id",
    "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids",
    // training
    "attention_dropout", "attention_probs_dropout_prob", "attn_dropout_prob", "attn_pdrop", "dropout", "emb_dropout_prob", "embd_pdrop",
    "hidden_dropout", "hidden_dropout_prob", "resid_pdrop", "classifier_dropout", "initializer_range", "gradient_checkpointing",
    "bias_dropout_fusion", "output_router_logits", "router_aux_loss_coef", "z_loss_weight",
    // generation defaults of old configs; generation_config.json has the last word
    "do_sample", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "diversity_penalty", "max_length",
    "min_length", "max_new_tokens", "num_beams", "num_beam_groups", "num_return_sequences", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "early_stopping", "remove_invalid_values", "exponential_decay_length_penalty", "task_specific_params",
    "prefix", "keys_to_ignore_at_inference",
    // how a program runs it
    "use_cache", "use_flash_attn", "use_flash_attention", "attn_implementation", "onnx_safe", "softmax_in_fp32",
    "attention_softmax_in_fp32", "use_cache_quantization", "use_cache_kernel", "use_sdpa", "return_dict", "return_dict_in_generate",
    "output_attentions", "output_hidden_states", "output_scores", "torchscript", "chunk_size_feed_forward", "cross_attention_hidden_size",
    "tf_legacy_loss", "pruned_heads", "pretraining_tp", "bf16", "fp16", "fp32",
    // tasks
    "id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "is_encoder_decoder", "tie_encoder_decoder"};

}  // namespace

void accept_harmless_fields(ConfigFields& fields) { fields.mark_read(kHarmless); }

void want_divisor(const std::string& where, const char* field, uint32_t value, const char* whole_field, uint32_t whole) {
  if (whole % value != 0) raise(invalid_input, "{}: {}: want a divisor of {} {}, found {}", where, field, whole_field, whole, value);
}

ModelConfig read_decoder_sizes(ConfigFields& fields, bool head_dim_required) {
  accept_harmless_fields(fields);
  ModelConfig config;
  config.hidden_size = fields.size({"hidden_size"}, 1, kMaxDimension);
  config.intermediate_size = fields.size({"intermediate_size"}, 1, kMaxDimension);
  config.num_layers = fields.size({"num_hidden_layers"}, 1, kMaxLayers);
  config.num_heads = fields.size({"num_attention_heads"}, 1, kMaxDimension);
  config.num_kv_heads = fields.optional_size({"num_key_value_heads"}, 1, kMaxDimension).value_or(config.num_heads);
  want_divisor(fields.where(), "num_key_value_heads", config.num_kv_heads, "num_attention_heads", config.num_heads);
  if (const std::optional<uint32_t> head_dim = fields.optional_size({"head_dim"}, 2, kMaxHeadDim)) {
    config.head_dim = *head_dim;
  } else {
    if (head_dim_required) fields.size({"head_dim"}, 2, kMaxHeadDim);  // throws: missing
    want_divisor(fields.where(), "num_attention_heads", config.num_heads, "hidden_size", config.hidden_size);
    config.head_dim = config.hidden_size / config.num_heads;
  }
  config.vocab_size = fields.size({"vocab_size"}, 1, kMaxVocabSize);
  config.max_position_embeddings = fields.size({"max_position_embeddings"}, 1, kMaxPositions);
  config.norm_epsilon = fields.number({"rms_norm_eps"}, 1e-30, 1);
  config.tied_embeddings = fields.flag("tie_word_embeddings", false);
  config.windows.assign(config.num_layers, 0);
  fields.want_text("hidden_act", "silu", "only SiLU is supported");
  fields.want_flag("is_decoder", true, "only decoders are supported");
  fields.want_flag("add_cross_attention", false, "cross attention is not supported");
  fields.want_flag("use_mrope", false, "rope of vision-language models is not supported");
  return config;
}

void read_windows(ConfigFields& fields, ModelConfig& config) {
  const bool slides = fields.flag("use_sliding_window", false);
  const bool has_types = fields.has("layer_types");
  fields.mark_read(std::initializer_list<const char*>{"sliding_window", "max_window_layers"});  // mean nothing unless the layers slide
  std::vector<bool> sliding(config.num_layers, false);
  if (has_types) {
    const Json& types = fields.raw().raw().at("layer_types");
    if (!types.is_array() || types.size() != config.num_layers) {
      raise(invalid_input, "{}: layer_types: want a list of {} names, found {}", fields.where(), config.num_layers,
            types.is_array() ? fmt::format("{}", types.size()) : "another value");
    }
    for (size_t i = 0; i < config.num_layers; ++i) {
      const std::string type = types[i].is_string() ? types[i].get<std::string>() : types[i].dump();
      if (type != "full_attention" && type != "sliding_attention") {
        raise(incompatible, "{}: layer_types[{}]: want full_attention or sliding_attention, found {}", fields.where(), i,
              escaped(type, 80));
      }
      sliding[i] = type == "sliding_attention";
      if (sliding[i] && !slides) {
        raise(invalid_input, "{}: layer_types[{}] is sliding_attention but use_sliding_window is false", fields.where(), i);
      }
    }
  } else if (slides) {
    const uint32_t first = fields.size({"max_window_layers"}, 0, kMaxLayers);
    for (size_t i = first; i < config.num_layers; ++i) sliding[i] = true;
  }
  for (size_t i = 0; i < config.num_layers; ++i) {
    if (sliding[i]) config.windows[i] = fields.size({"sliding_window"}, 1, kMaxPositions);
  }
}

}  // namespace quern
