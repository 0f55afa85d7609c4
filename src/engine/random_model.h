// For tests: small engine files with random weights in any format, and a tokenizer whose tokens are the 256 bytes and "<end>".
#pragma once
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "files/engine_file.h"
#include "models/engine_tensors.h"
#include "text/tokenizer.h"

namespace quern::testing {

inline Tokenizer byte_tokenizer() {
  TokenizerData data;
  data.splitter = TokenizerData::Splitter::none;
  for (int byte = 0; byte < 256; ++byte) {
    data.tokens.emplace_back(1, static_cast<char>(byte));
    data.byte_tokens[static_cast<size_t>(byte)] = byte;
  }
  data.tokens.emplace_back();
  data.specials.push_back({256, "<end>", true});
  return Tokenizer(std::move(data));
}

// A model of the Qwen2 kind; 256 columns everywhere, so that every format fits.
inline ModelConfig random_model_config() {
  ModelConfig config;
  config.family = "qwen2";
  config.hidden_size = 256, config.intermediate_size = 256, config.num_layers = 2;
  config.num_heads = 4, config.num_kv_heads = 2, config.head_dim = 64;
  config.vocab_size = 272, config.max_position_embeddings = 512;
  config.norm_epsilon = 1e-6;
  config.rope.rotary_dims = 64;
  config.tied_embeddings = true, config.qkv_bias = true;
  config.windows = {0, 0};
  return config;
}

class RandomEngineFile {
 public:
  RandomEngineFile(const ModelConfig& config, Format format, const Json& generation = {}) {
    std::string name = (std::filesystem::temp_directory_path() / "quern-engine-XXXXXX").string();
    CHECK(mkdtemp(name.data()) != nullptr, "no temporary folder");
    folder_ = name;
    const std::vector<std::byte> tokenizer = byte_tokenizer().packed();
    std::vector<EngineTensorInfo> layout;
    for (const EngineTensor& tensor : engine_tensors(config)) {
      layout.push_back({.name = tensor.name, .format = tensor.role == TensorRole::vector ? Format::f32 : format, .shape = tensor.shape});
    }
    layout.push_back({.name = "tokenizer", .shape = {tokenizer.size()}, .is_raw = true});
    EngineFileWriter writer((folder_ / "random.quern").string(), layout, {});
    std::mt19937 random(5);
    for (size_t i = 0; i + 1 < layout.size(); ++i) write_random(writer, layout[i], random);
    writer.write(tokenizer);
    writer.finish({.model = config.to_json(), .generation = generation});
    file_ = EngineFile::open((folder_ / "random.quern").string());
  }
  ~RandomEngineFile() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  RandomEngineFile(const RandomEngineFile&) = delete;

  const std::shared_ptr<EngineFile>& file() const { return file_; }

 private:
  static void write_random(EngineFileWriter& writer, const EngineTensorInfo& tensor, std::mt19937& random) {
    const bool is_vector = tensor.shape.rank() == 1;
    const size_t rows = is_vector ? 1 : tensor.shape[0], columns = tensor.shape.columns();
    std::normal_distribution<float> normal(is_vector && !tensor.name.ends_with("bias") ? 1.F : 0.F,
                                           is_vector ? 0.2F : 2.F / std::sqrt(static_cast<float>(columns)));
    std::vector<float> values(columns);
    std::vector<std::byte> bytes(row_bytes(tensor.format, columns));
    for (size_t row = 0; row < rows; ++row) {
      for (float& value : values) value = normal(random);
      format_info(tensor.format).pack(values.data(), columns, bytes.data());
      writer.write(bytes);
    }
  }

  std::filesystem::path folder_;
  std::shared_ptr<EngineFile> file_;
};

}  // namespace quern::testing
