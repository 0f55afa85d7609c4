// Small files for the tests of this room, and a folder of their own that is removed with them.
#pragma once
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "files/engine_file.h"

namespace quern::sample {

// A new empty folder, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "quern-files-XXXXXX").string();
    CHECK(::mkdtemp(name.data()) != nullptr, "{}", name);
    path_ = name;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

inline void write_file(const std::string& path, std::string_view bytes) {
  std::filesystem::remove(path);  // some file systems write a truncated file through to the disk when it is closed
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  CHECK(out.good(), "{}", path);
}

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// A number as it lies in a file.
template <class T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

inline std::string safetensors(std::string_view header, std::string_view data) {
  return bytes_of<uint64_t>(header.size()) + std::string(header) + std::string(data);
}

// Two weights and a tokenizer, with some bytes.
inline std::vector<EngineTensorInfo> engine_layout() {
  return {{.name = "embed", .format = Format::bf16, .shape = Shape{5, 6}},
          {.name = "blk.0.q", .format = Format::i4g32, .shape = Shape{3, 64}},
          {.name = "blk.0.row_scaled", .format = Format::i8, .shape = Shape{2, 10}},
          {.name = "tokenizer", .shape = Shape{11}, .is_raw = true}};
}
inline constexpr size_t kEngineBytes = 60 + 3 * 36 + 2 * 14 + 11;

inline std::vector<std::byte> engine_bytes() {
  std::vector<std::byte> bytes(kEngineBytes);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 + 1);
  return bytes;
}

inline EngineMetadata engine_metadata() {
  return {.model = {{"family", "qwen2"}, {"note", "quotes \" and \\ and \xc3\xa9"}},
          .generation = {{"temperature", 0.7}},
          .chat = {{"format", nullptr}},
          .build = {{"dtype", "int4"}},
          .receipt = nullptr};
}

}  // namespace quern::sample
