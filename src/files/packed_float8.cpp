// FP8: X.weight F8_E4M3 [N, K] with X.weight_scale_inv [ceil(N/b), ceil(K/b)] for blocks (Qwen3-FP8: 128x128), or X.weight_scale: one
// number, or one a row. value = scale * weight. Scales of activations belong to programs that round those too; here they keep their 16
// bits.
#include "base/error.h"
#include "base/log.h"
#include "files/packed_layouts.h"

namespace quern {
namespace {

struct BlockSize {
  uint64_t rows = 0, columns = 0;  // 0: no blocks
};

BlockSize block_size(const JsonFields& config) {
  const auto found = config.raw().find("weight_block_size");
  if (found == config.raw().end() || found->is_null()) return {};
  const auto side = [&](size_t i) {
    const Json& value = found->at(i);
    const bool is_side = value.is_number_unsigned() && value.get<uint64_t>() >= 1 && value.get<uint64_t>() <= (1 << 20);
    if (!is_side)
      raise(invalid_input, "{}: weight_block_size: want two positive numbers, found {}", config.where(), escaped(value.dump(), 60));
    return value.get<uint64_t>();
  };
  if (!found->is_array() || found->size() != 2) raise(invalid_input, "{}: weight_block_size: want two numbers", config.where());
  return {side(0), side(1)};
}

std::vector<uint32_t> groups_of(uint64_t columns, uint64_t size) {
  std::vector<uint32_t> groups(columns);
  for (uint64_t c = 0; c < columns; ++c) groups[c] = static_cast<uint32_t>(c / size);
  return groups;
}

}  // namespace

void join_float8(PackedTensors& tensors, const JsonFields& config) {
  const std::string kind = config.optional_text({"fmt"}).value_or("e4m3");
  if (kind != "e4m3" && kind != "float8_e4m3fn") raise(incompatible, "{}: fmt: want e4m3, found {}", config.where(), escaped(kind, 40));
  const BlockSize block = block_size(config);
  const std::vector<std::string> modules = tensors.modules(".weight", PackedTensors::kFloat8);
  if (modules.empty()) raise(invalid_input, "{}: want tensors *.weight of F8_E4M3, found none", tensors.where());
  for (const std::string& module : modules) {
    const SourceTensor& codes = tensors.want_matrix(module, ".weight", PackedTensors::kFloat8);
    const uint64_t rows = codes.dims[0], columns = codes.dims[1];
    PackedMatrix::Source source{.values = PackedMatrix::Values::float8,
                                .rows = rows,
                                .columns = columns,
                                .codes = {.data = codes.bytes.data(), .row_step = columns, .column_step = 1}};
    if (block.rows != 0) {
      const uint64_t down = (rows + block.rows - 1) / block.rows, across = (columns + block.columns - 1) / block.columns;
      const SourceTensor& scales = tensors.want(module, ".weight_scale_inv", PackedTensors::kFloats, {down, across});
      source.scales = scale_grid(scales, across, 1);
      source.scales.rows_each = block.rows;
      source.groups = groups_of(columns, block.columns);
    } else {
      const SourceTensor& scales = tensors.want(module, ".weight_scale", PackedTensors::kFloats);
      const bool is_one = scales.tensor && scales.tensor.rows() * scales.tensor.columns() == 1;
      if (!is_one && scales.dims != PackedTensors::Dims{rows} && scales.dims != PackedTensors::Dims{rows, 1}) {
        tensors.want(module, ".weight_scale", PackedTensors::kFloats, {rows, 1});
      }
      source.scales = scale_grid(scales, is_one ? 0 : 1, 0);
      source.groups = groups_of(columns, columns);
    }
    tensors.join(module, "FP8", std::move(source), {".weight", ".weight_scale", ".weight_scale_inv"});
  }
  for (const char* ending : {".input_scale", ".input_scale_ub", ".k_scale", ".v_scale", ".q_scale"}) tensors.drop(ending);
}

}  // namespace quern
