// Fetches the weights of an engine file by their engine names, with the shapes that the config says, onto a device.
// Used while a Transformer is made; the file must outlive what was loaded.
#pragma once
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/thread_pool.h"
#include "files/engine_file.h"
#include "models/engine_tensors.h"

namespace quern {

class WeightLoader {
 public:
  WeightLoader(const EngineFile& file, Backend& backend, const ModelConfig& config);

  // Compares the checksums of the tensors outside the layers, or of one layer: before they are fetched.
  void verify_outside_layers();
  void verify_layer(size_t layer);

  // A weight of the parts `names` ("blk.*.q") of one layer, in any formats.
  LoadedWeight matrix(WeightUse use, std::initializer_list<const char*> names, size_t layer = 0);
  // f32 vectors one after the other, as one tensor.
  Tensor vector(std::initializer_list<const char*> names, size_t layer = 0);

  // The memory of all vectors; to be kept as long as they are used.
  Storage take_vectors() { return std::move(vectors_); }
  // Bytes of the weights so far, wherever they lie.
  size_t bytes() const { return bytes_; }

 private:
  Tensor fetch(const char* name, size_t layer, std::span<const Format> formats) const;

  const EngineFile& file_;
  Backend& backend_;
  std::map<std::string, Shape> shapes_;
  std::vector<std::vector<std::string>> layer_names_;
  std::vector<std::string> outside_names_;
  std::unique_ptr<ThreadPool> own_pool_;  // on a device without a pool
  ThreadPool* pool_;
  Storage vectors_;
  size_t vectors_used_ = 0, bytes_ = 0;
};

// Bytes of a weight where it lies: its own storage, or its place in the mapped file.
size_t resident_bytes(const LoadedWeight& weight);

}  // namespace quern
