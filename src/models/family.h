// What one family of models is made of: architecture names, config reader, tensor rules, chat format. One file each in models/families/.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "files/checkpoint.h"
#include "files/engine_file.h"
#include "models/model_config.h"

namespace quern {

// Where rows of an engine tensor come from. `*` in names stands for the layer number.
struct TensorRule {
  enum class How : uint8_t {
    whole,              // the source tensor as it is
    third_0, third_1, third_2,  // rows of one third of a fused q, k, v matrix or bias
    unpermute_heads,    // GGUF of arch llama: rope pairs adjacent -> halves, num_heads heads
    unpermute_kv_heads,
  };
  // Which rows and columns the engine tensor has, in terms of the config.
  enum class Dim : uint8_t { none, vocab, hidden, intermediate, q_rows, kv_rows, head_dim };
  enum class Role : uint8_t { embedding, head, matrix, vector };  // matrix: quantised by --dtype; vector: always f32

  const char* source;   // "model.layers.*.self_attn.q_proj.weight"
  const char* engine;   // "blk.*.q"
  Dim rows, columns;    // columns none: a vector
  Role role;
  How how = How::whole;
  bool optional = false;  // may be absent (head of tied models, biases by config)
};

struct ModelFamily {
  const char* name;                                // "qwen1", "qwen2", "qwen3", "llama"
  std::vector<const char*> architectures;          // config.json architectures[0]
  std::vector<const char*> gguf_architectures;     // general.architecture
  ModelConfig (*read_config)(const JsonFields& config);             // Hugging Face config.json
  ModelConfig (*read_gguf_config)(const JsonFields& metadata);      // GGUF keys
  std::span<const TensorRule> rules;               // Hugging Face names
  std::span<const TensorRule> gguf_rules;
  const char* (*default_chat_format)(const Checkpoint& checkpoint);  // when the template is not recognised; null = a text model
};

std::span<const ModelFamily* const> model_families();
// The family of a checkpoint; throws incompatible with the architecture found and the list.
const ModelFamily& family_of(const Checkpoint& checkpoint);
const ModelFamily& find_family(std::string_view name);  // by ModelFamily::name
ModelConfig read_model_config(const ModelFamily& family, const Checkpoint& checkpoint);

// One engine tensor of one layer with its sources resolved: what the builder writes and the loader expects.
struct TensorPlan {
  std::string engine_name;
  Shape shape;
  TensorRule::Role role;
  TensorRule::How how;
  const SourceTensor* source;  // null in expected_tensors()
};
// Builder: every engine tensor of the checkpoint in file order. Throws naming tensor, wanted and found shape; unknown weights are refused.
std::vector<TensorPlan> plan_tensors(const ModelFamily& family, const ModelConfig& config, const Checkpoint& checkpoint);

}  // namespace quern
