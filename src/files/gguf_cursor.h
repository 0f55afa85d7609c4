// Reads a mapped GGUF file forwards; every step is checked against the bytes that are left. One thread.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/mapped_file.h"

namespace quern {

class GgufCursor {
 public:
  // Nothing of the metadata may lie behind `limit` bytes (or the end of the file).
  GgufCursor(const MappedFile& file, uint64_t limit)
      : text_(file.text().substr(0, limit)), where_(escaped(file.path())), is_cut_(file.size() > limit) {}

  uint64_t offset() const { return at_; }
  uint64_t remaining() const { return text_.size() - at_; }
  const std::string& where() const { return where_; }

  // A little-endian number or `count` bytes; throws invalid_input "<file>: <what> at offset N: truncated: ...".
  template <class T>
  T take(std::string_view what) {
    T value;
    std::memcpy(&value, take_bytes(sizeof(T), what).data(), sizeof(T));
    return value;
  }
  std::string_view take_bytes(uint64_t count, std::string_view what) {
    if (count > remaining()) {
      raise(invalid_input, "{}: {} at offset {}: truncated: want {} bytes, {} are left{}", where_, what, at_, count, remaining(),
            is_cut_ ? " of the metadata's limit" : "");
    }
    const std::string_view bytes = text_.substr(at_, count);
    at_ += count;
    return bytes;
  }
  // A u64 length and that many bytes.
  std::string_view take_string(std::string_view what) {
    const auto length = take<uint64_t>(what);
    return take_bytes(length, what);
  }
  // A u64 count of things of at least `min_bytes` each.
  uint64_t take_count(uint64_t min_bytes, uint64_t max_count, std::string_view what) {
    const uint64_t at = at_;
    const auto count = take<uint64_t>(what);
    if (count > remaining() / min_bytes || count > max_count) {
      raise(invalid_input, "{}: {} at offset {}: want at most {} ({} bytes are left), found {}", where_, what, at,
            std::min(remaining() / min_bytes, max_count), remaining(), count);
    }
    return count;
  }

 private:
  std::string_view text_;
  std::string where_;
  bool is_cut_;
  uint64_t at_ = 0;
};

}  // namespace quern
