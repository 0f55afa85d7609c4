#include "files/packed_layouts.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"

namespace quern {
namespace {

struct PackedLayout {
  const char* method;
  void (*join)(PackedTensors&, const JsonFields&);
};
constexpr PackedLayout kLayouts[] = {
    {"awq", join_awq}, {"compressed-tensors", join_compressed}, {"fbgemm_fp8", join_float8}, {"fp8", join_float8}, {"gptq", join_gptq}};

constexpr int64_t kMaxGroup = 1 << 20;

std::string supported_methods() {
  std::string names;
  for (const PackedLayout& layout : kLayouts) names += fmt::format("{}{}", names.empty() ? "" : ", ", layout.method);
  return names;
}

}  // namespace

void join_packed_weights(std::map<std::string, SourceTensor>& tensors, const JsonFields& config, const std::string& folder) {
  const std::string method = config.text({"quant_method"});
  const auto layout = std::ranges::find(kLayouts, method, &PackedLayout::method);
  if (layout == std::end(kLayouts)) {
    raise(incompatible, "{}: quant_method: want {}, found {}; or use the f32, f16 or bf16 checkpoint, or a GGUF", config.where(),
          supported_methods(), escaped(method, 40));
  }
  PackedTensors packed(tensors, fmt::format("{} ({})", escaped(folder), layout->method));
  layout->join(packed, JsonFields(config.raw(), fmt::format("{} ({})", config.where(), layout->method)));
}

uint64_t group_size_of(const JsonFields& config, const char* name) {
  const Json& value = config.raw().contains(name) ? config.raw().at(name) : Json(nullptr);
  if (!value.is_number_integer())
    raise(invalid_input, "{}: {}: want -1 or a positive number, found {}", config.where(), name, escaped(value.dump(), 60));
  const int64_t size = value.is_number_unsigned() && value.get<uint64_t>() > kMaxGroup ? kMaxGroup + 1 : value.get<int64_t>();
  if (size == -1) return kWholeRow;
  if (size < 1 || size > kMaxGroup) {
    raise(invalid_input, "{}: {}: want -1 or a number from 1 to {}, found {}", config.where(), name, kMaxGroup, value.dump());
  }
  return static_cast<uint64_t>(size);
}

uint64_t packed_bits(const JsonFields& config, std::initializer_list<uint64_t> supported) {
  const uint64_t bits = config.size({"bits", "w_bit"}, 0, 1 << 20);
  if (std::ranges::find(supported, bits) == supported.end()) {
    raise(incompatible, "{}: bits: want {}, found {}", config.where(), fmt::join(supported, " or "), bits);
  }
  return bits;
}

ScaleGrid scale_grid(const SourceTensor& tensor, uint64_t row_step, uint64_t group_step) {
  return {.data = tensor.bytes.data(), .format = tensor.tensor.format, .row_step = row_step, .group_step = group_step};
}

}  // namespace quern
