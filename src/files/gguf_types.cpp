#include "files/gguf_types.h"

#include <fmt/core.h>

#include <iterator>

namespace quern {
namespace {

struct ValueType {
  std::string_view name;
  uint64_t bytes;
};
constexpr ValueType kValueTypes[] = {{"u8", 1},   {"i8", 1},     {"u16", 2},   {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
                                     {"bool", 1}, {"string", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8}};
static_assert(std::size(kValueTypes) == kNumGgufValueTypes);

constexpr GgufTensorType kTensorTypes[] = {
    {0, "F32", Format::f32},
    {1, "F16", Format::f16},
    {2, "Q4_0", Format::i4g32},
    {3, "Q4_1", Format::q4_1},
    {4, "Q4_2, removed", {}},
    {5, "Q4_3, removed", {}},
    {6, "Q5_0", Format::q5_0},
    {7, "Q5_1", Format::q5_1},
    {8, "Q8_0", Format::i8g32},
    {9, "Q8_1", {}},
    {10, "Q2_K", Format::q2_k},
    {11, "Q3_K", Format::q3_k},
    {12, "Q4_K", Format::q4_k},
    {13, "Q5_K", Format::q5_k},
    {14, "Q6_K", Format::q6_k},
    {15, "Q8_K", {}},
    {16, "IQ2_XXS", {}},
    {17, "IQ2_XS", {}},
    {18, "IQ3_XXS", {}},
    {19, "IQ1_S", {}},
    {20, "IQ4_NL", {}},
    {21, "IQ3_S", {}},
    {22, "IQ2_S", {}},
    {23, "IQ4_XS", {}},
    {24, "I8", {}, 1},
    {25, "I16", {}, 2},
    {26, "I32", {}, 4},
    {27, "I64", {}, 8},
    {28, "F64", {}, 8},
    {29, "IQ1_M", {}},
    {30, "BF16", Format::bf16},
    {31, "Q4_0_4_4, removed", {}},
    {32, "Q4_0_4_8, removed", {}},
    {33, "Q4_0_8_8, removed", {}},
    {34, "TQ1_0", {}},
    {35, "TQ2_0", {}},
    {36, "IQ4_NL_4_4, removed", {}},
    {37, "IQ4_NL_4_8, removed", {}},
    {38, "IQ4_NL_8_8, removed", {}},
    {39, "MXFP4", {}},
    {40, "NVFP4", {}},
};

}  // namespace

uint64_t gguf_value_bytes(GgufValueType type) { return kValueTypes[static_cast<uint32_t>(type)].bytes; }
std::string_view gguf_value_type_name(GgufValueType type) { return kValueTypes[static_cast<uint32_t>(type)].name; }

const GgufTensorType* find_gguf_tensor_type(uint32_t id) { return id < std::size(kTensorTypes) ? &kTensorTypes[id] : nullptr; }

std::string supported_gguf_tensor_types() {
  std::string list;
  for (const GgufTensorType& type : kTensorTypes) {
    if (type.format) list += fmt::format("{}{} ({})", list.empty() ? "" : ", ", type.name, type.id);
  }
  return list;
}

}  // namespace quern
