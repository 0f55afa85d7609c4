// Writers of small checkpoints, for the tests beside this file.
#include "builder/tiny_checkpoint.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "base/float16.h"
#include "base/utf8.h"
#include "formats/list.h"

namespace quern::tiny {
namespace {

constexpr size_t kHidden = 64, kIntermediate = 96, kLayers = 2, kHeads = 4, kHeadDim = 16;

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// GPT-2's alphabet: the printable form of each byte.
std::string byte_text(unsigned byte) {
  const auto is_plain = [](unsigned b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
  std::string text;
  unsigned shifted = 0;
  for (unsigned b = 0; b < byte; ++b) shifted += is_plain(b) ? 0 : 1;
  utf8_append(text, is_plain(byte) ? byte : 0x100 + shifted);
  return text;
}

std::string base64(unsigned char byte) {
  constexpr const char* kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  return {kAlphabet[byte >> 2], kAlphabet[(byte & 3) << 4], '=', '='};
}

constexpr const char* kSpecials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};  // ids 256, 257, 258

std::string to_bytes(const TinyWeight& weight, const std::string& type) {
  const std::map<std::string, Format> formats = {
      {"F32", Format::f32}, {"F16", Format::f16}, {"BF16", Format::bf16}, {"Q8_0", Format::i8g32}, {"Q4_0", Format::i4g32}};
  const Format format = formats.at(type);
  const size_t columns = weight.shape.back(), rows = weight.values.size() / columns;
  std::string bytes(rows * row_bytes(format, columns), '\0');
  for (size_t row = 0; row < rows; ++row) {
    format_info(format).pack(weight.values.data() + row * columns, columns,
                             reinterpret_cast<std::byte*>(bytes.data()) + row * row_bytes(format, columns));
  }
  return bytes;
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  float next() {  // [-1, 1), 24 bits
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<float>(state_ >> 40) * 0x1p-23F - 1.F;
  }

 private:
  uint64_t state_;
};

TinyWeight random_weight(Random& random, std::vector<size_t> shape) {
  TinyWeight weight{std::move(shape), {}};
  size_t count = 1;
  for (const size_t dim : weight.shape) count *= dim;
  for (size_t i = 0; i < count; ++i) weight.values.push_back(random.next());
  return weight;
}

// llama.cpp's converter: reshape(heads, 2, head_dim / 2).swapaxes(1, 2).
TinyWeight permuted(const TinyWeight& weight) {
  TinyWeight out = weight;
  const size_t columns = weight.values.size() / weight.shape[0];
  for (size_t row = 0; row < weight.shape[0]; ++row) {
    const size_t head = row / kHeadDim, half = row % kHeadDim / (kHeadDim / 2), pair = row % (kHeadDim / 2);
    const size_t to = head * kHeadDim + pair * 2 + half;
    std::copy_n(weight.values.begin() + static_cast<std::ptrdiff_t>(row * columns), columns,
                out.values.begin() + static_cast<std::ptrdiff_t>(to * columns));
  }
  return out;
}

std::string gguf_name(std::string name) {
  const std::pair<const char*, const char*> kParts[] = {{"model.embed_tokens", "token_embd"},
                                                        {"model.norm", "output_norm"},
                                                        {"lm_head", "output"},
                                                        {"model.layers", "blk"},
                                                        {"post_attention_layernorm", "ffn_norm"},
                                                        {"input_layernorm", "attn_norm"},
                                                        {"self_attn.o_proj", "attn_output"},
                                                        {"self_attn.q_proj", "attn_q"},
                                                        {"self_attn.k_proj", "attn_k"},
                                                        {"self_attn.v_proj", "attn_v"},
                                                        {"self_attn.q_norm", "attn_q_norm"},
                                                        {"self_attn.k_norm", "attn_k_norm"},
                                                        {"mlp.gate_proj", "ffn_gate"},
                                                        {"mlp.up_proj", "ffn_up"},
                                                        {"mlp.down_proj", "ffn_down"}};
  for (const auto& [from, to] : kParts) {
    if (const size_t at = name.find(from); at != name.npos) name.replace(at, std::strlen(from), to);
  }
  return name;
}

class GgufWriter {
 public:
  void text(const std::string& value) {
    append<uint64_t>(header_, value.size());
    header_ += value;
  }
  void key(const std::string& name, uint32_t type) {
    text(name);
    append(header_, type);
    ++num_keys_;
  }
  void value(const std::string& name, const Json& json) {
    if (json.is_string()) {
      key(name, 8);
      text(json.get<std::string>());
    } else if (json.is_boolean()) {
      key(name, 7);
      append<uint8_t>(header_, json.get<bool>() ? 1 : 0);
    } else if (json.is_number_float()) {
      key(name, 6);
      append(header_, json.get<float>());
    } else {
      key(name, 4);
      append(header_, json.get<uint32_t>());
    }
  }
  void texts(const std::string& name, const std::vector<std::string>& values) {
    key(name, 9);
    append<uint32_t>(header_, 8);
    append<uint64_t>(header_, values.size());
    for (const std::string& each : values) text(each);
  }
  void integers(const std::string& name, const std::vector<int32_t>& values) {
    key(name, 9);
    append<uint32_t>(header_, 5);
    append<uint64_t>(header_, values.size());
    for (const int32_t each : values) append(header_, each);
  }
  void tensor(const std::string& name, const TinyWeight& weight, const std::string& type) {
    const std::map<std::string, uint32_t> ids = {{"F32", 0}, {"F16", 1}, {"Q4_0", 2}, {"Q8_0", 8}, {"BF16", 30}};
    append<uint64_t>(infos_, name.size());
    infos_ += name;
    append<uint32_t>(infos_, static_cast<uint32_t>(weight.shape.size()));
    for (size_t i = weight.shape.size(); i-- > 0;) append<uint64_t>(infos_, weight.shape[i]);
    append(infos_, ids.at(type));
    append<uint64_t>(infos_, data_.size());
    data_ += to_bytes(weight, type);
    data_.resize((data_.size() + 31) / 32 * 32);
    ++num_tensors_;
  }
  std::string file() const {
    std::string out = "GGUF";
    append<uint32_t>(out, 3);
    append<uint64_t>(out, num_tensors_);
    append<uint64_t>(out, num_keys_);
    out += header_ + infos_;
    out.resize((out.size() + 31) / 32 * 32);
    return out + data_;
  }

 private:
  std::string header_, infos_, data_;
  uint64_t num_keys_ = 0, num_tensors_ = 0;
};

}  // namespace

TestFolder::TestFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "quern-builder-XXXXXX").string();
  CHECK(::mkdtemp(name.data()) != nullptr, "{}", name);
  path_ = name;
}

TestFolder::~TestFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  CHECK(file.flush().good(), "{}", path);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TinyCheckpoint make(const std::string& family) {
  TinyCheckpoint c{.family = family, .config = {}, .generation_config = nullptr, .tokenizer_config = nullptr, .weights = {}};
  Random random(11);
  const auto add = [&](const std::string& name, std::vector<size_t> shape) { c.weights[name] = random_weight(random, std::move(shape)); };
  if (family == "qwen1") {
    c.config = {{"architectures", {"QWenLMHeadModel"}},
                {"model_type", "qwen"},
                {"hidden_size", kHidden},
                {"intermediate_size", 2 * kIntermediate},
                {"num_hidden_layers", kLayers},
                {"num_attention_heads", kHeads},
                {"kv_channels", kHeadDim},
                {"layer_norm_epsilon", 1e-6},
                {"rotary_emb_base", 10000},
                {"rotary_pct", 1.0},
                {"seq_length", 2048},
                {"max_position_embeddings", 8192},
                {"use_dynamic_ntk", true},
                {"use_logn_attn", true},
                {"no_bias", true},
                {"vocab_size", 512},
                {"tie_word_embeddings", false},
                {"bf16", true}};
    add("transformer.wte.weight", {512, kHidden});
    for (size_t i = 0; i < kLayers; ++i) {
      const std::string p = fmt::format("transformer.h.{}.", i);
      add(p + "ln_1.weight", {kHidden});
      add(p + "attn.c_attn.weight", {3 * kHidden, kHidden});
      add(p + "attn.c_attn.bias", {3 * kHidden});
      add(p + "attn.c_proj.weight", {kHidden, kHidden});
      add(p + "ln_2.weight", {kHidden});
      add(p + "mlp.w1.weight", {kIntermediate, kHidden});
      add(p + "mlp.w2.weight", {kIntermediate, kHidden});
      add(p + "mlp.c_proj.weight", {kHidden, kIntermediate});
    }
    add("transformer.ln_f.weight", {kHidden});
    add("lm_head.weight", {512, kHidden});
    return c;
  }
  const std::map<std::string, const char*> architectures = {
      {"qwen2", "Qwen2ForCausalLM"}, {"qwen3", "Qwen3ForCausalLM"}, {"llama", "LlamaForCausalLM"}};
  c.config = {{"architectures", {architectures.at(family)}},
              {"model_type", family},
              {"hidden_size", kHidden},
              {"intermediate_size", kIntermediate},
              {"num_hidden_layers", kLayers},
              {"num_attention_heads", kHeads},
              {"num_key_value_heads", 2},
              {"head_dim", kHeadDim},
              {"rms_norm_eps", 1e-6},
              {"rope_theta", 10000.0},
              {"hidden_act", "silu"},
              {"max_position_embeddings", 512},
              {"vocab_size", 272},
              {"tie_word_embeddings", false},
              {"eos_token_id", 256}};
  c.tokenizer_config = {{"eos_token", "<|endoftext|>"}, {"added_tokens_decoder", Json::object()}};
  for (int id = 256; id < 259; ++id) {
    c.tokenizer_config["added_tokens_decoder"][std::to_string(id)] = {
        {"content", kSpecials[id - 256]}, {"special", true},    {"lstrip", false}, {"rstrip", false},
        {"single_word", false},           {"normalized", false}};
  }
  add("model.embed_tokens.weight", {272, kHidden});
  for (size_t i = 0; i < kLayers; ++i) {
    const std::string p = fmt::format("model.layers.{}.", i);
    add(p + "input_layernorm.weight", {kHidden});
    for (const auto& [name, rows] : {std::pair{"q", kHidden}, std::pair{"k", kHidden / 2}, std::pair{"v", kHidden / 2}}) {
      add(fmt::format("{}self_attn.{}_proj.weight", p, name), {rows, kHidden});
      if (family == "qwen2") add(fmt::format("{}self_attn.{}_proj.bias", p, name), {rows});
    }
    if (family == "qwen3") add(p + "self_attn.q_norm.weight", {kHeadDim});
    if (family == "qwen3") add(p + "self_attn.k_norm.weight", {kHeadDim});
    add(p + "self_attn.o_proj.weight", {kHidden, kHidden});
    add(p + "post_attention_layernorm.weight", {kHidden});
    add(p + "mlp.gate_proj.weight", {kIntermediate, kHidden});
    add(p + "mlp.up_proj.weight", {kIntermediate, kHidden});
    add(p + "mlp.down_proj.weight", {kHidden, kIntermediate});
  }
  add("model.norm.weight", {kHidden});
  add("lm_head.weight", {272, kHidden});
  return c;
}

void TinyCheckpoint::write(const std::string& folder) const {
  std::filesystem::create_directories(folder);
  write_file(folder + "/config.json", config.dump(1));
  if (!generation_config.is_null()) write_file(folder + "/generation_config.json", generation_config.dump(1));
  Json tokenizer = tokenizer_config;
  if (!chat_template.empty()) tokenizer["chat_template"] = chat_template;
  if (!tokenizer.is_null()) write_file(folder + "/tokenizer_config.json", tokenizer.dump(1));
  if (family == "qwen1") {
    std::string lines;
    for (unsigned byte = 0; byte < 256; ++byte) lines += fmt::format("{} {}\n", base64(static_cast<unsigned char>(byte)), byte);
    write_file(folder + "/qwen.tiktoken", lines);
  } else {
    Json vocab = Json::object();
    for (unsigned byte = 0; byte < 256; ++byte) vocab[byte_text(byte)] = byte;
    write_file(folder + "/vocab.json", vocab.dump());
    write_file(folder + "/merges.txt", "#version: 0.2\n");
  }
  Json header = Json::object();
  std::string data;
  for (const auto& [name, weight] : weights) {
    const size_t begin = data.size();
    data += to_bytes(weight, dtype);
    header[name] = {{"dtype", dtype}, {"shape", weight.shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  std::string file;
  append<uint64_t>(file, text.size());
  write_file(folder + "/model.safetensors", file + text + data);
}

void write_gguf(const TinyCheckpoint& checkpoint, const std::string& path, const std::string& type,
                const std::function<void(Json&)>& change) {
  const std::string arch = checkpoint.family;
  Json keys = {{"general.architecture", arch},
               {"general.name", "Tiny"},
               {arch + ".block_count", kLayers},
               {arch + ".context_length", 512},
               {arch + ".embedding_length", kHidden},
               {arch + ".feed_forward_length", kIntermediate},
               {arch + ".attention.head_count", kHeads},
               {arch + ".attention.head_count_kv", 2},
               {arch + ".attention.key_length", kHeadDim},
               {arch + ".attention.value_length", kHeadDim},
               {arch + ".attention.layer_norm_rms_epsilon", 1e-6F},
               {arch + ".rope.freq_base", 10000.F},
               {"tokenizer.ggml.model", "gpt2"},
               {"tokenizer.ggml.pre", "qwen2"},
               {"tokenizer.ggml.eos_token_id", 256}};
  if (!checkpoint.chat_template.empty()) keys["tokenizer.chat_template"] = checkpoint.chat_template;
  change(keys);
  GgufWriter file;
  for (const auto& [name, value] : keys.items()) file.value(name, value);
  std::vector<std::string> tokens;
  std::vector<int32_t> types(256, 1);
  for (unsigned byte = 0; byte < 256; ++byte) tokens.push_back(byte_text(byte));
  for (const char* special : kSpecials) tokens.emplace_back(special), types.push_back(3);
  while (tokens.size() < 272) tokens.push_back(fmt::format("[PAD{}]", tokens.size())), types.push_back(5);
  file.texts("tokenizer.ggml.tokens", tokens);
  file.integers("tokenizer.ggml.token_type", types);
  file.texts("tokenizer.ggml.merges", {});
  for (const auto& [name, weight] : checkpoint.weights) {
    const bool is_permuted = arch == "llama" && (name.find("q_proj") != name.npos || name.find("k_proj") != name.npos);
    file.tensor(gguf_name(name), is_permuted ? permuted(weight) : weight, weight.shape.size() == 1 ? "F32" : type);
  }
  write_file(path, file.file());
}

}  // namespace quern::tiny
