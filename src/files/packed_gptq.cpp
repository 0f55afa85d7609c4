// GPTQ: X.qweight I32 [K/p, N], p codes of a column in a word; X.qzeros I32 [G, N/p] along N; X.scales [G, N]; X.g_idx I32 [K].
// value = scale * (code - zero). Version 1 stores zero - 1; the addition wraps within the code's bits, as in the programs that write it.
#include "base/error.h"
#include "files/packed_layouts.h"

namespace quern {
namespace {

// What a stored zero point lacks.
unsigned zero_shift(const JsonFields& config) {
  const std::string format = config.optional_text({"checkpoint_format"}).value_or("gptq");
  if (format == "gptq") return 1;
  if (format == "gptq_v2") return 0;
  raise(incompatible, "{}: checkpoint_format: want gptq or gptq_v2, found {}", config.where(), escaped(format, 40));
}

void refuse_variants(const JsonFields& config) {
  if (config.flag("is_marlin_format", false)) raise(incompatible, "{}: is_marlin_format: want false, found true", config.where());
  const auto dynamic = config.raw().find("dynamic");
  if (dynamic != config.raw().end() && !dynamic->is_null() && !dynamic->empty()) {
    raise(incompatible, "{}: dynamic: want the same bits and groups for every module, found exceptions", config.where());
  }
  const std::string words = config.optional_text({"pack_dtype"}).value_or("int32");
  if (words != "int32") raise(incompatible, "{}: pack_dtype: want int32, found {}", config.where(), escaped(words, 40));
}

}  // namespace

void join_gptq(PackedTensors& tensors, const JsonFields& config) {
  refuse_variants(config);
  const uint64_t bits = packed_bits(config, {4, 8}), in_word = 32 / bits;
  const uint64_t group_size = group_size_of(config, "group_size");
  const unsigned shift = zero_shift(config);
  const std::vector<std::string> modules = tensors.modules(".qweight");
  if (modules.empty()) raise(invalid_input, "{}: want tensors *.qweight, found none", tensors.where());
  for (const std::string& module : modules) {
    const SourceTensor& codes = tensors.want_matrix(module, ".qweight", PackedTensors::kWords);
    const uint64_t columns = codes.dims[0] * in_word, rows = codes.dims[1];
    const uint64_t size = group_size == kWholeRow ? columns : group_size, num_groups = (columns + size - 1) / size;
    const uint64_t zero_words = (rows + in_word - 1) / in_word;
    const SourceTensor& scales = tensors.want(module, ".scales", PackedTensors::kFloats, {num_groups, rows});
    const SourceTensor& zeros = tensors.want(module, ".qzeros", PackedTensors::kWords, {num_groups, zero_words});
    const auto code_bits = static_cast<unsigned>(bits);
    tensors.join(
        module, bits == 4 ? "GPTQ int4" : "GPTQ int8",
        {.rows = rows,
         .columns = columns,
         .codes = {.data = codes.bytes.data(), .bits = code_bits, .word_bits = 32, .row_step = 1, .column_step = rows},
         .scales = scale_grid(scales, 1, rows),
         .zeros =
             {.data = zeros.bytes.data(), .bits = code_bits, .word_bits = 32, .row_step = 1, .column_step = zero_words, .packs_rows = true},
         .zero_shift = shift,
         .groups = tensors.groups(module, ".g_idx", columns, size, num_groups)},
        {".qweight", ".qzeros", ".scales", ".g_idx"});
  }
}

}  // namespace quern
