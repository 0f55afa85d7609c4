#include "cli/bench_model.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "builder/weight_policy.h"
#include "models/engine_tensors.h"

namespace quern {
namespace {

constexpr BenchShape kShapes[] = {
    // name           hidden  inter  layers heads kv head_dim vocab   tied   bias   qk_norm
    {"qwen-7b", 4096, 11008, 32, 32, 32, 128, 151936, false, true, false},
    {"qwen2.5-0.5b", 896, 4864, 24, 14, 2, 64, 151936, true, true, false},
    {"qwen2.5-1.5b", 1536, 8960, 28, 12, 2, 128, 151936, true, true, false},
    {"qwen2.5-3b", 2048, 11008, 36, 16, 2, 128, 151936, true, true, false},
    {"qwen2.5-7b", 3584, 18944, 28, 28, 4, 128, 152064, false, true, false},
    {"qwen3-0.6b", 1024, 3072, 28, 16, 8, 128, 151936, true, false, true},
    {"qwen3-1.7b", 2048, 6144, 28, 16, 8, 128, 151936, true, false, true},
    {"qwen3-4b", 2560, 9728, 36, 32, 8, 128, 151936, true, false, true},
    {"qwen3-8b", 4096, 12288, 36, 32, 8, 128, 151936, false, false, true},
    {"smollm2-135m", 576, 1536, 30, 9, 3, 64, 49152, true, false, false},
    {"tinyllama-1.1b", 2048, 5632, 22, 32, 4, 64, 32000, false, false, false},
};

constexpr size_t kDrawnRows = 16;  // drawn for each tensor and then repeated: the time of a kernel does not depend on values

const BenchShape& find_shape(const std::string& name) {
  std::string known;
  for (const BenchShape& shape : kShapes) {
    if (name == shape.name) return shape;
    known += (known.empty() ? "" : ", ") + std::string(shape.name);
  }
  raise(usage, "--shape: want one of {}, found '{}'", known, escaped(name, 60));
}

ModelConfig config_of(const BenchShape& shape) {
  ModelConfig config;
  config.family = shape.qk_norm ? "qwen3" : shape.qkv_bias ? "qwen2" : "llama";
  config.hidden_size = shape.hidden_size;
  config.intermediate_size = shape.intermediate_size;
  config.num_layers = shape.num_layers;
  config.num_heads = shape.num_heads;
  config.num_kv_heads = shape.num_kv_heads;
  config.head_dim = shape.head_dim;
  config.vocab_size = shape.vocab_size;
  config.max_position_embeddings = 131072;
  config.norm_epsilon = 1e-6;
  config.rope.base = 1e6;
  config.rope.rotary_dims = shape.head_dim;
  config.tied_embeddings = shape.tied_embeddings;
  config.qkv_bias = shape.qkv_bias;
  config.qk_norm = shape.qk_norm;
  config.windows.assign(shape.num_layers, 0);
  return config;
}

// kDrawnRows rows of `columns` values, packed; vectors are ones and so keep the size of activations.
std::vector<std::byte> draw_rows(const EngineTensor& tensor, Format format, std::mt19937_64& random) {
  const size_t columns = tensor.shape.columns();
  std::vector<float> values(columns, 1.0f);
  std::vector<std::byte> rows(kDrawnRows * row_bytes(format, columns));
  std::normal_distribution<float> normal(0, 0.02f);
  for (size_t i = 0; i < kDrawnRows; ++i) {
    if (tensor.role != TensorRole::vector) std::ranges::generate(values, [&] { return normal(random); });
    format_info(format).pack(values.data(), columns, rows.data() + i * row_bytes(format, columns));
  }
  return rows;
}

// A folder of its own below the system's temporary folder, removed with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    path_ = (std::filesystem::temp_directory_path() / "quern-bench-XXXXXX").string();
    if (::mkdtemp(path_.data()) == nullptr) raise(resource, "{}: cannot be made", escaped(path_));
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

std::span<const BenchShape> bench_shapes() { return kShapes; }

std::shared_ptr<EngineFile> make_bench_model(const std::string& name, const std::string& dtype, size_t group_size, uint64_t seed) {
  const ModelConfig config = config_of(find_shape(name));
  const WeightPolicy policy(parse_weight_dtype(dtype), group_size);
  const std::vector<EngineTensor> tensors = engine_tensors(config);
  std::vector<EngineTensorInfo> layout;
  for (const EngineTensor& tensor : tensors) {
    EngineTensorInfo info;
    info.name = tensor.name;
    info.format = policy.choose(tensor.role, Format::bf16, tensor.shape.columns()).format;
    info.shape = tensor.shape;
    layout.push_back(info);
  }
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/" + name + ".quern";
  EngineFileWriter writer(path, layout, {});
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::vector<std::byte> rows = draw_rows(tensors[i], layout[i].format, random);
    const size_t one_row = rows.size() / kDrawnRows;
    for (size_t left = tensors[i].shape.rows(); left > 0;) {
      const size_t count = std::min(left, kDrawnRows);
      writer.write(std::span(rows).first(count * one_row));
      left -= count;
    }
  }
  EngineMetadata metadata;
  metadata.model = config.to_json();
  metadata.generation = Json::object();
  metadata.chat = {{"format", nullptr}};
  metadata.build = {{"source", "random weights"}, {"dtype", dtype}};
  writer.finish(metadata);
  return EngineFile::open(path);
}

}  // namespace quern
