// The type numbers of GGUF: of metadata values and of tensors.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "formats/format.h"

namespace quern {

enum class GgufValueType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };
inline constexpr uint32_t kNumGgufValueTypes = 13;

// Bytes of a value of fixed size; 0 for strings and arrays.
uint64_t gguf_value_bytes(GgufValueType type);
std::string_view gguf_value_type_name(GgufValueType type);

struct GgufTensorType {
  uint32_t id;
  std::string_view name;
  std::optional<Format> format;  // nothing: no weight
  uint64_t value_bytes = 0;      // of types that are no weights but plain numbers: listed, refused when a weight is asked for. 0: not read
};

// The type with number `id`, or null when GGUF has none.
const GgufTensorType* find_gguf_tensor_type(uint32_t id);
// "F32 (0), F16 (1), ..." of the types that are weights.
std::string supported_gguf_tensor_types();

}  // namespace quern
