// One file NAME.quern: config, tokenizer, chat format, generation defaults, quality receipt, aligned and checksummed tensors.
// It is a valid safetensors file (docs/engine_file.md has it byte by byte). Read by mapping; written as a stream.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/mapped_file.h"
#include "tensor/tensor.h"

namespace quern {

inline constexpr int kEngineFormatVersion = 1;
inline constexpr size_t kTensorAlignment = 256;        // of every tensor's first byte, from the start of the file
inline constexpr size_t kMaxMetadataBytes = 64 << 10;  // of the five texts of EngineMetadata together, as they stand in the header

class FileCalls;
class ThreadPool;

struct EngineTensorInfo {
  std::string name;
  Format format = Format::f32;
  Shape shape;
  bool is_raw = false;             // bytes without a weight format, [length]: the tokenizer. `format` then means nothing
  uint64_t offset = 0, bytes = 0;  // in the file
  uint64_t xxh3 = 0;               // XXH3-64 of its bytes
};

// The texts of __metadata__, each JSON.
struct EngineMetadata {
  Json model;       // ModelConfig
  Json generation;  // {"temperature","top_p","top_k","min_p","repetition_penalty","eos_token_ids":[...],"stop":[...]} where known
  Json chat;        // {"format": name} or {"format": null}
  Json build;    // {"quern","source","source_xxh3","dtype","policy"}: what was built, from what, how. No dates, no paths, no thread counts
  Json receipt;  // quality receipt, or null
};

class EngineFile {
 public:
  // Maps and checks the header: its checksum, version, ranges, alignment, formats. Tensor bytes are checked by verify_tensors().
  static std::shared_ptr<EngineFile> open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const EngineMetadata& metadata() const { return metadata_; }
  const std::vector<EngineTensorInfo>& tensors() const { return tensors_; }  // by offset
  const EngineTensorInfo* find(const std::string& name) const;
  const MappedFile& file() const { return file_; }

  // The tensor `name` in the mapping; throws invalid_input "<file>: <name>: want <shape> <format>, file has ..." when it is missing or
  // has another shape. Its format may be any of `formats`, or any at all when that is empty.
  Tensor tensor(const std::string& name, const Shape& shape, std::span<const Format> formats = {}) const;
  std::span<const std::byte> tokenizer_bytes() const;  // tensor "tokenizer", as text/tokenizer.h packs it, its checksum verified

  // Recomputes every checksum on `num_threads` threads and looks at the padding; throws invalid_input naming the first tensor that differs.
  void verify(size_t num_threads) const;
  // The same for the tensors `names`, as they are about to be read; names that are not in the file are passed over.
  void verify_tensors(std::span<const std::string> names, ThreadPool& pool) const;

 private:
  explicit EngineFile(MappedFile file) : file_(std::move(file)) {}
  std::string damage_of(size_t i, bool with_padding) const;  // of tensor i; empty when it is whole
  void check(std::span<const size_t> indices, bool with_padding, ThreadPool& pool) const;

  MappedFile file_;
  EngineMetadata metadata_;
  std::vector<EngineTensorInfo> tensors_;
  std::map<std::string, size_t> by_name_;
  uint64_t data_offset_ = 0;  // where the padding before the first tensor would begin
};

// Writes an engine file so that its final name never holds half of one: lock, temporary name in the same folder, data, header with the
// checksums, the 8-byte header length last, fsync, rename, fsync of the folder. The destructor of an unfinished writer removes its file.
class EngineFileWriter {
 public:
  // The layout is fixed here: names, formats and shapes in file order. Throws resource when another build holds the lock, the folder
  // cannot be written or the space does not suffice; usage when `path` is one of `inputs` (also by link).
  // Of `layout` only name, format, shape and is_raw are read; offset, bytes and xxh3 are the writer's to find.
  EngineFileWriter(const std::string& path, std::vector<EngineTensorInfo> layout, const std::vector<std::string>& inputs);
  EngineFileWriter(const std::string& path, std::vector<EngineTensorInfo> layout, const std::vector<std::string>& inputs,
                   FileCalls& calls);  // tests: system calls that fail
  ~EngineFileWriter();

  // The bytes of tensor `name`, in pieces in order; every tensor in layout order.
  void write(std::span<const std::byte> bytes);
  // After the last byte. `metadata` as text goes into the header, at most kMaxMetadataBytes of it. Then the file has its final name.
  // A second call, or a write() after it, is a broken invariant.
  void finish(const EngineMetadata& metadata);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quern
