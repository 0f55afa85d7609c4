// One GGUF file, checked in full: metadata, and tensors whose ranges lie in the file and do not overlap. A checkpoint has one or, when it
// is split, several. Views point into the mapped file, which must outlive the part. Plain data after parse().
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/mapped_file.h"
#include "files/gguf_types.h"

namespace quern {

inline constexpr uint64_t kMaxGgufMetadataBytes = uint64_t{64} << 20;  // header, metadata and tensor list of one file

struct GgufTensor {
  std::string_view name;
  const GgufTensorType* type = nullptr;
  uint32_t rank = 0;
  std::array<uint64_t, 4> dims{};  // as in the file, fastest first: dims[0] is a row
  uint64_t begin = 0, bytes = 0;   // in the file
};

struct GgufArray {
  GgufValueType type;
  uint64_t count;
  uint64_t offset;  // of the first element in the file; the elements are known to lie in it
};

struct GgufPart {
  Json metadata;                                 // scalars, strings, and arrays of at most kMaxKeptElements elements
  std::map<std::string_view, GgufArray> arrays;  // every array
  std::vector<GgufTensor> tensors;               // as in the file

  static constexpr uint64_t kMaxKeys = 1024, kMaxKeptElements = 1024, kMaxElements = uint64_t{1} << 22;

  // Throws invalid_input, or incompatible for another version, byte order or tensor type.
  static GgufPart parse(const MappedFile& file);
};

// The strings of an array of strings, and the numbers of an array of i32, u32 or f32, in `file`.
std::vector<std::string_view> gguf_strings(const MappedFile& file, const GgufArray& array);
template <class T>
std::vector<T> gguf_numbers(const MappedFile& file, const GgufArray& array) {
  std::vector<T> numbers(array.count);
  if (array.count != 0) std::memcpy(numbers.data(), file.bytes().data() + array.offset, array.count * sizeof(T));
  return numbers;
}

}  // namespace quern
