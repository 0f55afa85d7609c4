// Small checkpoints that tests write: every family, as a Hugging Face folder or a GGUF file, with random weights and a tokenizer of the
// 256 bytes. Tests only.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"

namespace quern::tiny {

// A folder of its own under the system's temporary one; removed with its contents.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

struct TinyWeight {
  std::vector<size_t> shape;  // slowest first
  std::vector<float> values;
};

// A checkpoint in memory: change what a test needs, then write it.
struct TinyCheckpoint {
  std::string family;  // "qwen1", "qwen2", "qwen3", "llama"
  Json config, generation_config, tokenizer_config;
  std::map<std::string, TinyWeight> weights;  // Hugging Face names
  std::string dtype = "F32";                  // of the safetensors file: F32, F16, BF16
  std::string chat_template;                  // "" for none

  // Writes config.json, model.safetensors, the tokenizer's files and the others that are not null into `folder`.
  void write(const std::string& folder) const;
};

// hidden 64, intermediate 96, 2 layers, 4 heads of 16, 2 KV heads (qwen1: 4), 272 rows of vocabulary (qwen1: 512); weights in [-1, 1).
TinyCheckpoint make(const std::string& family);

// The same model as a GGUF file. `type` is "F32", "F16", "Q8_0" or "Q4_0", of the matrices; llama's q and k are permuted as its converter
// does. `change` may edit the metadata: key -> value (text, integer, float, flag), arrays apart.
void write_gguf(
    const TinyCheckpoint& checkpoint, const std::string& path, const std::string& type,
    const std::function<void(Json&)>& change = [](Json&) {});

void write_file(const std::string& path, const std::string& bytes);
std::string read_file(const std::string& path);

}  // namespace quern::tiny
