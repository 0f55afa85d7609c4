// For tests: checkpoints as f32 engine files in a temporary folder, and sequences run through a Transformer.
#pragma once
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "backend/test_device.h"
#include "models/family.h"
#include "models/transformer.h"

namespace quern::testing {

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "quern-models-XXXXXX").string();
    CHECK(mkdtemp(name.data()) != nullptr, "no temporary folder");
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// The values of engine rows [0, rows) of one planned tensor, as f32.
inline std::vector<float> planned_values(const TensorPlan& plan, const ModelConfig& config) {
  const Tensor& source = plan.source->tensor;
  const bool is_vector = plan.shape.rank() == 1;
  const size_t rows = plan.shape[0], columns = is_vector ? 1 : plan.shape[1], source_columns = source.columns();
  std::vector<float> values(rows * columns), row(source_columns);
  const FormatInfo& format = format_info(source.format);
  std::vector<std::byte> made;
  if (is_vector) format.unpack(source.data, source_columns, row.data());
  for (size_t i = 0; i < rows; ++i) {
    const size_t from = source_row(plan, config, i);
    if (is_vector) {
      values[i] = row[from];
    } else {
      format.unpack(plan.source->rows(from, 1, made), columns, values.data() + i * columns);
    }
  }
  return values;
}

// How a checkpoint becomes an engine file.
struct BuildChoices {
  ConfigOptions options = {};
  std::function<void(ModelConfig&)> change = {};                            // of the config
  std::function<void(const std::string&, std::vector<float>&)> alter = {};  // of a tensor's values
  std::function<Format(const std::string&)> format = {};                    // of a matrix; f32 without it
  std::function<void(std::vector<EngineTensorInfo>&)> layout = {};          // of the file's tensors, without changing their sizes
};

// The checkpoint at `source` as an engine file at `path`.
inline std::shared_ptr<EngineFile> build_engine(const std::string& source, const std::string& path, const BuildChoices& choices = {}) {
  const Checkpoint checkpoint = Checkpoint::open(source);
  const ModelFamily& family = family_of(checkpoint);
  ModelConfig config = read_model_config(family, checkpoint, choices.options);
  if (choices.change) choices.change(config);
  const std::vector<TensorPlan> plans = plan_tensors(family, config, checkpoint);
  std::vector<EngineTensorInfo> layout;
  for (const TensorPlan& plan : plans) {
    const bool chosen = choices.format && plan.role != TensorRole::vector;
    layout.push_back({.name = plan.engine_name, .format = chosen ? choices.format(plan.engine_name) : Format::f32, .shape = plan.shape});
  }
  std::vector<EngineTensorInfo> named = layout;
  if (choices.layout) choices.layout(named);
  EngineFileWriter writer(path, named, {});
  for (size_t i = 0; i < plans.size(); ++i) {
    std::vector<float> values = planned_values(plans[i], config);
    if (choices.alter) choices.alter(plans[i].engine_name, values);
    const size_t columns = plans[i].shape.columns();
    std::vector<std::byte> row(row_bytes(layout[i].format, columns));
    for (size_t begin = 0; begin < values.size(); begin += columns) {
      format_info(layout[i].format).pack(values.data() + begin, columns, row.data());
      writer.write(row);
    }
  }
  writer.finish({.model = config.to_json()});
  return EngineFile::open(path);
}

// How far logits may be from others that were computed in f32 in another order of additions.
// An operation over K terms errs by about sqrt(K) units of 2^-24 of its result, and the errors of the n = 7 * layers + 2 operations on
// the way to a logit add up as independent ones: sqrt(n K) units of the largest logit. A GPU keeps activations in f16: one unit of 2^-11
// for each operation. Eight times that is beyond chance over a few thousand values.
inline double logit_tolerance(const ModelConfig& config, std::span<const float> want) {
  double largest = 0;
  for (const float value : want) largest = std::max(largest, static_cast<double>(std::fabs(value)));
  const double operations = 7.0 * config.num_layers + 2;
  const double terms = std::max({config.hidden_size, config.intermediate_size, config.q_rows()});
  return 8 * std::sqrt(operations) * (std::sqrt(terms) * 0x1p-24 + (tests_run_on_a_gpu() ? 0x1p-11 : 0)) * largest;
}

// Whether two computations of the same rows agree: on the CPU to the last bit. On a GPU a prompt chunk and a decode row add in different
// orders, so that only the tolerance binds.
inline bool same_logits(const ModelConfig& config, const std::vector<float>& a, const std::vector<float>& b) {
  if (!tests_run_on_a_gpu()) return a == b;
  if (a.size() != b.size()) return false;
  const double tolerance = logit_tolerance(config, b);
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(std::fabs(static_cast<double>(a[i]) - b[i]) <= tolerance)) return false;
  }
  return true;
}

// One model on the tests' device with a cache whose blocks are handed out in a scattered order.
class Runner {
 public:
  Runner(std::shared_ptr<EngineFile> file, TransformerLimits limits, size_t num_blocks = 64, size_t num_threads = 1,
         const std::string& forced_off = "")
      : backend_({.device = test_device(), .num_threads = num_threads, .forced_off = forced_off}),
        num_tokens_(ModelConfig::from_json(file->metadata().model, "test").vocab_size),
        model_(std::move(file), backend_, limits, num_tokens_),
        cache_(model_.config(), backend_, num_blocks, limits.block_tokens, limits.kv_format) {
    model_.keep_logits(true);
    for (size_t i = 0; i < num_blocks; ++i)
      free_.push_back(static_cast<uint32_t>((i * 37 + 11) % num_blocks));  // num_blocks: no multiple of 37
  }

  struct Sequence {
    std::vector<int32_t> ids;
    size_t prompt_tokens;  // of which the first forward knows
    std::vector<uint32_t> blocks;
    size_t done = 0;            // tokens in the cache
    std::vector<float> logits;  // [done, vocab_size]
  };

  Sequence start(std::vector<int32_t> ids, size_t prompt_tokens) {
    Sequence s{std::move(ids), prompt_tokens, {}, 0, {}};
    const size_t block_tokens = model_.limits().block_tokens;
    for (size_t i = 0; i < (s.ids.size() + block_tokens - 1) / block_tokens; ++i) {
      CHECK(!free_.empty(), "no block left");
      s.blocks.push_back(free_.back());
      free_.pop_back();
    }
    return s;
  }
  void finish(const Sequence& s) { free_.insert(free_.end(), s.blocks.begin(), s.blocks.end()); }

  // The next tokens of several sequences in one step: (sequence, number of tokens), those with one token first.
  std::vector<SampledRow> step(const std::vector<std::pair<Sequence*, size_t>>& work, const ForwardBatch& sampling = {}) {
    ForwardBatch batch = sampling;
    for (const auto& [s, tokens] : work) {
      batch.sequences.push_back({.token_ids = std::span(s->ids).subspan(s->done, tokens),
                                 .first_position = static_cast<int32_t>(s->done),
                                 .blocks = s->blocks,
                                 .rope_variant = model_.rope_variant(s->prompt_tokens),
                                 .wants_logits = true,
                                 .logit_tokens = sampling.sample_rows.empty() ? static_cast<int32_t>(tokens) : 1});
    }
    std::vector<SampledRow> sampled = model_.forward(batch, cache_);
    const std::vector<float>& kept = model_.kept_logits();
    size_t row = 0;
    for (const auto& [s, tokens] : work) {
      const size_t rows = sampling.sample_rows.empty() ? tokens : 1;
      s->logits.insert(s->logits.end(), kept.begin() + static_cast<ptrdiff_t>(row * vocab_size()),
                       kept.begin() + static_cast<ptrdiff_t>((row + rows) * vocab_size()));
      row += rows;
      s->done += tokens;
    }
    return sampled;
  }

  // Logits of every position of `ids`, computed in chunks of `chunk` tokens.
  std::vector<float> logits(const std::vector<int32_t>& ids, size_t prompt_tokens, size_t chunk) {
    Sequence s = start(ids, prompt_tokens);
    while (s.done < s.ids.size()) step({{&s, std::min(chunk, s.ids.size() - s.done)}});
    finish(s);
    return s.logits;
  }

  size_t vocab_size() const { return model_.config().vocab_size; }
  Transformer& model() { return model_; }
  KvCache& cache() { return cache_; }
  Backend& backend() { return backend_; }

 private:
  Backend backend_;
  size_t num_tokens_;
  Transformer model_;
  KvCache cache_;
  std::vector<uint32_t> free_;
};

}  // namespace quern::testing
