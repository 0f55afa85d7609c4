#include <cstring>

#include "files/engine_file.h"
#include "files/engine_header.h"
#include "files/file_calls.h"
#include "files/partial_file.h"
#include "files/xxh3.h"

namespace quern {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

}  // namespace

struct EngineFileWriter::State {
  State(const std::string& path, EngineLayout planned, const std::vector<std::string>& inputs, FileCalls* calls)
      : layout(std::move(planned)),
        file(path, layout.file_bytes, inputs, calls == nullptr ? own_calls : *calls),
        position(8 + layout.header_bytes) {
    buffer.reserve(kBufferBytes);
    start_tensor();
  }

  void start_tensor() {
    if (current == layout.tensors.size()) return;
    put(std::vector<std::byte>(layout.tensors[current].offset - position - buffer.size()));
    hash.reset();
    left = layout.tensors[current].bytes;
  }

  void put(std::span<const std::byte> bytes) {
    if (bytes.size() > kBufferBytes - buffer.size()) flush();
    if (bytes.size() >= kBufferBytes) {
      file.write(position, bytes);
      position += bytes.size();
    } else {
      buffer.insert(buffer.end(), bytes.begin(), bytes.end());
    }
  }

  void flush() {
    file.write(position, buffer);
    position += buffer.size();
    buffer.clear();
  }

  FileCalls own_calls;
  EngineLayout layout;
  PartialFile file;
  std::vector<std::byte> buffer;  // bytes from `position` on that are not written yet
  uint64_t position;
  size_t current = 0;  // the tensor that is being written
  uint64_t left = 0;   // its bytes that are still to come
  Xxh3 hash;           // of its bytes so far
  bool is_finished = false;
};

EngineFileWriter::EngineFileWriter(const std::string& path, std::vector<EngineTensorInfo> layout, const std::vector<std::string>& inputs)
    : state_(std::make_unique<State>(path, plan_engine_layout(std::move(layout)), inputs, nullptr)) {}

EngineFileWriter::EngineFileWriter(const std::string& path, std::vector<EngineTensorInfo> layout, const std::vector<std::string>& inputs,
                                   FileCalls& calls)
    : state_(std::make_unique<State>(path, plan_engine_layout(std::move(layout)), inputs, &calls)) {}

EngineFileWriter::~EngineFileWriter() = default;

void EngineFileWriter::write(std::span<const std::byte> bytes) {
  State& s = *state_;
  CHECK(!s.is_finished, "write after finish");
  while (!bytes.empty()) {
    CHECK(s.current < s.layout.tensors.size(), "{} bytes after the last tensor", bytes.size());
    const auto part = bytes.first(std::min<uint64_t>(bytes.size(), s.left));
    s.hash.update(part.data(), part.size());
    s.put(part);
    s.left -= part.size();
    bytes = bytes.subspan(part.size());
    if (s.left == 0) {
      s.layout.tensors[s.current].xxh3 = s.hash.digest();
      ++s.current;
      s.start_tensor();
    }
  }
}

void EngineFileWriter::finish(const EngineMetadata& metadata) {
  State& s = *state_;
  CHECK(!s.is_finished, "finish called twice");
  CHECK(s.current == s.layout.tensors.size(), "tensor {} wants {} more bytes", s.layout.tensors[s.current].name, s.left);
  s.flush();
  const std::string header = write_engine_header(s.layout, metadata);
  s.file.write(8, std::as_bytes(std::span(header)));
  s.file.sync();
  // The length comes last: until it is there the file is no safetensors file, whatever else reached the disk.
  const uint64_t length = header.size();
  s.file.write(0, std::as_bytes(std::span(&length, 1)));
  s.file.sync();
  s.file.commit();
  s.is_finished = true;
}

}  // namespace quern
