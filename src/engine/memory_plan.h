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
  uint64_t weights = 0;  // as the device holds them, the mapped file's pages included where they are used in place
  uint64_t kv_cache = 0;
  uint64_t workspace = 0;  // activations, kernels' workspace, rope tables, tokenizer, program
  uint64_t total() const { return weights + kv_cache + workspace; }
  uint64_t kv_bytes_per_token = 0;
  size_t context = 0, parallel = 0, kv_blocks = 0;
};

// For an engine file's tensors (its own, or those that a build would write). `parallel` whole contexts of `context` tokens.
MemoryPlan plan_memory(const ModelConfig& config, const std::vector<EngineTensorInfo>& tensors, Backend& backend,
                       const EngineOptions& options);

}  // namespace quern
