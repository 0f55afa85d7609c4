// What a model will take before anything is loaded: weights, KV cache and workspace in bytes.
#pragma once
#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "engine/engine.h"
#include "files/engine_file.h"
#include "models/model_config.h"

namespace quern {

struct MemoryPlan {
  uint64_t weights = 0;             // as the device holds them, the mapped file's pages included where they are used in place
  uint64_t embedding_in_place = 0;  // of these, an embedding of which only the rows of tokens that occur are ever read from the file
  uint64_t kv_cache = 0;
  uint64_t activations = 0;  // of one step, with rope tables and the kernels' workspace
  uint64_t other = 0;        // main memory: the program, the tokenizer; with a GPU its context and libraries besides
  uint64_t workspace() const { return activations + other; }
  uint64_t total() const { return weights - embedding_in_place + kv_cache + workspace(); }  // that the process comes to hold
  uint64_t kv_bytes_per_token = 0;
  size_t context = 0, parallel = 0, kv_blocks = 0;
};

// For the tensors of an engine file, its own or those that a build would write: name, format, shape and is_raw are read.
// `options` as an Engine would get them; their context and KV memory are taken as they are, whether they fit or not.
MemoryPlan plan_memory(const ModelConfig& config, const std::vector<EngineTensorInfo>& tensors, const Backend& backend,
                       const EngineOptions& options);

}  // namespace quern
