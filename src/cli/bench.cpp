// quern bench: tokens a second of prompts and of decoding, with the bytes and operations behind them and their share of what this
// machine can do, which is measured in the same run.
#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>

#include "backend/measure.h"
#include "base/clock.h"
#include "cli/bench_model.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "models/kv_cache.h"
#include "models/transformer.h"

namespace quern {

extern const Verb kBenchVerb;

namespace {

struct Options {
  ModelOptions model;
  std::string shape, dtype = "bf16";
  size_t group_size = 0, prompt_tokens = 512, output_tokens = 64, depth = 0, batch = 1, repeats = 5;
  uint64_t seed = 1;
  bool json = false;
};

// Values of the repeats of one measurement.
struct Samples {
  std::vector<double> values;

  double median() const {
    std::vector<double> sorted = values;
    std::ranges::sort(sorted);
    const size_t middle = sorted.size() / 2;
    return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
  // Half of the distance between the slowest and the fastest, as a share of the median.
  double spread() const {
    const auto [least, most] = std::ranges::minmax(values);
    return (most - least) / 2 / median();
  }
};

struct Report {
  std::string device;
  double weight_bytes = 0, parameters = 0;
  Samples prefill, decode;               // tokens a second
  double decode_bytes = 0;               // of one step of the whole batch: weights once, KV of each sequence
  double prefill_operations = 0;         // of one prompt token: two a weight of the layers, and attention
  double bandwidth = 0, operations = 0;  // a second, measured: the limits
};

class Bench {
 public:
  Bench(const Options& options, const Interrupt& interrupt) : options_(options), interrupt_(interrupt) {
    file_ = options.shape.empty() ? open_engine_file(options.model, interrupt)
                                  : make_bench_model(options.shape, options.dtype, options.group_size, options.seed);
    backend_ = open_backend(options.model);
    const ModelConfig config = ModelConfig::from_json(file_->metadata().model, file_->path());
    const size_t context = options.depth + options.prompt_tokens + options.output_tokens + 1;
    if (context > config.max_position_embeddings) {
      raise(usage, "bench: depth, prompt and output need {} tokens, the model has {}", context, config.max_position_embeddings);
    }
    const EngineOptions& engine = options.model.engine;
    TransformerLimits limits{.max_batch_tokens = std::max<size_t>(engine.max_num_batched_tokens, options.batch),
                             .max_sequences = options.batch,
                             .max_context = context,
                             .block_tokens = engine.block_tokens,
                             .kv_format = Format::f16};
    if (engine.max_num_batched_tokens == 0) limits.max_batch_tokens = std::max<size_t>(512, options.batch);
    if (options.model.kv_dtype != "auto") limits.kv_format = *find_format(options.model.kv_dtype);
    transformer_ = std::make_unique<Transformer>(file_, *backend_, limits, config.vocab_size);
    blocks_each_ = (context + limits.block_tokens - 1) / limits.block_tokens;
    cache_ = std::make_unique<KvCache>(config, *backend_, blocks_each_ * options.batch, limits.block_tokens, limits.kv_format);
    for (size_t i = 0; i < options.batch; ++i) {
      std::vector<uint32_t>& blocks = blocks_.emplace_back(blocks_each_);
      std::iota(blocks.begin(), blocks.end(), static_cast<uint32_t>(i * blocks_each_));
    }
    ids_.resize(context);
    for (size_t i = 0; i < context; ++i) ids_[i] = static_cast<int32_t>((i * 7919 + options.seed) % config.vocab_size);
  }

  Report run() {
    const ModelConfig& config = transformer_->config();
    Report report;
    report.device = backend_->info().name;
    report.weight_bytes = static_cast<double>(transformer_->streamed_bytes());
    for (size_t i = 0; i < options_.batch; ++i) prefill(i, 0, options_.depth);
    for (size_t repeat = 0; repeat <= options_.repeats; ++repeat) {
      double start = monotonic_seconds();
      prefill(0, options_.depth, options_.prompt_tokens);
      const double prefill_seconds = monotonic_seconds() - start;
      for (size_t i = 1; repeat == 0 && i < options_.batch; ++i) prefill(i, options_.depth, options_.prompt_tokens);
      start = monotonic_seconds();
      for (size_t step = 0; step < options_.output_tokens; ++step) decode(options_.depth + options_.prompt_tokens + step);
      const double decode_seconds = monotonic_seconds() - start;
      if (repeat == 0) continue;  // the first round warms caches, page tables and clocks
      report.prefill.values.push_back(static_cast<double>(options_.prompt_tokens) / prefill_seconds);
      report.decode.values.push_back(static_cast<double>(options_.output_tokens * options_.batch) / decode_seconds);
    }
    const double mean_context =
        static_cast<double>(options_.depth + options_.prompt_tokens) + static_cast<double>(options_.output_tokens) / 2;
    const double kv_token = static_cast<double>(KvCache::bytes_per_block(config, cache_->block_tokens(), cache_->format())) /
                            static_cast<double>(cache_->block_tokens());
    report.decode_bytes = report.weight_bytes + static_cast<double>(options_.batch) * mean_context * kv_token;
    report.prefill_operations = 2 * layer_weights(config) + attention_operations(config);
    report.bandwidth = measure_read_bandwidth(*backend_);
    report.operations = measure_operations(*backend_);
    return report;
  }

 private:
  // Computes `count` tokens of sequence `sequence` from `first` on, in chunks of a step; the last one is sampled.
  void prefill(size_t sequence, size_t first, size_t count) {
    const size_t chunk = transformer_->limits().max_batch_tokens;
    for (size_t done = 0; done < count; done += chunk) {
      const size_t length = std::min(chunk, count - done);
      step({{.token_ids = std::span(ids_).subspan(first + done, length),
             .first_position = static_cast<int32_t>(first + done),
             .blocks = blocks_[sequence],
             .wants_logits = done + length == count}});
    }
  }

  void decode(size_t position) {
    std::vector<ForwardBatch::Sequence> sequences;
    for (size_t i = 0; i < options_.batch; ++i) {
      sequences.push_back({.token_ids = std::span(ids_).subspan(position, 1),
                           .first_position = static_cast<int32_t>(position),
                           .blocks = blocks_[i],
                           .wants_logits = true});
    }
    step(std::move(sequences));
  }

  void step(std::vector<ForwardBatch::Sequence> sequences) {
    interrupt_.check();
    ForwardBatch batch;
    for (const ForwardBatch::Sequence& sequence : sequences) {
      if (sequence.wants_logits) batch.sample_rows.push_back({.temperature = 0});
    }
    batch.sequences = std::move(sequences);
    transformer_->forward(batch, *cache_);
  }

  static double layer_weights(const ModelConfig& config) {
    const double hidden = config.hidden_size, q = double{1} * config.num_heads * config.head_dim,
                 kv = double{1} * config.num_kv_heads * config.head_dim;
    return config.num_layers * (hidden * (2 * q + 2 * kv) + 3 * hidden * config.intermediate_size);
  }
  // Scores and values: two products of 2 operations for each earlier token, head and dimension.
  double attention_operations(const ModelConfig& config) const {
    const double mean_context = static_cast<double>(options_.depth) + static_cast<double>(options_.prompt_tokens) / 2;
    return 4.0 * config.num_layers * config.num_heads * config.head_dim * mean_context;
  }

  const Options& options_;
  const Interrupt& interrupt_;
  std::shared_ptr<EngineFile> file_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<KvCache> cache_;
  size_t blocks_each_ = 0;
  std::vector<std::vector<uint32_t>> blocks_;  // of each sequence
  std::vector<int32_t> ids_;
};

OrderedJson report_json(const Options& options, const Report& report) {
  OrderedJson object;
  object["model"] = options.shape.empty() ? options.model.model : options.shape + " " + options.dtype;
  object["device"] = report.device;
  object["prompt_tokens"] = options.prompt_tokens;
  object["output_tokens"] = options.output_tokens;
  object["depth"] = options.depth;
  object["batch"] = options.batch;
  const auto samples = [](const Samples& from) {
    return OrderedJson{{"tokens_per_second", from.median()}, {"spread", from.spread()}, {"values", from.values}};
  };
  object["prefill"] = samples(report.prefill);
  object["prefill"]["operations_per_second"] = report.prefill.median() * report.prefill_operations;
  object["decode"] = samples(report.decode);
  object["decode"]["bytes_per_step"] = report.decode_bytes;
  object["decode"]["bytes_per_second"] = report.decode.median() / static_cast<double>(options.batch) * report.decode_bytes;
  object["limits"] = {{"bytes_per_second", report.bandwidth}, {"operations_per_second", report.operations}};
  return object;
}

std::string report_lines(const Options& options, const Report& report) {
  const std::string model = options.shape.empty() ? options.model.model : options.shape + " " + options.dtype;
  const double operations = report.prefill.median() * report.prefill_operations;
  const double bytes = report.decode.median() / static_cast<double>(options.batch) * report.decode_bytes;
  std::string text = fmt::format("{}, {}\n", model, report.device);
  text += fmt::format("prefill  {:5} tokens at {:<6}           {:10.1f} tokens/s +- {:4.1f} %   {:9.1f} GFLOP/s {:5.1f} % of {:.1f}\n",
                      options.prompt_tokens, options.depth, report.prefill.median(), 100 * report.prefill.spread(), operations / 1e9,
                      100 * operations / report.operations, report.operations / 1e9);
  text += fmt::format(
      "decode   {:5} tokens at {:<6} batch {:<4}{:10.1f} tokens/s +- {:4.1f} %   {:9.2f} GB/s    {:5.1f} % of {:.2f}   {:.1f} MB a step\n",
      options.output_tokens, options.depth + options.prompt_tokens, options.batch, report.decode.median(), 100 * report.decode.spread(),
      bytes / 1e9, 100 * bytes / report.bandwidth, report.bandwidth / 1e9, report.decode_bytes / 1e6);
  return text;
}

int bench(const Options& options) {
  if (options.model.model.empty() == options.shape.empty()) raise(usage, "bench: want one of -m and --shape");
  const Interrupt interrupt;
  const Report report = Bench(options, interrupt).run();
  write_stdout(options.json ? report_json(options, report).dump(2) + "\n" : report_lines(options, report));
  return 0;
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_option(app, options->model)->required(false);
  std::string names;
  for (const BenchShape& shape : bench_shapes()) names += (names.empty() ? "" : ", ") + std::string(shape.name);
  add_text(app, "--shape", options->shape, "NAME", "Random weights in the shape of a known model: " + names);
  add_text(app, "--dtype", options->dtype, "TYPE", "Format of the random weights: f32, f16, bf16, int8, int4");
  add_number<size_t>(app, "--group-size", options->group_size, 0, 128, "Weights that share a scale, as for quern build");
  add_number<size_t>(app, "-p,--prompt-len,--n-prompt", options->prompt_tokens, 1, 1 << 20, "Tokens of the prompt that is timed");
  add_number<size_t>(app, "-n,--gen-len,--n-gen", options->output_tokens, 1, 1 << 20, "Tokens that are decoded");
  add_number<size_t>(app, "-d,--depth,--n-depth", options->depth, 0, 1 << 20, "Tokens that are in the KV cache before");
  add_number<size_t>(app, "-b,--batch", options->batch, 1, 4096, "Sequences that are decoded at one time");
  add_number<size_t>(app, "-r,--repeats,--repetitions", options->repeats, 1, 1000, "Timed rounds, after one that is not");
  add_number<uint64_t>(app, "--seed", options->seed, 0, std::numeric_limits<uint64_t>::max(), "Of the random weights");
  app.add_flag("--json", options->json, "Print one JSON object");
  add_device_options(app, options->model);
  add_number<size_t>(app, "--max-num-batched-tokens", options->model.engine.max_num_batched_tokens, 0, 1 << 20,
                     "Tokens of one step; 0: 512");
  add_choice(app, "--kv-cache-dtype", options->model.kv_dtype, {"auto", "f32", "f16", "bf16"}, "Type of the KV cache; auto is f16");
  app.footer(
      "Each line has the median of the repeats and half the distance between the slowest and the fastest. The limits are measured in the\n"
      "same run: the rate at which every thread together reads memory, and the rate of multiply-adds.");
  return [options] { return bench(*options); };
}

}  // namespace

const Verb kBenchVerb = {"bench", "Time prompts and decoding against the limits of this machine", &declare};

}  // namespace quern
