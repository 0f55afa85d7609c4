#include "models/weight_loader.h"

namespace quern {
namespace {

constexpr size_t kVectorAlignment = 64;

size_t aligned(size_t bytes) { return (bytes + kVectorAlignment - 1) / kVectorAlignment * kVectorAlignment; }

}  // namespace

WeightLoader::WeightLoader(const EngineFile& file, Backend& backend, const ModelConfig& config)
    : file_(file), backend_(backend), layer_names_(config.num_layers), pool_(backend.runtime().stream().pool) {
  if (pool_ == nullptr) {
    own_pool_ = std::make_unique<ThreadPool>();
    pool_ = own_pool_.get();
  }
  size_t vector_bytes = 0;
  for (const EngineTensor& tensor : engine_tensors(config)) {
    shapes_.emplace(tensor.name, tensor.shape);
    const bool in_layer = std::string_view(tensor.row->name).find('*') != std::string_view::npos;
    (in_layer ? layer_names_[tensor.layer] : outside_names_).push_back(tensor.name);
    if (tensor.role == TensorRole::vector) vector_bytes += aligned(row_bytes(Format::f32, tensor.shape[0]));
  }
  vectors_ = backend.runtime().allocate(vector_bytes);
}

void WeightLoader::verify_outside_layers() {
  file_.verify_tensors(outside_names_, *pool_);
  for (const std::string& name : outside_names_) {  // of an embedding that stays in the file only a few rows are ever read again
    if (const EngineTensorInfo* info = file_.find(name)) file_.file().release(info->offset, info->bytes);
  }
}
void WeightLoader::verify_layer(size_t layer) { file_.verify_tensors(layer_names_[layer], *pool_); }

Tensor WeightLoader::fetch(const char* name, size_t layer, std::span<const Format> formats) const {
  const std::string full = layer_tensor_name(name, layer);
  const auto shape = shapes_.find(full);
  CHECK(shape != shapes_.end(), "no tensor {}", full);
  return file_.tensor(full, shape->second, formats);
}

LoadedWeight WeightLoader::matrix(WeightUse use, std::initializer_list<const char*> names, size_t layer) {
  std::vector<Tensor> parts;
  for (const char* name : names) parts.push_back(fetch(name, layer, {}));
  LoadedWeight loaded = backend_.load_weight({.use = use, .parts = parts});
  bytes_ += resident_bytes(loaded);
  if (loaded.storage.bytes() != 0) {  // copied: the file's pages are not needed any more
    for (const char* name : names) {
      const EngineTensorInfo* info = file_.find(layer_tensor_name(name, layer));
      file_.file().release(info->offset, info->bytes);
    }
  }
  return loaded;
}

Tensor WeightLoader::vector(std::initializer_list<const char*> names, size_t layer) {
  static constexpr Format kVectorFormats[] = {Format::f32};
  const size_t begin = vectors_used_;
  size_t used = begin;
  for (const char* name : names) {
    const Tensor host = fetch(name, layer, kVectorFormats);
    CHECK(host.bytes() <= vectors_.bytes() - used, "{} bytes of vectors", vectors_.bytes());
    backend_.runtime().upload(vectors_.data() + used, host.data, host.bytes());
    used += host.bytes();
  }
  vectors_used_ = aligned(used);
  bytes_ += used - begin;
  return vectors_.view(Shape{(used - begin) / sizeof(float)}, Format::f32, begin);
}

size_t resident_bytes(const LoadedWeight& weight) {
  if (weight.storage.bytes() != 0) return weight.storage.bytes();
  size_t bytes = 0;
  for (const Tensor& part : weight.weight.parts) bytes += part.bytes();
  return bytes;
}

}  // namespace quern
