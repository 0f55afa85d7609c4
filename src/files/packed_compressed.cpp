// compressed-tensors. pack-quantized: X.weight_packed I32 [N, K/p], p codes of a row in a word, lowest first, each plus 2^(bits-1);
// X.weight_shape I64 [2]; X.weight_zero_point I32 [N/p, G] likewise, along N; X.weight_g_idx I32 [K]. int-quantized: X.weight I8 [N, K].
// float-quantized: X.weight F8_E4M3 [N, K]. X.weight_scale is [1], [N, 1], [N, G] or one a block. value = scale * (code - zero).
#include <algorithm>

#include "base/error.h"
#include "files/packed_layouts.h"
#include "formats/block.h"

namespace quern {
namespace {

constexpr const char* kFormats[] = {"pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision"};
constexpr std::array<std::string_view, 2> kSizes = {"I64", "I32"}, kBytes = {"I8", "F8_E4M3"}, kZeros = {"I32", "I8"};
constexpr std::array<std::string_view, 1> kSignedBytes = {"I8"};
constexpr const char* kEndings[] = {".weight_packed", ".weight", ".weight_scale", ".weight_zero_point", ".weight_g_idx", ".weight_shape"};

void check_format(const JsonFields& config, const char* field) {
  const std::optional<std::string> format = config.optional_text({field});
  if (!format) return;
  const auto found = std::ranges::find_if(kFormats, [&](const char* name) { return *format == name; });
  if (found == std::end(kFormats)) {
    raise(incompatible, "{}: {}: want pack-quantized, int-quantized, float-quantized or naive-quantized, found {}", config.where(), field,
          escaped(*format, 40));
  }
}

struct Blocks {
  uint64_t rows = 0, columns = 0;  // 0: no blocks
};

// Of the config: whether everything in it is read here, and the sides of blocks.
Blocks check_config(const JsonFields& config) {
  check_format(config, "format");
  for (const char* name : {"sparsity_config", "transform_config"}) {
    const auto found = config.raw().find(name);
    if (found == config.raw().end() || found->is_null() || found->empty()) continue;
    const bool is_dense = found->is_object() && found->value("format", Json()) == "dense";
    if (!is_dense) raise(incompatible, "{}: {}: want none, found {}", config.where(), name, escaped(found->dump(), 80));
  }
  Blocks blocks;
  const std::optional<JsonFields> groups = config.optional_object("config_groups");
  if (!groups) return blocks;
  for (const auto& [name, group] : groups->raw().items()) {
    const JsonFields scheme(group, fmt::format("{}: {}", groups->where(), escaped(name, 40)));
    check_format(scheme, "format");
    const std::optional<JsonFields> weights = scheme.optional_object("weights");
    if (!weights) continue;
    const uint64_t bits = weights->size({"num_bits"}, 0, 64);
    if (bits != 4 && bits != 8) raise(incompatible, "{}: num_bits: want 4 or 8, found {}", weights->where(), bits);
    const auto block = weights->raw().find("block_structure");
    if (block == weights->raw().end() || block->is_null()) continue;
    const bool is_pair = block->is_array() && block->size() == 2 && std::ranges::all_of(*block, [](const Json& side) {
                           return side.is_number_unsigned() && side.get<uint64_t>() >= 1 && side.get<uint64_t>() <= (1 << 20);
                         });
    if (!is_pair)
      raise(invalid_input, "{}: block_structure: want two positive numbers, found {}", weights->where(), escaped(block->dump(), 60));
    blocks = {block->at(0).get<uint64_t>(), block->at(1).get<uint64_t>()};
  }
  return blocks;
}

class Joiner {
 public:
  Joiner(PackedTensors& tensors, const std::string& module, Blocks blocks) : tensors_(tensors), module_(module), blocks_(blocks) {}

  void join_packed() {
    const SourceTensor& shape = tensors_.want(module_, ".weight_shape", kSizes, {2});
    const auto side = [&](size_t i) {
      const bool is_long = shape.dtype == "I64";
      const std::byte* at = shape.bytes.data() + i * (is_long ? 8 : 4);
      const uint64_t value = load_u32(at) | (is_long ? static_cast<uint64_t>(load_u32(at + 4)) << 32 : 0);
      if (value < 1 || value > (uint64_t{1} << 31)) {
        raise(invalid_input, "{}: {}.weight_shape: want two positive sizes, found {}", tensors_.where(), escaped(module_, 80), value);
      }
      return value;
    };
    source_.rows = side(0), source_.columns = side(1);
    const SourceTensor& codes = tensors_.want_matrix(module_, ".weight_packed", PackedTensors::kWords);
    const uint64_t words = codes.dims[1];
    const unsigned bits = words == (source_.columns + 3) / 4 ? 8 : 4;
    tensors_.want(module_, ".weight_packed", PackedTensors::kWords, {source_.rows, (source_.columns * bits + 31) / 32});
    source_.codes = {.data = codes.bytes.data(), .bits = bits, .word_bits = 32, .row_step = words, .column_step = 1};
    source_.zero = 1U << (bits - 1);
    read_scales();
    if (tensors_.find(module_, ".weight_zero_point") != nullptr) read_zeros(bits);
    finish(bits == 4 ? "compressed int4" : "compressed int8");
  }

  void join_plain() {
    const SourceTensor& codes = tensors_.want_matrix(module_, ".weight", kBytes);
    source_.rows = codes.dims[0], source_.columns = codes.dims[1];
    const bool is_float = codes.dtype == "F8_E4M3";
    source_.values = is_float ? PackedMatrix::Values::float8 : PackedMatrix::Values::integers;
    source_.codes = {.data = codes.bytes.data(), .row_step = source_.columns, .column_step = 1, .flip = is_float ? 0U : 0x80U};
    source_.zero = 0x80;
    read_scales();
    if (!is_float && tensors_.find(module_, ".weight_zero_point") != nullptr) read_zeros(8);
    finish(is_float ? "compressed FP8" : "compressed int8");
  }

 private:
  // One number, one a row, one a group of a row, or one a block.
  void read_scales() {
    const SourceTensor& scales = tensors_.want(module_, ".weight_scale", PackedTensors::kFloats);
    const auto is = [&](uint64_t rows, uint64_t groups) { return scales.dims == PackedTensors::Dims{rows, groups}; };
    const bool is_one = scales.tensor && scales.tensor.rows() * scales.tensor.columns() == 1;
    uint64_t size = source_.columns;
    if (is_one) {
      source_.scales = scale_grid(scales, 0, 0);
    } else if (scales.dims == PackedTensors::Dims{source_.rows} || is(source_.rows, 1)) {
      source_.scales = scale_grid(scales, 1, 0);
    } else if (blocks_.rows != 0 &&
               is((source_.rows + blocks_.rows - 1) / blocks_.rows, (source_.columns + blocks_.columns - 1) / blocks_.columns)) {
      source_.scales = scale_grid(scales, scales.dims[1], 1);
      source_.scales.rows_each = blocks_.rows;
      size = blocks_.columns;
    } else {
      const uint64_t groups = scales.dims.size() == 2 && scales.dims[1] >= 1 ? scales.dims[1] : 1;
      tensors_.want(module_, ".weight_scale", PackedTensors::kFloats, {source_.rows, groups});
      if (source_.columns % groups != 0) {
        raise(invalid_input, "{}: {}.weight_scale: want a divisor of {} columns, found {} groups", tensors_.where(), escaped(module_, 80),
              source_.columns, groups);
      }
      source_.scales = scale_grid(scales, groups, 1);
      size = source_.columns / groups;
    }
    num_groups_ = (source_.columns + size - 1) / size;
    source_.groups = tensors_.groups(module_, ".weight_g_idx", source_.columns, size, num_groups_);
  }

  void read_zeros(unsigned bits) {
    const SourceTensor& zeros = tensors_.want(module_, ".weight_zero_point", kZeros);
    if (source_.scales.rows_each != 1 || source_.scales.row_step == 0) {
      raise(incompatible, "{}: {}: want zero points with scales of rows or groups only", tensors_.where(), escaped(zeros.name, 80));
    }
    if (zeros.dtype == "I8") {
      tensors_.want(module_, ".weight_zero_point", kSignedBytes, {source_.rows, num_groups_});
      source_.zeros = {.data = zeros.bytes.data(), .bits = bits, .row_step = num_groups_, .column_step = 1, .flip = 1U << (bits - 1)};
      return;
    }
    tensors_.want(module_, ".weight_zero_point", PackedTensors::kWords, {(source_.rows * bits + 31) / 32, num_groups_});
    source_.zeros = {
        .data = zeros.bytes.data(), .bits = bits, .word_bits = 32, .row_step = num_groups_, .column_step = 1, .packs_rows = true};
  }

  void finish(std::string_view dtype) {
    tensors_.join(module_, dtype, std::move(source_), {kEndings[0], kEndings[1], kEndings[2], kEndings[3], kEndings[4], kEndings[5]});
  }

  PackedTensors& tensors_;
  const std::string& module_;
  Blocks blocks_;
  PackedMatrix::Source source_;
  uint64_t num_groups_ = 1;
};

}  // namespace

void join_compressed(PackedTensors& tensors, const JsonFields& config) {
  const Blocks blocks = check_config(config);
  const std::vector<std::string> packed = tensors.modules(".weight_packed"), plain = tensors.modules(".weight", kBytes);
  if (packed.empty() && plain.empty()) {
    raise(invalid_input, "{}: want tensors *.weight_packed, or *.weight of I8 or F8_E4M3, found none", tensors.where());
  }
  for (const std::string& module : packed) Joiner(tensors, module, blocks).join_packed();
  for (const std::string& module : plain) Joiner(tensors, module, blocks).join_plain();
  for (const char* ending : {".input_scale", ".input_zero_point", ".k_scale", ".v_scale", ".q_scale"}) tensors.drop(ending);
}

}  // namespace quern
