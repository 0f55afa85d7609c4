#include "files/engine_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <numeric>

#include "base/log.h"
#include "base/thread_pool.h"
#include "files/engine_header.h"
#include "files/xxh3.h"

namespace quern {
namespace {

void warn_about_access(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return;
  if (status.st_uid != ::geteuid() && status.st_uid != 0)
    log_warning("{}: belongs to user {}, who can change it", escaped(path), status.st_uid);
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    log_warning("{}: others than its owner can change it (mode {:03o})", escaped(path), status.st_mode & 0777U);
}

}  // namespace

std::shared_ptr<EngineFile> EngineFile::open(const std::string& path) {
  std::shared_ptr<EngineFile> engine(new EngineFile(MappedFile(path)));
  EngineHeader header = read_engine_header(engine->file_);
  engine->metadata_ = std::move(header.metadata);
  engine->tensors_ = std::move(header.tensors);
  engine->data_offset_ = header.data_offset;
  for (size_t i = 0; i < engine->tensors_.size(); ++i) engine->by_name_.emplace(engine->tensors_[i].name, i);
  warn_about_access(path);
  return engine;
}

const EngineTensorInfo* EngineFile::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

Tensor EngineFile::tensor(const std::string& name, const Shape& shape, std::span<const Format> formats) const {
  const EngineTensorInfo* info = find(name);
  const bool fits = info != nullptr && !info->is_raw && info->shape == shape &&
                    (formats.empty() || std::find(formats.begin(), formats.end(), info->format) != formats.end());
  if (!fits) {
    std::string wanted;
    for (const Format format : formats) wanted += fmt::format("{}{}", wanted.empty() ? "" : "|", format_name(format));
    const std::string found = info == nullptr ? "nothing of that name"
                              : info->is_raw  ? fmt::format("{} bytes without a format", info->bytes)
                                              : fmt::format("{} {}", info->shape.text(), format_name(info->format));
    raise(invalid_input, "{}: {}: want {} {}, file has {}", escaped(path()), escaped(name), shape.text(),
          wanted.empty() ? "of any format" : wanted, found);
  }
  // The mapping is read-only: a Tensor has no const form, and nothing writes to an engine's.
  return {.data = const_cast<std::byte*>(file_.bytes().data() + info->offset), .shape = info->shape, .format = info->format};
}

std::span<const std::byte> EngineFile::tokenizer_bytes() const {
  const EngineTensorInfo* info = find("tokenizer");
  if (info == nullptr || !info->is_raw)
    raise(invalid_input, "{}: tokenizer: want bytes without a format, file has {}", escaped(path()), info == nullptr ? "none" : "a weight");
  if (const std::string damage = damage_of(static_cast<size_t>(info - tensors_.data()), false); !damage.empty())
    raise(invalid_input, "{}: {}: the file is damaged; build the engine again", escaped(path()), damage);
  return file_.bytes().subspan(info->offset, info->bytes);
}

void EngineFile::verify(size_t num_threads) const {
  std::vector<size_t> all(tensors_.size());
  std::iota(all.begin(), all.end(), size_t{0});
  ThreadPool pool(num_threads);
  check(all, true, pool);
}

void EngineFile::verify_tensors(std::span<const std::string> names, ThreadPool& pool) const {
  std::vector<size_t> indices;
  for (const std::string& name : names) {
    if (const auto found = by_name_.find(name); found != by_name_.end()) indices.push_back(found->second);
  }
  check(indices, false, pool);
}

std::string EngineFile::damage_of(size_t i, bool with_padding) const {
  const EngineTensorInfo& tensor = tensors_[i];
  const uint64_t found = xxh3_of(file_.bytes().subspan(tensor.offset, tensor.bytes));
  if (found != tensor.xxh3) {
    return fmt::format("{} at offset {}: checksum: want {:016x}, found {:016x}", escaped(tensor.name), tensor.offset, tensor.xxh3, found);
  }
  if (!with_padding) return "";
  const uint64_t pad_begin = i == 0 ? data_offset_ : tensors_[i - 1].offset + tensors_[i - 1].bytes;
  const std::span<const std::byte> pad = file_.bytes().subspan(pad_begin, tensor.offset - pad_begin);
  if (std::ranges::all_of(pad, [](std::byte byte) { return byte == std::byte{0}; })) return "";
  return fmt::format("padding before {}: want zeros at bytes {} to {}", escaped(tensor.name), pad_begin, tensor.offset);
}

void EngineFile::check(std::span<const size_t> indices, bool with_padding, ThreadPool& pool) const {
  std::mutex mutex;
  size_t first_bad = tensors_.size();  // in file order, so that the answer does not depend on the threads
  std::string problem;
  pool.parallel_for(indices.size(), 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      std::string found = damage_of(indices[i], with_padding);
      if (found.empty()) continue;
      const std::lock_guard lock(mutex);
      if (indices[i] > first_bad) continue;
      first_bad = indices[i];
      problem = std::move(found);
    }
  });
  if (!problem.empty()) raise(invalid_input, "{}: {}: the file is damaged; build the engine again", escaped(path()), problem);
}

}  // namespace quern
