// Plans of whole checkpoints: each engine tensor has its rows' places, and a checkpoint at odds with its config is refused by name.
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "models/test_models.h"
#include "source_dir.h"
#include "text/chat_format.h"

namespace quern {
namespace {

using testing::TempFolder;

std::string golden(const std::string& name) { return source_dir() + "/tests/goldens/models/" + name; }

// A safetensors checkpoint whose header and config may be changed.
struct Draft {
  Json config, header;
  std::string data;

  explicit Draft(const std::string& name) {
    config = parse_json(read_text_file(golden(name) + "/config.json", 1 << 20), "config.json");
    const std::string file = read_text_file(golden(name) + "/model.safetensors", 1 << 20);
    uint64_t length = 0;
    std::memcpy(&length, file.data(), 8);
    header = Json::parse(file.substr(8, length));
    data = file.substr(8 + length);
  }
  void rename(const char* from, const char* to) {
    header[to] = header.at(from);
    header.erase(from);
  }
  void add(const char* name, const char* dtype, const Json& shape, size_t bytes) {
    header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {data.size(), data.size() + bytes}}};
    data.append(bytes, '\x01');
  }
  // The same values again, under another name.
  void copy(const char* from, const char* to) {
    const size_t begin = header.at(from).at("data_offsets").at(0), end = header.at(from).at("data_offsets").at(1);
    header[to] = header.at(from);
    header[to]["data_offsets"] = {data.size(), data.size() + end - begin};
    data += data.substr(begin, end - begin);
  }
  std::vector<TensorPlan> plan() const {
    const TempFolder folder;
    const std::string text = header.dump();
    const uint64_t length = text.size();
    std::ofstream(folder / "config.json") << config.dump();
    std::ofstream(folder / "model.safetensors", std::ios::binary) << std::string(reinterpret_cast<const char*>(&length), 8) << text << data;
    const Checkpoint checkpoint = Checkpoint::open(folder / "");
    const ModelFamily& family = family_of(checkpoint);
    return plan_tensors(family, read_model_config(family, checkpoint), checkpoint);
  }
};

TEST(TensorPlan, EveryGoldenCheckpointIsUsedUp) {
  for (const auto& entry : std::filesystem::directory_iterator(golden(""))) {
    const std::string gguf = entry.path() / "model.gguf";
    const Checkpoint checkpoint = Checkpoint::open(std::filesystem::exists(gguf) ? gguf : entry.path().string());
    const ModelFamily& family = family_of(checkpoint);
    const ModelConfig config = read_model_config(family, checkpoint);
    std::set<std::string> sources, engines;
    for (const TensorPlan& plan : plan_tensors(family, config, checkpoint)) {
      sources.insert(plan.source->name);
      EXPECT_TRUE(engines.insert(plan.engine_name).second) << plan.engine_name;
      std::set<size_t> rows;
      for (size_t row = 0; row < plan.shape[0]; ++row) rows.insert(source_row(plan, config, row));
      EXPECT_EQ(rows.size(), plan.shape[0]) << plan.engine_name;  // no row twice
      EXPECT_LT(*rows.rbegin(), plan.source->dims[0]) << plan.engine_name;
    }
    EXPECT_EQ(sources.size() + (checkpoint.find("rope_freqs.weight") != nullptr ? 1 : 0), checkpoint.tensors().size()) << entry.path();
  }
}

TEST(TensorPlan, RowsOfFusedAndPermutedTensors) {
  ModelConfig config;
  config.head_dim = 6;
  TensorPlan plan{"blk.0.k", {12, 4}, TensorRole::matrix, RowSource::third_1, nullptr};
  EXPECT_EQ(source_row(plan, config, 5), 17U);
  plan.how = RowSource::third_2;
  EXPECT_EQ(source_row(plan, config, 0), 24U);
  plan.how = RowSource::unpermute_heads;  // adjacent pairs (0 1)(2 3)(4 5) -> first halves, then second halves
  const size_t want[] = {0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11};
  for (size_t row = 0; row < 12; ++row) EXPECT_EQ(source_row(plan, config, row), want[row]);
}

TEST(TensorPlan, HarmlessLeftoversPass) {
  Draft draft("qwen1-ntk");
  draft.add("transformer.rotary_emb.inv_freq", "F32", {4}, 16);
  draft.add("transformer.h.0.attn.masked_bias", "F32", Json::array(), 4);
  EXPECT_EQ(draft.plan().size(), 3 + 2 * 12U);
  Draft tied("qwen3-wide-heads");
  tied.copy("model.embed_tokens.weight", "lm_head.weight");  // says the same
  EXPECT_EQ(tied.plan().back().engine_name, "norm");
}

TEST(TensorPlan, DisagreementsAreRefusedByName) {
  struct Case {
    const char* what;
    const char* model;
    void (*change)(Draft&);
    ErrorCode code;
    std::vector<const char*> named;  // in the message
  };
  const Case cases[] = {
      {"a matrix transposed",
       "qwen2-gqa",
       [](Draft& d) {
         d.header["model.layers.1.self_attn.k_proj.weight"]["shape"] = {56, 8};
       },
       invalid_input,
       {"model.layers.1.self_attn.k_proj.weight", "[8,56]", "[56,8]", "BF16"}},
      {"a vector as a matrix",
       "qwen2-gqa",
       [](Draft& d) {
         d.header["model.norm.weight"]["shape"] = {7, 8};
       },
       invalid_input,
       {"model.norm.weight", "[56]", "[7,8]"}},
      {"vocab_size too large", "qwen2-gqa", [](Draft& d) { d.config["vocab_size"] = 204; }, invalid_input, {"vocab_size", "204", "203"}},
      {"a layer missing",
       "qwen2-gqa",
       [](Draft& d) { d.config["num_hidden_layers"] = 3; },
       invalid_input,
       {"model.layers.2.", "no such tensor"}},
      {"a layer too many",
       "qwen2-gqa",
       [](Draft& d) { d.config["num_hidden_layers"] = 1; },
       invalid_input,
       {"num_layers 1", "model.layers.1."}},
      {"another width",
       "qwen2-gqa",
       [](Draft& d) { d.config["intermediate_size"] = 96; },
       invalid_input,
       {"gate_proj", "[96,56]", "[92,56]"}},
      {"bias missing",
       "qwen2-gqa",
       [](Draft& d) { d.rename("model.layers.0.self_attn.q_proj.bias", "q.rotary_emb.inv_freq"); },
       invalid_input,
       {"q_proj.bias"}},
      {"bias too many",
       "llama-untied",
       [](Draft& d) { d.add("model.layers.0.self_attn.o_proj.bias", "F16", {64}, 128); },
       incompatible,
       {"o_proj.bias"}},
      {"an adapter",
       "qwen2-gqa",
       [](Draft& d) { d.rename("lm_head.weight", "score.weight"); },
       invalid_input,
       {"lm_head.weight", "tie_word_embeddings is false"}},
      {"tied, but another head",
       "qwen3-wide-heads",
       [](Draft& d) {
         d.add("lm_head.weight", "BF16", {190, 40}, 190 * 40 * 2);
       },
       invalid_input,
       {"lm_head.weight", "tie_word_embeddings"}},
      {"GPTQ tensors",
       "qwen2-gqa",
       [](Draft& d) {
         d.add("model.layers.0.mlp.up_proj.qweight", "I32", {7, 92}, 7 * 92 * 4);
       },
       incompatible,
       {"qweight", "quantization_config"}},
      {"integers",
       "qwen2-gqa",
       [](Draft& d) { d.header["model.norm.weight"]["dtype"] = "I16"; },
       invalid_input,
       {"model.norm.weight", "I16"}},
      {"quantization_config",
       "qwen2-gqa",
       [](Draft& d) {
         d.config["quantization_config"] = {{"quant_method", "awq"}, {"bits", 4}};
       },
       invalid_input,
       {"quantization_config", "awq", "group_size"}},
      {"a mixture of experts",
       "qwen2-gqa",
       [](Draft& d) { d.config["architectures"] = {"Qwen3MoeForCausalLM"}; },
       incompatible,
       {"Qwen3MoeForCausalLM", "mixture-of-experts", "Qwen3ForCausalLM"}},
      {"another architecture",
       "qwen2-gqa",
       [](Draft& d) { d.config["architectures"] = {"BertModel"}; },
       incompatible,
       {"BertModel", "Qwen2ForCausalLM"}},
      {"no architecture", "qwen2-gqa", [](Draft& d) { d.config.erase("architectures"); }, invalid_input, {"architectures"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    Draft draft(c.model);
    c.change(draft);
    try {
      draft.plan();
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), c.code) << error.message();
      for (const char* name : c.named) EXPECT_NE(error.message().find(name), std::string::npos) << name << " in: " << error.message();
    }
  }
}

// Templates that are not recognised fall back to a format that exists; without one the model is a text model.
TEST(ChatFormats, DefaultsOfFamilies) {
  const struct {
    const char* model;
    const char* jinja;
    const char* generation;
    const char* format;
  } cases[] = {
      {"qwen1-ntk", nullptr, R"({"chat_format": "chatml"})", "chatml-qwen1"},
      {"qwen1-ntk", nullptr, R"({"chat_format": "raw"})", nullptr},
      {"qwen2-gqa", nullptr, nullptr, nullptr},
      {"qwen2-gqa", "<|im_start|> You are Qwen, made by", nullptr, "chatml-qwen2.5"},
      {"qwen2-gqa", "<|im_start|> You are a helpful assistant", nullptr, "chatml-qwen2"},
      {"qwen2-gqa", "<|im_start|>", nullptr, "chatml"},
      {"qwen2-gqa", "<User>", nullptr, nullptr},
      {"qwen3-wide-heads", "<|im_start|>", nullptr, "chatml-qwen3"},
      {"llama-untied", "<|im_start|> named SmolLM", nullptr, "chatml-smollm2"},
      {"llama-untied", "<|user|>", nullptr, "zephyr"},
      {"llama-untied", "[INST]", nullptr, "llama2"},
      {"llama-untied", "<|start_header_id|>", nullptr, nullptr},
  };
  for (const auto& c : cases) {
    const TempFolder folder;
    for (const char* file : {"config.json", "model.safetensors"}) std::filesystem::copy(golden(c.model) + "/" + file, folder / file);
    if (c.jinja != nullptr) std::ofstream(folder / "chat_template.jinja") << c.jinja;
    if (c.generation != nullptr) std::ofstream(folder / "generation_config.json") << c.generation;
    const Checkpoint checkpoint = Checkpoint::open(folder / "");
    const char* found = family_of(checkpoint).default_chat_format(checkpoint);
    EXPECT_STREQ(found, c.format) << c.model << ' ' << (c.jinja == nullptr ? "" : c.jinja);
    if (found == nullptr) continue;
    EXPECT_STREQ(chat_format(found).name, found);
  }
}

}  // namespace
}  // namespace quern
