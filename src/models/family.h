// What one family of models is made of: architecture names, config reader, tensor names, chat format. One file each in models/families/.
// Constant tables; any thread.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "files/checkpoint.h"
#include "models/engine_tensors.h"
#include "models/model_config.h"

namespace quern {

// Which source tensor an engine tensor is made from, and how. `*` in names stands for the layer number.
struct TensorRule {
  const char* source;  // "model.layers.*.self_attn.q_proj.weight"
  const char* engine;  // "blk.*.q", a name of kEngineTensors
  RowSource how = RowSource::whole;
};

// What a user may add to a config that does not hold it.
struct ConfigOptions {
  bool gguf_qwen1_long_context = false;  // GGUF of arch qwen: dynamic NTK and logn attention with the file's context length
};

struct ModelFamily {
  const char* name;                                      // "qwen1", "qwen2", "qwen3", "llama"
  std::vector<const char*> architectures;                // config.json architectures[0]
  std::vector<const char*> gguf_architectures;           // general.architecture
  ModelConfig (*read_config)(const JsonFields& config);  // Hugging Face config.json
  // GGUF keys. vocab_size, tied_embeddings, qkv_bias of optional biases and rope divisors are the tensors' to say: read_model_config.
  ModelConfig (*read_gguf_config)(const JsonFields& metadata, const ConfigOptions& options);
  std::span<const TensorRule> rules;  // Hugging Face names
  std::span<const TensorRule> gguf_rules;
  const char* (*default_chat_format)(const Checkpoint& checkpoint);  // when the template is not recognised; null = a text model
};

std::span<const ModelFamily* const> model_families();
// The family of a checkpoint; throws incompatible with the architecture found and the list.
const ModelFamily& family_of(const Checkpoint& checkpoint);
const ModelFamily& find_family(std::string_view name);  // by ModelFamily::name
// Reads and checks the config; a field that is present and not understood is refused by name.
ModelConfig read_model_config(const ModelFamily& family, const Checkpoint& checkpoint, const ConfigOptions& options = {});

// One engine tensor of one layer with its source resolved: what the builder writes.
struct TensorPlan {
  std::string engine_name;
  Shape shape;
  TensorRole role;
  RowSource how;
  const SourceTensor* source;
};
// Every engine tensor of the checkpoint in file order (that of engine_tensors()). Throws naming tensor, wanted and found shape; unknown
// weights are refused.
std::vector<TensorPlan> plan_tensors(const ModelFamily& family, const ModelConfig& config, const Checkpoint& checkpoint);

// The row of the plan's source (the element, for a vector) that holds engine row `row`.
size_t source_row(const TensorPlan& plan, const ModelConfig& config, size_t row);

}  // namespace quern
