// From an engine file to everything that an Engine runs, with the options that were left open settled: context, KV memory, step size.
#pragma once
#include <memory>

#include "backend/backend.h"
#include "engine/engine.h"

namespace quern {

struct LoadedModel {
  std::shared_ptr<EngineFile> file;    // these two are null for an engine that was made of a runner
  Transformer* transformer = nullptr;  // the runner's
  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<ModelRunner> runner;
  GenerationDefaults defaults;
  size_t num_tokens = 0;  // ids from there on are padding
};

// Throws usage for options that contradict the model or each other, resource when what was asked for does not fit the memory (with both
// numbers), and what reading the file throws.
LoadedModel load_model(std::shared_ptr<EngineFile> file, Backend& backend, EngineOptions& options);

// The format of keys and values where the options leave it open: f32 beside f32 weights, else f16.
Format kv_format_for(const std::vector<EngineTensorInfo>& tensors, const EngineOptions& options);
// Tokens of one step where the options leave it open.
size_t step_tokens_for(const Device& device, const EngineOptions& options);

}  // namespace quern
