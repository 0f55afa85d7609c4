// quern bench: tokens a second of prompts and of decoding, with the bytes and operations behind them and their share of what this
// machine can do, which is measured in the same run.
#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <numeric>

#include "backend/measure.h"
#include "base/clock.h"
#include "cli/bench_model.h"
#include "cli/bench_report.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "models/engine_tensors.h"
#include "models/kv_cache.h"
#include "models/transformer.h"

namespace quern {

extern const Verb kBenchVerb;
extern const Verb kBenchServeVerb;

namespace {

struct Options {
  ModelOptions model;
  std::string shape, dtype = "bf16";
  size_t group_size = 0, prompt_tokens = 512, output_tokens = 64, depth = 0, batch = 1, repeats = 5;
  uint64_t seed = 1;
  bool json = false, csv = false, profile = false, kernels = false;
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
    limits.kv_format = kv_format_named(options.model.kv_dtype).value_or(limits.kv_format);
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

  BenchReport run() {
    const ModelConfig& config = transformer_->config();
    BenchReport report;
    report.model = options_.shape.empty() ? options_.model.model : options_.shape + " " + options_.dtype;
    report.device = backend_->info().name;
    report.prompt_tokens = options_.prompt_tokens;
    report.output_tokens = options_.output_tokens;
    report.depth = options_.depth;
    report.batch = options_.batch;
    report.units = unit_work(config);
    report.decode_bytes = bytes_of_step(config);
    for (size_t i = 0; i < options_.batch; ++i) prefill(i, 0, options_.depth);
    for (size_t repeat = 0; repeat <= options_.repeats; ++repeat) {
      double start = monotonic_seconds();
      prefill(0, options_.depth, options_.prompt_tokens);
      const double prefill_seconds = monotonic_seconds() - start;
      for (size_t i = 1; repeat == 0 && i < options_.batch; ++i) prefill(i, options_.depth, options_.prompt_tokens);
      if (repeat != 0) measure_units(report.units);
      const double before = measure_read_bandwidth(*backend_);
      start = monotonic_seconds();
      for (size_t i = 0; i < options_.output_tokens; ++i) decode(options_.depth + options_.prompt_tokens + i);
      const double decode_seconds = monotonic_seconds() - start;
      if (repeat == 0) continue;  // the first round warms caches, page tables and clocks
      const double bandwidth = (before + measure_read_bandwidth(*backend_)) / 2;
      const double bytes = static_cast<double>(options_.output_tokens) * report.decode_bytes;
      report.prefill.values.push_back(static_cast<double>(options_.prompt_tokens) / prefill_seconds);
      report.decode.values.push_back(static_cast<double>(options_.output_tokens * options_.batch) / decode_seconds);
      report.bandwidth.values.push_back(bandwidth);
      report.decode_share.values.push_back(bandwidth == 0 ? 0 : bytes / decode_seconds / bandwidth);
    }
    if (options_.profile) {
      report.prefill_profile = profile([&] { prefill(0, options_.depth, options_.prompt_tokens); });
      report.decode_profile = profile([&] { decode(options_.depth + options_.prompt_tokens); });
    }
    if (options_.kernels) {
      report.kernels =
          transformer_->measure_operations(decode_batch(options_.depth + options_.prompt_tokens), *cache_, options_.repeats * 4);
    }
    return report;
  }

 private:
  // Computes `count` tokens of sequence `sequence` from `first` on, in chunks of a step; the last one is sampled.
  void prefill(size_t sequence, size_t first, size_t count) {
    const size_t chunk = transformer_->limits().max_batch_tokens;
    for (size_t done = 0; done < count; done += chunk) {
      const size_t length = std::min(chunk, count - done);
      step(batch_of({{.token_ids = std::span(ids_).subspan(first + done, length),
                      .first_position = static_cast<int32_t>(first + done),
                      .blocks = blocks_[sequence],
                      .wants_logits = done + length == count}}));
    }
  }

  ForwardBatch decode_batch(size_t position) {
    std::vector<ForwardBatch::Sequence> sequences;
    for (size_t i = 0; i < options_.batch; ++i) {
      sequences.push_back({.token_ids = std::span(ids_).subspan(position, 1),
                           .first_position = static_cast<int32_t>(position),
                           .blocks = blocks_[i],
                           .wants_logits = true});
    }
    return batch_of(std::move(sequences));
  }
  void decode(size_t position) { step(decode_batch(position)); }

  static ForwardBatch batch_of(std::vector<ForwardBatch::Sequence> sequences) {
    ForwardBatch batch;
    for (const ForwardBatch::Sequence& sequence : sequences) {
      if (sequence.wants_logits) batch.sample_rows.push_back({.temperature = 0});
    }
    batch.sequences = std::move(sequences);
    return batch;
  }
  void step(const ForwardBatch& batch) {
    interrupt_.check();
    transformer_->forward(batch, *cache_);
  }

  // The operations of `work`, added up by kind; the median of a few runs would hide nothing more, so it is one run after a warm one.
  template <class Work>
  StepProfile profile(const Work& work) {
    work();
    StepProfile profile;
    backend_->observe([&](const char* operation, const char* row, double seconds) {
      auto found =
          std::ranges::find_if(profile.operations, [&](const OperationTime& o) { return o.operation == operation && o.row == row; });
      if (found == profile.operations.end()) found = profile.operations.insert(found, {operation, row, 0, 0});
      ++found->calls;
      found->seconds += seconds;
    });
    const double start = monotonic_seconds();
    work();
    profile.seconds = monotonic_seconds() - start;
    backend_->observe({});
    return profile;
  }

  double bytes_of_step(const ModelConfig& config) const {
    const double mean_context =
        static_cast<double>(options_.depth + options_.prompt_tokens) + static_cast<double>(options_.output_tokens) / 2;
    const double kv_token = static_cast<double>(KvCache::bytes_per_block(config, cache_->block_tokens(), cache_->format())) /
                            static_cast<double>(cache_->block_tokens());
    return static_cast<double>(transformer_->streamed_bytes()) + static_cast<double>(options_.batch) * mean_context * kv_token;
  }

  // Which unit multiplies how much for one prompt token: the layers' matrices by their formats, attention in f32.
  std::vector<BenchReport::Unit> unit_work(const ModelConfig& config) {
    std::vector<BenchReport::Unit> units;
    const auto add = [&](Format format, double work) {
      const UnitRate rate = measure_operations(*backend_, format);
      auto found = std::ranges::find(units, rate.unit, &BenchReport::Unit::unit);
      if (found == units.end()) found = units.insert(found, {rate.unit, rate.operations, 0});
      found->operations = std::max(found->operations, rate.operations);
      found->work += work;
      formats_.try_emplace(rate.unit, format);
    };
    std::map<Format, double> weights;
    for (const EngineTensor& tensor : engine_tensors(config)) {
      const EngineTensorInfo* info = file_->find(tensor.name);
      if (tensor.role != TensorRole::matrix || info == nullptr) continue;
      weights[info->format] += static_cast<double>(tensor.shape.rows() * tensor.shape.columns());
    }
    for (const auto& [format, count] : weights) add(format, 2 * count);
    // Scores and values: two products of 2 operations for each earlier token, head and dimension.
    const double mean_context = static_cast<double>(options_.depth) + static_cast<double>(options_.prompt_tokens) / 2;
    add(Format::f32, 4.0 * config.num_layers * config.num_heads * config.head_dim * mean_context);
    return units;
  }
  void measure_units(std::vector<BenchReport::Unit>& units) {
    for (BenchReport::Unit& unit : units) {
      unit.operations = std::max(unit.operations, measure_operations(*backend_, formats_.at(unit.unit)).operations);
    }
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
  std::map<std::string, Format> formats_;  // one that each unit multiplies
};

int bench(const Options& options) {
  if (options.model.model.empty() == options.shape.empty()) raise(usage, "bench: want one of -m and --shape");
  const Interrupt interrupt;
  const BenchReport report = Bench(options, interrupt).run();
  write_stdout(options.json ? report_json(report).dump(2) + "\n" : options.csv ? report_csv(report) : report_lines(report));
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
  app.add_flag("--profile", options->profile, "Print the time of each operation of one prompt and of one decode step (CPU)");
  app.add_flag("--kernels", options->kernels, "Print a line for each kind of operation of a decode step, with its share of the limit");
  CLI::Option* const json = app.add_flag("--json", options->json, "Print one JSON object");
  app.add_flag("--csv", options->csv, "Print a line of names and a line of values")->excludes(json);
  add_device_options(app, options->model);
  add_number<size_t>(app, "--max-num-batched-tokens", options->model.engine.max_num_batched_tokens, 0, 1 << 20,
                     "Tokens of one step; 0: 512");
  add_choice(app, "--kv-cache-dtype", options->model.kv_dtype, kv_dtypes(), "Type of the KV cache; auto is f16, int8 on the CPU only");
  app.footer(
      "Each line has the median of the repeats and half the distance between the slowest and the fastest. The limits are measured in the\n"
      "same run: the rate at which every thread together reads memory, before and after each round of decoding, and the rate of the units\n"
      "that multiply the model's formats.");
  CLI::App* serve = app.add_subcommand(kBenchServeVerb.name, kBenchServeVerb.summary)->footer("");
  const VerbWork serve_work = kBenchServeVerb.declare(*serve);
  return [options, serve, serve_work] { return serve->parsed() ? serve_work() : bench(*options); };
}

}  // namespace

const Verb kBenchVerb = {"bench", "Time prompts and decoding against the limits of this machine", &declare};

}  // namespace quern
