// The header of a safetensors file, checked in full: every range lies in the file, none overlap, none are missing.
// Names are views into the mapped file or into `texts`; the file must outlive the header. Plain data after parse().
#pragma once
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mapped_file.h"
#include "formats/format.h"

namespace quern {

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
inline constexpr size_t kMaxTensors = 1'000'000;
inline constexpr size_t kMaxTensorNameBytes = 4096;
inline constexpr size_t kMaxTensorRank = 8;

struct SafetensorsDtype {
  std::string_view name;
  uint32_t bits;
  std::optional<Format> format;  // of the three that are weights as they are
};

// The dtype called `name`, or null.
const SafetensorsDtype* find_safetensors_dtype(std::string_view name);
// The dtype that holds a plain format; bytes of any other format are U8.
const SafetensorsDtype& safetensors_dtype_of(Format format);

struct SafetensorsEntry {
  std::string_view name;
  const SafetensorsDtype* dtype;
  uint32_t first_dim, rank;  // dims[first_dim ...]
  uint64_t begin, end;       // in the file
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // by offset, without gaps
  std::vector<uint64_t> dims;
  std::vector<std::pair<std::string_view, std::string_view>> metadata;  // empty unless kept
  std::deque<std::string> texts;                                        // strings that had escapes
  uint64_t data_offset = 0;                                             // of the first byte after the header

  std::span<const uint64_t> shape(const SafetensorsEntry& entry) const { return {dims.data() + entry.first_dim, entry.rank}; }

  enum class Metadata { check, keep };
  // Throws invalid_input "FILE: WHAT at OFFSET or NAME: ...".
  static SafetensorsHeader parse(const MappedFile& file, Metadata metadata);
};

// Refuses names that are empty or hold control characters. `where` opens the message.
void check_tensor_name(std::string_view name, std::string_view where);

}  // namespace quern
