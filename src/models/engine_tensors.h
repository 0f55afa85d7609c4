// The tensors of an engine file: names, shapes and roles by the config alone, the same for every family and every source.
// The builder writes them, the Transformer loads them, `plan` adds them up.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/model_config.h"
#include "tensor/tensor.h"

namespace quern {

enum class TensorRole : uint8_t {
  embedding,
  head,
  matrix,  // in the format of --dtype
  vector,  // always f32
};

// Where the rows of an engine tensor lie in its source tensor.
enum class RowSource : uint8_t {
  whole,  // the source tensor as it is
  third_0,
  third_1,
  third_2,          // one third of a fused q, k, v matrix or bias
  unpermute_heads,  // GGUF of arch llama: rope pairs adjacent in each head -> halves
};

enum class Dim : uint8_t { none, vocab, hidden, intermediate, q_rows, kv_rows, head_dim };
size_t dim_size(Dim dim, const ModelConfig& config);

struct EngineTensorRow {
  const char* name;   // "blk.*.q": `*` is the layer number
  Dim rows, columns;  // columns none: a vector [rows]
  TensorRole role;
  bool (*present)(const ModelConfig&);
};
std::span<const EngineTensorRow> engine_tensor_rows();

struct EngineTensor {
  std::string name;
  Shape shape;
  TensorRole role;
  const EngineTensorRow* row;
  size_t layer;  // 0 for tensors outside the layers
};
// All tensors of a model in file order: embed, each layer's, norm, head (when not tied). The tokenizer is the builder's.
std::vector<EngineTensor> engine_tensors(const ModelConfig& config);

// "blk.*.q" with the layer number filled in.
std::string layer_tensor_name(const char* pattern, size_t layer);

}  // namespace quern
