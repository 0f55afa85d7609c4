// Config readers of every family: real configs give the published numbers, and what is not understood is refused by name.
#include <gtest/gtest.h>

#include "models/families/list.h"

namespace quern {
namespace {

using Scaling = RopeConfig::Scaling;

// config.json of released models, without ids and version.
const char* const kQwen7B = R"({"architectures": ["QWenLMHeadModel"], "auto_map": {"AutoConfig": "configuration_qwen.QWenConfig"},
  "attn_dropout_prob": 0.0, "bf16": false, "emb_dropout_prob": 0.0, "fp16": false, "fp32": false, "hidden_size": 4096, "intermediate_size": 22016,
  "initializer_range": 0.02, "kv_channels": 128, "layer_norm_epsilon": 1e-06, "max_position_embeddings": 32768, "model_type": "qwen", "no_bias": true,
  "num_attention_heads": 32, "num_hidden_layers": 32, "onnx_safe": null, "rotary_emb_base": 10000, "rotary_pct": 1.0, "scale_attn_weights": true,
  "seq_length": 8192, "tie_word_embeddings": false, "tokenizer_class": "QWenTokenizer", "transformers_version": "4.32.0", "use_cache": true,
  "use_dynamic_ntk": true, "use_flash_attn": "auto", "use_logn_attn": true, "vocab_size": 151936})";
const char* const kQwen7BFirst =
    R"({"activation": "swiglu", "apply_residual_connection_post_layernorm": false, "architectures": ["QWenLMHeadModel"],
  "attn_pdrop": 0.0, "bf16": true, "bias_dropout_fusion": true, "bos_token_id": 151643, "embd_pdrop": 0.0, "eos_token_id": 151643,
  "ffn_hidden_size": 22016, "fp16": false, "initializer_range": 0.02, "kv_channels": 128, "layer_norm_epsilon": 1e-06, "model_type": "qwen",
  "n_embd": 4096, "n_head": 32, "n_layer": 32, "n_positions": 6144, "no_bias": true, "onnx_safe": null, "padded_vocab_size": 151936,
  "params_dtype": "torch.bfloat16", "pos_emb": "rotary", "resid_pdrop": 0.1, "rotary_emb_base": 10000, "rotary_pct": 1.0, "scale_attn_weights": true,
  "seq_length": 2048, "tie_word_embeddings": false, "tokenizer_type": "QWenTokenizer", "use_cache": true, "use_flash_attn": true,
  "vocab_size": 151936, "use_dynamic_ntk": true, "use_logn_attn": true})";
const char* const kQwen25_7B =
    R"({"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645,
  "hidden_act": "silu", "hidden_size": 3584, "initializer_range": 0.02, "intermediate_size": 18944, "max_position_embeddings": 32768,
  "max_window_layers": 28, "model_type": "qwen2", "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4,
  "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 131072, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
  "transformers_version": "4.43.1", "use_cache": true, "use_sliding_window": false, "use_mrope": false, "vocab_size": 152064})";
const char* const kQwen3_06B =
    R"({"architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 151643,
  "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 3072,
  "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28,
  "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null, "tie_word_embeddings": true,
  "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false, "vocab_size": 151936})";
const char* const kTinyLlama = R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 1, "eos_token_id": 2,
  "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 5632, "max_position_embeddings": 2048,
  "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 22, "num_key_value_heads": 4, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
  "rope_scaling": null, "rope_theta": 10000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 32000})";
const char* const kSmolLM2 =
    R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
  "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664, "intermediate_size": 1536,
  "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 9,
  "num_hidden_layers": 30, "num_key_value_heads": 3, "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_interleaved": false,
  "rope_scaling": null, "rope_theta": 100000, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
  "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}, "use_cache": true, "vocab_size": 49152})";
const char* const kLlama32_1B =
    R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 128000,
  "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
  "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32,
  "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 32.0,
  "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
  "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 128256})";

Json patched(const char* text, const Json& patch) {
  Json json = parse_json(text, "config.json");
  json.merge_patch(patch);
  for (const auto& [key, value] : patch.items()) {
    if (value.is_null()) json[key] = nullptr;  // a null in a config, which merge_patch takes for "remove"
  }
  return json;
}

const ModelFamily& family_for(const Json& json) {
  for (const ModelFamily* family : model_families()) {
    if (json.at("architectures").at(0) == family->architectures.at(0)) return *family;
  }
  throw std::logic_error("no family");
}

ModelConfig read(const Json& json) {
  ModelConfig config = family_for(json).read_config(JsonFields(json, "config.json"));
  config.check("config.json");
  return config;
}

TEST(Families, NumbersOfReleasedModels) {
  struct Case {
    const char* text;
    uint32_t hidden, intermediate, layers, heads, kv_heads, head_dim, vocab, positions;
    double epsilon, base;
    bool tied, bias, qk_norm;
    Scaling scaling;
    uint32_t logn;
  };
  const Case cases[] = {
      {kQwen7B, 4096, 11008, 32, 32, 32, 128, 151936, 32768, 1e-6, 10000, false, true, false, Scaling::qwen_ntk, 8192},
      {kQwen7BFirst, 4096, 11008, 32, 32, 32, 128, 151936, 6144, 1e-6, 10000, false, true, false, Scaling::qwen_ntk, 2048},
      {kQwen25_7B, 3584, 18944, 28, 28, 4, 128, 152064, 32768, 1e-6, 1e6, false, true, false, Scaling::none, 0},
      {kQwen3_06B, 1024, 3072, 28, 16, 8, 128, 151936, 40960, 1e-6, 1e6, true, false, true, Scaling::none, 0},
      {kTinyLlama, 2048, 5632, 22, 32, 4, 64, 32000, 2048, 1e-5, 10000, false, false, false, Scaling::none, 0},
      {kSmolLM2, 576, 1536, 30, 9, 3, 64, 49152, 8192, 1e-5, 100000, true, false, false, Scaling::none, 0},
      {kLlama32_1B, 2048, 8192, 16, 32, 8, 64, 128256, 131072, 1e-5, 500000, true, false, false, Scaling::llama3, 0},
  };
  for (const Case& c : cases) {
    const ModelConfig config = read(parse_json(c.text, "config.json"));
    SCOPED_TRACE(config.to_json().dump());
    EXPECT_EQ(config.hidden_size, c.hidden);
    EXPECT_EQ(config.intermediate_size, c.intermediate);
    EXPECT_EQ(config.num_layers, c.layers);
    EXPECT_EQ(config.num_heads, c.heads);
    EXPECT_EQ(config.num_kv_heads, c.kv_heads);
    EXPECT_EQ(config.head_dim, c.head_dim);
    EXPECT_EQ(config.vocab_size, c.vocab);
    EXPECT_EQ(config.max_position_embeddings, c.positions);
    EXPECT_EQ(config.norm_epsilon, c.epsilon);
    EXPECT_EQ(config.rope.base, c.base);
    EXPECT_EQ(config.rope.rotary_dims, c.head_dim);
    EXPECT_EQ(config.rope.scaling, c.scaling);
    EXPECT_EQ(config.tied_embeddings, c.tied);
    EXPECT_EQ(config.qkv_bias, c.bias);
    EXPECT_EQ(config.qk_norm, c.qk_norm);
    EXPECT_EQ(config.logn_attention ? config.logn_length : 0, c.logn);
    EXPECT_EQ(config.windows, std::vector<uint32_t>(c.layers, 0));
    EXPECT_EQ(ModelConfig::from_json(config.to_json(), "saved"), config);
  }
}

// Parameters of the models of the table in docs/models.md, by the engine's tensors.
TEST(Families, ParameterCounts) {
  const struct {
    const char* text;
    uint64_t parameters;
  } cases[] = {{kQwen7B, 7721324544}, {kSmolLM2, 134515008}, {kTinyLlama, 1100048384}};
  for (const auto& c : cases) {
    uint64_t parameters = 0;
    for (const EngineTensor& tensor : engine_tensors(read(parse_json(c.text, "config.json"))))
      parameters += tensor.shape.rows() * tensor.shape.columns();
    EXPECT_EQ(parameters, c.parameters);
  }
}

TEST(Families, RopeForms) {
  const Json yarn = {{"factor", 4.0}, {"original_max_position_embeddings", 32768}, {"type", "yarn"}};
  Json yarn5 = {{"factor", 4.0}, {"original_max_position_embeddings", 32768}, {"rope_type", "yarn"}, {"rope_theta", 1e6}};
  const ModelConfig plain =
      read(patched(kQwen25_7B, {{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e6}}}, {"rope_theta", nullptr}}));
  EXPECT_EQ(plain, read(parse_json(kQwen25_7B, "config.json")));
  const ModelConfig old_form = read(patched(kQwen25_7B, {{"rope_scaling", yarn}}));
  EXPECT_EQ(old_form.rope.scaling, Scaling::yarn);
  EXPECT_EQ(old_form.rope.factor, 4);
  EXPECT_EQ(old_form.rope.original_context, 32768U);
  EXPECT_EQ(old_form.max_position_embeddings, 131072U);
  EXPECT_EQ(old_form, read(patched(kQwen25_7B, {{"rope_parameters", yarn5}, {"rope_theta", nullptr}})));
  EXPECT_EQ(old_form, read(patched(kQwen25_7B, {{"rope_parameters", yarn5}, {"rope_scaling", yarn}})));
  const ModelConfig mscale =
      read(patched(kQwen25_7B, {{"rope_scaling", {{"factor", 4.0}, {"type", "yarn"}, {"mscale", 1.0}, {"mscale_all_dim", 0.5}}}}));
  EXPECT_NEAR(mscale.rope.attention_factor, 1.138629 / 1.069315, 1e-6);
  EXPECT_EQ(mscale.rope.original_context, 32768U);
  EXPECT_EQ(read(patched(kTinyLlama, {{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}})).rope.scaling, Scaling::linear);
  EXPECT_EQ(read(patched(kTinyLlama, {{"rope_theta", nullptr}})).rope.base, 10000);  // Llama 2 leaves it out
}

TEST(Families, SlidingWindows) {
  // Layers from max_window_layers on slide.
  const ModelConfig windows =
      read(patched(kQwen25_7B, {{"use_sliding_window", true}, {"sliding_window", 4096}, {"max_window_layers", 20}}));
  for (size_t i = 0; i < 28; ++i) EXPECT_EQ(windows.windows[i], i < 20 ? 0U : 4096U);
  Json types(28, "full_attention");
  types[3] = "sliding_attention";
  const ModelConfig by_type =
      read(patched(kQwen25_7B, {{"use_sliding_window", true}, {"sliding_window", 100}, {"max_window_layers", 0}, {"layer_types", types}}));
  for (size_t i = 0; i < 28; ++i) EXPECT_EQ(by_type.windows[i], i == 3 ? 100U : 0U);
  EXPECT_EQ(read(patched(kQwen25_7B, {{"sliding_window", nullptr}})).windows, std::vector<uint32_t>(28, 0));
}

TEST(Families, QwenFlagsOneByOne) {
  const ModelConfig no_ntk = read(patched(kQwen7B, {{"use_dynamic_ntk", false}}));
  EXPECT_EQ(no_ntk.rope.scaling, Scaling::none);
  EXPECT_TRUE(no_ntk.logn_attention);
  const ModelConfig no_logn = read(patched(kQwen7B, {{"use_logn_attn", false}}));
  EXPECT_EQ(no_logn.rope.scaling, Scaling::qwen_ntk);
  EXPECT_FALSE(no_logn.logn_attention);
  // Absent flags: on in the class of the second release, off in that of the first.
  EXPECT_EQ(read(patched(kQwen7B, {{"use_dynamic_ntk", nullptr}, {"use_logn_attn", nullptr}})), read(parse_json(kQwen7B, "config.json")));
  EXPECT_FALSE(read(patched(kQwen7BFirst, {{"use_logn_attn", nullptr}})).logn_attention);
}

TEST(Families, DualChunkLimitsTheContext) {
  const Json dual = {{"chunk_size", 262144}, {"local_size", 8192}, {"original_max_position_embeddings", 262144}};
  EXPECT_EQ(
      read(patched(kQwen25_7B, {{"max_position_embeddings", 1010000}, {"dual_chunk_attention_config", dual}})).max_position_embeddings,
      253952U);
  EXPECT_EQ(read(patched(kQwen25_7B, {{"dual_chunk_attention_config", dual}})).max_position_embeddings, 32768U);
}

TEST(Families, HarmlessFieldsPass) {
  const Json patch = {
      {"_name_or_path", "x"},      {"rope_scaling", Json::object()}, {"new_switch", false}, {"new_count", 0},
      {"new_list", Json::array()}, {"id2label", {{"0", "LABEL_0"}}}, {"dtype", "bfloat16"}, {"auto_map", {{"AutoModel", "evil.py"}}},
      {"pretraining_tp", 2}};
  EXPECT_EQ(read(patched(kTinyLlama, patch)), read(parse_json(kTinyLlama, "config.json")));
}

TEST(Families, WhatIsNotUnderstoodIsRefusedByName) {
  struct Case {
    const char* text;
    Json patch;
    ErrorCode code;
    const char* named;  // in the message
  };
  const Json types(28, "chunked_attention");
  const Case cases[] = {
      {kQwen25_7B, {{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}}, incompatible, "dynamic"},
      {kQwen25_7B, {{"rope_scaling", {{"type", "longrope"}}}}, incompatible, "longrope"},
      {kQwen25_7B, {{"rope_scaling", {{"type", "mrope"}, {"mrope_section", {16, 24, 24}}}}}, incompatible, "mrope"},
      {kQwen25_7B, {{"rope_scaling", {{"type", "default"}, {"mrope_section", {16, 24, 24}}}}}, incompatible, "mrope"},
      {kQwen25_7B, {{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}, {"new_trick", 3}}}}, incompatible, "new_trick"},
      {kQwen25_7B, {{"rope_scaling", {{"type", "yarn"}}}}, invalid_input, "factor"},
      {kQwen25_7B, {{"rope_scaling", {{"type", "yarn"}, {"factor", 0.5}}}}, invalid_input, "factor"},
      {kQwen25_7B, {{"rope_scaling", "yarn"}}, invalid_input, "rope_scaling"},
      {kQwen25_7B, {{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 5.0}}}}, invalid_input, "rope_theta"},
      {kQwen25_7B, {{"rope_theta", 0.5}}, invalid_input, "rope_theta"},
      {kQwen25_7B, {{"hidden_act", "gelu"}}, incompatible, "hidden_act"},
      {kQwen25_7B, {{"use_mrope", true}}, incompatible, "use_mrope"},
      {kQwen25_7B, {{"attention_bias", false}}, incompatible, "attention_bias"},
      {kQwen25_7B, {{"partial_rotary_factor", 0.25}}, incompatible, "partial_rotary_factor"},
      {kQwen25_7B, {{"final_logit_softcapping", 30.0}}, incompatible, "final_logit_softcapping"},
      {kQwen25_7B, {{"num_experts", 8}}, incompatible, "num_experts"},
      {kQwen25_7B, {{"layer_types", types}}, incompatible, "layer_types"},
      {kQwen25_7B, {{"layer_types", Json(2, "full_attention")}}, invalid_input, "layer_types"},
      {kQwen25_7B, {{"layer_types", Json(28, "sliding_attention")}}, invalid_input, "layer_types"},
      {kQwen25_7B, {{"use_sliding_window", true}, {"sliding_window", 0}, {"max_window_layers", 2}}, invalid_input, "sliding_window"},
      {kQwen25_7B, {{"use_sliding_window", true}, {"max_window_layers", nullptr}}, invalid_input, "max_window_layers"},
      {kQwen25_7B, {{"hidden_size", 0}}, invalid_input, "hidden_size"},
      {kQwen25_7B, {{"hidden_size", -1}}, invalid_input, "hidden_size"},
      {kQwen25_7B, {{"hidden_size", "3584"}}, invalid_input, "hidden_size"},
      {kQwen25_7B, {{"hidden_size", uint64_t{1} << 40}}, invalid_input, "hidden_size"},
      {kQwen25_7B, {{"hidden_size", 3585}}, invalid_input, "num_attention_heads"},
      {kQwen25_7B, {{"num_key_value_heads", 5}}, invalid_input, "num_key_value_heads"},
      {kQwen25_7B, {{"max_position_embeddings", uint64_t{1} << 31}}, invalid_input, "max_position_embeddings"},
      {kQwen25_7B, {{"rms_norm_eps", 0}}, invalid_input, "rms_norm_eps"},
      {kQwen25_7B, {{"model_type", "qwen3"}}, incompatible, "model_type"},
      {kQwen3_06B, {{"head_dim", nullptr}}, invalid_input, "head_dim"},
      {kQwen3_06B, {{"head_dim", 127}}, invalid_input, "rotary_dims"},
      {kQwen3_06B, {{"attention_bias", true}}, incompatible, "attention_bias"},
      {kTinyLlama, {{"attention_bias", true}}, incompatible, "attention_bias"},
      {kTinyLlama, {{"mlp_bias", true}}, incompatible, "mlp_bias"},
      {kTinyLlama, {{"sliding_window", 4096}}, incompatible, "sliding_window"},
      {kTinyLlama, {{"model_type", "mistral"}}, incompatible, "model_type"},
      {kLlama32_1B, {{"rope_scaling", {{"low_freq_factor", 4.0}}}}, invalid_input, "high_freq_factor"},
      {kQwen7B, {{"n_embd", 2048}}, invalid_input, "n_embd"},
      {kQwen7B, {{"kv_channels", 64}}, invalid_input, "kv_channels"},
      {kQwen7B, {{"intermediate_size", 22015}}, invalid_input, "intermediate_size"},
      {kQwen7B, {{"no_bias", false}}, incompatible, "no_bias"},
      {kQwen7B, {{"rotary_pct", 0.5}}, incompatible, "rotary_pct"},
      {kQwen7B, {{"scale_attn_weights", false}}, incompatible, "scale_attn_weights"},
      {kQwen7B, {{"visual", {{"layers", 48}}}}, incompatible, "visual"},
      {kQwen7BFirst, {{"pos_emb", "learned"}}, incompatible, "pos_emb"},
      {kQwen7BFirst, {{"apply_residual_connection_post_layernorm", true}}, incompatible, "apply_residual"},
  };
  for (const Case& c : cases) {
    try {
      read(patched(c.text, c.patch));
      ADD_FAILURE() << c.patch.dump() << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), c.code) << error.message();
      EXPECT_NE(error.message().find(c.named), std::string::npos) << error.message();
    }
  }
}

Json gguf_metadata(const char* arch) {
  const std::string a = std::string(arch) + ".";
  return {{"general.architecture", arch},
          {"general.name", "x"},
          {"tokenizer.ggml.model", "gpt2"},
          {a + "block_count", 24},
          {a + "context_length", 32768},
          {a + "embedding_length", 896},
          {a + "feed_forward_length", 4864},
          {a + "attention.head_count", 14},
          {a + "attention.head_count_kv", 2},
          {a + "rope.freq_base", 1e6},
          {a + "attention.layer_norm_rms_epsilon", 9.999999974752427e-07}};
}

TEST(Families, GgufKeys) {
  const ModelConfig config = kQwen2.read_gguf_config(JsonFields(gguf_metadata("qwen2"), "x.gguf"), {});
  EXPECT_EQ(config.hidden_size, 896U);
  EXPECT_EQ(config.head_dim, 64U);
  EXPECT_EQ(config.num_kv_heads, 2U);
  EXPECT_EQ(config.rope.base, 1e6);
  EXPECT_EQ(static_cast<float>(config.norm_epsilon), 1e-6F);
  EXPECT_TRUE(config.qkv_bias);
  Json yarn = gguf_metadata("qwen2");
  yarn["qwen2.rope.scaling.type"] = "yarn";
  yarn["qwen2.rope.scaling.factor"] = 4.0;
  yarn["qwen2.rope.scaling.original_context_length"] = 32768;
  const ModelConfig stretched = kQwen2.read_gguf_config(JsonFields(yarn, "x.gguf"), {});
  EXPECT_EQ(stretched.rope.scaling, Scaling::yarn);
  EXPECT_EQ(stretched.max_position_embeddings, 131072U);

  Json qwen = gguf_metadata("qwen");
  qwen.erase("qwen.attention.head_count_kv");
  const ModelConfig plain = kQwen1.read_gguf_config(JsonFields(qwen, "x.gguf"), {});
  EXPECT_EQ(plain.intermediate_size, 2432U);  // halved
  EXPECT_EQ(plain.num_kv_heads, 14U);
  EXPECT_EQ(plain.rope.scaling, Scaling::none);
  const ModelConfig long_context = kQwen1.read_gguf_config(JsonFields(qwen, "x.gguf"), {.gguf_qwen1_long_context = true});
  EXPECT_EQ(long_context.rope.scaling, Scaling::qwen_ntk);
  EXPECT_EQ(long_context.logn_length, 32768U);
}

TEST(Families, GgufKeysThatAreRefused) {
  const struct {
    const char* key;
    Json value;
    ErrorCode code;
  } cases[] = {{"qwen2.block_count", 0, invalid_input},
               {"qwen2.block_count", 513, invalid_input},
               {"qwen2.block_count", 4294967295, invalid_input},
               {"qwen2.attention.head_count", 0, invalid_input},
               {"qwen2.attention.head_count_kv", 3, invalid_input},
               {"qwen2.embedding_length", 895, invalid_input},
               {"qwen2.attention.value_length", 32, incompatible},
               {"qwen2.rope.dimension_count", 32, incompatible},
               {"qwen2.rope.scaling.type", "longrope", incompatible},
               {"qwen2.expert_count", 8, incompatible},
               {"qwen2.attention.causal", false, incompatible},
               {"qwen2.attention.sliding_window", 4096, incompatible}};
  for (const auto& c : cases) {
    Json metadata = gguf_metadata("qwen2");
    metadata[c.key] = c.value;
    try {
      kQwen2.read_gguf_config(JsonFields(metadata, "x.gguf"), {});
      ADD_FAILURE() << c.key << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), c.code) << error.message();
      EXPECT_NE(error.message().find(c.key), std::string::npos) << error.message();
    }
  }
}

}  // namespace
}  // namespace quern
