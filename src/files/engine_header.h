// The header of an engine file as text: what the writer puts at its start and the reader takes from it. docs/engine_file.md has the form.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "files/engine_file.h"

namespace quern {

inline constexpr uint64_t kMaxEngineHeaderBytes = uint64_t{32} << 20;

// Offsets, sizes and header_bytes of a file with these tensors, in this order; throws internal for a name or shape that cannot be written.
struct EngineLayout {
  std::vector<EngineTensorInfo> tensors;
  uint64_t header_bytes;  // of the header's text, padding included: the data starts at 8 + header_bytes
  uint64_t file_bytes;
};
EngineLayout plan_engine_layout(std::vector<EngineTensorInfo> tensors);

// The header's text, exactly layout.header_bytes long, with its checksum.
std::string write_engine_header(const EngineLayout& layout, const EngineMetadata& metadata);

struct EngineHeader {
  EngineMetadata metadata;
  std::vector<EngineTensorInfo> tensors;  // by offset
  uint64_t data_offset;
};
// Throws invalid_input for a broken file, incompatible for another version or a file that is no engine.
EngineHeader read_engine_header(const MappedFile& file);

}  // namespace quern
