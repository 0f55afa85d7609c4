#include "models/engine_tensors.h"

#include <string_view>

namespace quern {
namespace {

bool always(const ModelConfig&) { return true; }
bool with_bias(const ModelConfig& c) { return c.qkv_bias; }
bool with_qk_norm(const ModelConfig& c) { return c.qk_norm; }
bool untied(const ModelConfig& c) { return !c.tied_embeddings; }

constexpr EngineTensorRow kRows[] = {
    {"embed", Dim::vocab, Dim::hidden, TensorRole::embedding, always},
    {"blk.*.norm1", Dim::hidden, Dim::none, TensorRole::vector, always},
    {"blk.*.q", Dim::q_rows, Dim::hidden, TensorRole::matrix, always},
    {"blk.*.k", Dim::kv_rows, Dim::hidden, TensorRole::matrix, always},
    {"blk.*.v", Dim::kv_rows, Dim::hidden, TensorRole::matrix, always},
    {"blk.*.q.bias", Dim::q_rows, Dim::none, TensorRole::vector, with_bias},
    {"blk.*.k.bias", Dim::kv_rows, Dim::none, TensorRole::vector, with_bias},
    {"blk.*.v.bias", Dim::kv_rows, Dim::none, TensorRole::vector, with_bias},
    {"blk.*.q_norm", Dim::head_dim, Dim::none, TensorRole::vector, with_qk_norm},
    {"blk.*.k_norm", Dim::head_dim, Dim::none, TensorRole::vector, with_qk_norm},
    {"blk.*.out", Dim::hidden, Dim::q_rows, TensorRole::matrix, always},
    {"blk.*.norm2", Dim::hidden, Dim::none, TensorRole::vector, always},
    {"blk.*.gate", Dim::intermediate, Dim::hidden, TensorRole::matrix, always},
    {"blk.*.up", Dim::intermediate, Dim::hidden, TensorRole::matrix, always},
    {"blk.*.down", Dim::hidden, Dim::intermediate, TensorRole::matrix, always},
    {"norm", Dim::hidden, Dim::none, TensorRole::vector, always},
    {"head", Dim::vocab, Dim::hidden, TensorRole::head, untied},
};

bool in_layer(const EngineTensorRow& row) { return std::string_view(row.name).find('*') != std::string_view::npos; }

}  // namespace

size_t dim_size(Dim dim, const ModelConfig& config) {
  switch (dim) {
    case Dim::none: return 1;
    case Dim::vocab: return config.vocab_size;
    case Dim::hidden: return config.hidden_size;
    case Dim::intermediate: return config.intermediate_size;
    case Dim::q_rows: return config.q_rows();
    case Dim::kv_rows: return config.kv_rows();
    case Dim::head_dim: return config.head_dim;
  }
  raise(internal, "dimension {}", static_cast<int>(dim));
}

std::span<const EngineTensorRow> engine_tensor_rows() { return kRows; }

std::string layer_tensor_name(const char* pattern, size_t layer) {
  const std::string_view text = pattern;
  const size_t star = text.find('*');
  if (star == text.npos) return std::string(text);
  return fmt::format("{}{}{}", text.substr(0, star), layer, text.substr(star + 1));
}

std::vector<EngineTensor> engine_tensors(const ModelConfig& config) {
  std::vector<EngineTensor> tensors;
  const auto add = [&](const EngineTensorRow& row, size_t layer) {
    if (!row.present(config)) return;
    const size_t rows = dim_size(row.rows, config);
    const Shape shape = row.columns == Dim::none ? Shape{rows} : Shape{rows, dim_size(row.columns, config)};
    tensors.push_back({layer_tensor_name(row.name, layer), shape, row.role, &row, layer});
  };
  const EngineTensorRow* const end = std::end(kRows);
  for (const EngineTensorRow* row = kRows; row != end;) {
    const EngineTensorRow* group_end = row;
    while (group_end != end && in_layer(*group_end) == in_layer(*row)) ++group_end;
    for (size_t layer = 0; layer < (in_layer(*row) ? config.num_layers : 1); ++layer) {
      for (const EngineTensorRow* r = row; r != group_end; ++r) add(*r, layer);
    }
    row = group_end;
  }
  return tensors;
}

}  // namespace quern
