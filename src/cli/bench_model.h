// Models to time without a checkpoint: shapes of known models with random weights, as an engine file that lives while it is open.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "files/engine_file.h"
#include "models/model_config.h"

namespace quern {

struct BenchShape {
  const char* name;
  uint32_t hidden_size, intermediate_size, num_layers, num_heads, num_kv_heads, head_dim, vocab_size;
  bool tied_embeddings, qkv_bias, qk_norm;
};

std::span<const BenchShape> bench_shapes();

// Writes an engine file of the shape called `name` with weights drawn from `seed`, opens it, and removes its name: its room on the disk
// is free again when it is closed. It holds no tokenizer. Throws usage for a name that is not in the list.
std::shared_ptr<EngineFile> make_bench_model(const std::string& name, const std::string& dtype, size_t group_size, uint64_t seed);

}  // namespace quern
