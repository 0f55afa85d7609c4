// Composes small GGUF files for tests, good and bad.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "files/sample_files.h"

namespace quern::sample {

inline std::string gguf_string(std::string_view text) { return bytes_of<uint64_t>(text.size()) + std::string(text); }
inline std::string gguf_key(std::string_view key, uint32_t type, const std::string& value) {
  return gguf_string(key) + bytes_of(type) + value;
}
inline std::string gguf_u32(std::string_view key, uint32_t value) { return gguf_key(key, 4, bytes_of(value)); }
inline std::string gguf_u16(std::string_view key, uint16_t value) { return gguf_key(key, 2, bytes_of(value)); }
inline std::string gguf_text(std::string_view key, std::string_view value) { return gguf_key(key, 8, gguf_string(value)); }
inline std::string gguf_array(std::string_view key, uint32_t type, uint64_t count, const std::string& elements) {
  return gguf_key(key, 9, bytes_of(type) + bytes_of(count) + elements);
}
inline std::string gguf_strings_array(std::string_view key, const std::vector<std::string>& texts) {
  std::string elements;
  for (const std::string& text : texts) elements += gguf_string(text);
  return gguf_array(key, 8, texts.size(), elements);
}
template <class T>
std::string gguf_numbers_array(std::string_view key, uint32_t type, const std::vector<T>& numbers) {
  std::string elements;
  for (const T number : numbers) elements += bytes_of(number);
  return gguf_array(key, type, numbers.size(), elements);
}
inline std::string gguf_tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
  std::string info = gguf_string(name) + bytes_of(static_cast<uint32_t>(dims.size()));
  for (const uint64_t dim : dims) info += bytes_of(dim);
  return info + bytes_of(type) + bytes_of(offset);
}

struct Gguf {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::vector<std::string> keys = {gguf_text("general.architecture", "qwen2"), gguf_u32("qwen2.block_count", 24)};
  // Of 64 bytes, 36 (two blocks of Q4_0) padded to 64, and 16 padded to 32.
  std::vector<std::string> tensors = {gguf_tensor("a.weight", {4, 4}, 0, 0), gguf_tensor("b.weight", {32, 2}, 2, 64),
                                      gguf_tensor("c.bias", {4}, 0, 128)};
  uint64_t alignment = 32, data_bytes = 160;

  std::string bytes() const { return bytes(tensors.size(), keys.size()); }
  std::string bytes(uint64_t num_tensors, uint64_t num_keys) const {
    std::string out = magic + bytes_of(version) + bytes_of(num_tensors) + bytes_of(num_keys);
    for (const std::string& key : keys) out += key;
    for (const std::string& tensor : tensors) out += tensor;
    if (data_bytes > 0) out.resize((out.size() + alignment - 1) / alignment * alignment);
    for (uint64_t i = 0; i < data_bytes; ++i) out += static_cast<char>(i);
    return out;
  }
  Gguf with(const std::string& key) const {
    Gguf copy = *this;
    copy.keys.push_back(key);
    return copy;
  }
  Gguf with_tensor(const std::string& tensor) const {
    Gguf copy = *this;
    copy.tensors = {tensor};
    return copy;
  }
};

}  // namespace quern::sample
