// AWQ, version gemm: X.qweight I32 [K, N/8], X.qzeros I32 [G, N/8], X.scales [G, N]. A word holds 8 outputs in the order 0 2 4 6 1 3 5 7.
// value = scale * (code - zero).
#include <algorithm>

#include "base/error.h"
#include "files/packed_layouts.h"

namespace quern {
namespace {

constexpr uint8_t kPlaces[8] = {0, 4, 1, 5, 2, 6, 3, 7};  // of output 8c + i in word c

}  // namespace

void join_awq(PackedTensors& tensors, const JsonFields& config) {
  packed_bits(config, {4});
  std::string version = config.optional_text({"version"}).value_or("gemm");
  std::ranges::transform(version, version.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (version != "gemm") raise(incompatible, "{}: version: want gemm, found {}", config.where(), escaped(version, 40));
  const uint64_t group_size = group_size_of(config, config.has("q_group_size") ? "q_group_size" : "group_size");
  const std::vector<std::string> modules = tensors.modules(".qweight");
  if (modules.empty()) raise(invalid_input, "{}: want tensors *.qweight, found none", tensors.where());
  for (const std::string& module : modules) {
    const SourceTensor& codes = tensors.want_matrix(module, ".qweight", PackedTensors::kWords);
    const uint64_t columns = codes.dims[0], words = codes.dims[1], rows = words * 8;
    const uint64_t size = group_size == kWholeRow ? columns : group_size, num_groups = (columns + size - 1) / size;
    const SourceTensor& scales = tensors.want(module, ".scales", PackedTensors::kFloats, {num_groups, rows});
    const SourceTensor& zeros = tensors.want(module, ".qzeros", PackedTensors::kWords, {num_groups, words});
    const auto grid = [&](const SourceTensor& tensor) {
      return CodeGrid{.data = tensor.bytes.data(),
                      .bits = 4,
                      .word_bits = 32,
                      .row_step = 1,
                      .column_step = words,
                      .packs_rows = true,
                      .places = kPlaces};
    };
    tensors.join(module, "AWQ int4",
                 {.rows = rows,
                  .columns = columns,
                  .codes = grid(codes),
                  .scales = scale_grid(scales, 1, rows),
                  .zeros = grid(zeros),
                  .groups = tensors.groups(module, ".g_idx", columns, size, num_groups)},
                 {".qweight", ".qzeros", ".scales"});
  }
}

}  // namespace quern
