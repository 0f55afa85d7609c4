#include "models/transformer.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/clock.h"
#include "models/activations.h"
#include "models/rope.h"
#include "models/sample_step.h"
#include "models/step_input.h"

namespace quern {
namespace {

constexpr size_t kContextBucket = 256;  // smallest step between the context bounds of captured steps

// Runs each operation.
struct RunOn {
  Backend& backend;
  void operator()(const EmbedArgs& a) const { backend.embed(a); }
  void operator()(const QkvArgs& a) const { backend.qkv(a); }
  void operator()(const AttentionArgs& a) const { backend.attention(a); }
  void operator()(const LinearArgs& a) const { backend.linear(a); }
  void operator()(const GateUpArgs& a) const { backend.gate_up(a); }
  void operator()(const HeadArgs& a) const { backend.head(a); }
};

const char* operation_of(const EmbedArgs&) { return "embed"; }
const char* operation_of(const QkvArgs&) { return "qkv"; }
const char* operation_of(const AttentionArgs&) { return "attention"; }
const char* operation_of(const LinearArgs& a) { return a.w->use == WeightUse::attention_out ? "attention_out" : "down"; }
const char* operation_of(const GateUpArgs&) { return "gate_up"; }
const char* operation_of(const HeadArgs&) { return "head"; }

template <class Args>
double weight_bytes_of(const Args& args) {
  double bytes = 0;
  if constexpr (requires { args.w; }) {
    for (const Tensor& part : args.w->parts) bytes += static_cast<double>(part.bytes());
  }
  return bytes;
}

// 1, 2, 4, ... and `most` itself.
std::vector<size_t> sizes_up_to(size_t most) {
  std::vector<size_t> sizes;
  for (size_t size = 1; size < most; size *= 2) sizes.push_back(size);
  sizes.push_back(most);
  return sizes;
}

// An upper bound for the longest context of a captured step, so that few keys occur.
size_t context_bucket(size_t context, size_t max_context) {
  return std::min(std::bit_ceil(std::max(context, kContextBucket)), max_context);
}

uint64_t step_key(const BatchView& batch, const KvCache& cache, size_t num_layers) {
  uint64_t key = 0;
  const auto add = [&](uint64_t value) {
    key = (key ^ value) * 0x9e3779b97f4a7c15U;
    key ^= key >> 29;
  };
  for (size_t i = 0; i < num_layers; ++i) {  // launches hold the cache's addresses
    const KvView layer = cache.layer(i);
    add(reinterpret_cast<uintptr_t>(layer.k));
    add(reinterpret_cast<uintptr_t>(layer.v));
  }
  for (const int32_t value : {batch.num_sequences, batch.num_sample_rows, batch.max_context}) add(static_cast<uint64_t>(value));
  return key;
}

TransformerLimits checked_limits(TransformerLimits limits, const ModelConfig& config) {
  if (limits.max_logit_rows == 0) limits.max_logit_rows = limits.max_sequences;
  const auto want = [](const char* what, size_t value, size_t most) {
    if (value < 1 || value > most) raise(usage, "{}: want a number from 1 to {}, found {}", what, most, value);
  };
  want("batch tokens", limits.max_batch_tokens, size_t{1} << 20);
  want("sequences of a batch", limits.max_sequences, size_t{1} << 16);
  want("rows of logits", limits.max_logit_rows, size_t{1} << 20);
  want("context", limits.max_context, config.max_position_embeddings);
  want("tokens of a KV block", limits.block_tokens, size_t{1} << 16);
  return limits;
}

// `padded`: decode rows that a step of max_sequences is padded to.
StepLimits step_limits_for(const ModelConfig& config, const TransformerLimits& limits, size_t padded) {
  padded = std::max(limits.max_sequences, padded);
  return {.rows = std::max(limits.max_batch_tokens, padded),
          .sequences = padded,
          .logit_rows = std::max(limits.max_logit_rows, padded),
          .context = limits.max_context,
          .block_tokens = limits.block_tokens,
          .vocab_size = config.vocab_size,
          .rope_variants = static_cast<size_t>(rope_variant(config.rope, limits.max_context)) + 1};
}

size_t rope_bytes(const ModelConfig& config, const TransformerLimits& limits, const StepLimits& step) {
  const size_t cos_sin = step.rope_variants * limits.max_context * config.rope.rotary_dims;
  return (cos_sin + (config.logn_attention ? limits.max_context : 0)) * sizeof(float);
}

}  // namespace

struct Transformer::State {
  State(std::shared_ptr<EngineFile> engine_file, Backend& device, const TransformerLimits& wanted, size_t num_tokens)
      : file(std::move(engine_file)),
        backend(device),
        config(ModelConfig::from_json(file->metadata().model, fmt::format("{}: model", file->path()))),
        limits(checked_limits(wanted, config)),
        step_limits(step_limits_for(config, limits, device.runtime().padded_rows(limits.max_sequences))),
        activations(config, {step_limits.rows, step_limits.logit_rows, device.info().activations}, device.runtime()),
        input(device, step_limits),
        sampling(device, step_limits.logit_rows, config.vocab_size, num_tokens) {
    if (num_tokens < 1 || num_tokens > config.vocab_size) {
      raise(invalid_input, "{}: the tokenizer has {} tokens, the model {} rows", file->path(), num_tokens, config.vocab_size);
    }
    load_weights();
    upload_rope();
    KvCache::require_format(limits.kv_format, backend.info());
    require_kernels();
  }
  ~State() { backend.runtime().forget_steps(); }  // their launches hold addresses of this object's memory

  void load_weights() {
    WeightLoader loader(*file, backend, config);
    loader.verify_outside_layers();
    const char* head_name = config.tied_embeddings ? "embed" : "head";
    head = loader.matrix(WeightUse::head, {head_name});
    streamed_bytes = loader.bytes();
    if (config.tied_embeddings && head.weight.layout == kCanonical) {  // one copy serves both
      embed.weight = head.weight;
      embed.weight.use = WeightUse::embed;
    } else {
      embed = loader.matrix(WeightUse::embed, {"embed"});
      const std::span<const std::byte> mapped = file->file().bytes();
      const std::byte* rows = embed.weight.parts[0].data;
      embed_in_file = embed.weight.layout == kCanonical && rows >= mapped.data() && rows < mapped.data() + mapped.size();
    }
    const size_t outside = loader.bytes();
    for (size_t i = 0; i < config.num_layers; ++i) layers.push_back(load_decoder_layer(loader, config, i));
    norm = loader.vector({"norm"});
    weight_bytes = loader.bytes();
    streamed_bytes += weight_bytes - outside;
    vectors = loader.take_vectors();
  }

  void upload_rope() {
    const size_t scale_bytes = (config.logn_attention ? limits.max_context : 0) * sizeof(float);
    const size_t cos_sin_bytes = rope_bytes(config, limits, step_limits) - scale_bytes;
    rope_storage = backend.runtime().allocate(cos_sin_bytes + scale_bytes);
    const RopeTables tables = make_rope_tables(config, limits.max_context, backend.runtime().stream().pool);
    CHECK(tables.cos_sin.size() * sizeof(float) == cos_sin_bytes && tables.query_scale.size() * sizeof(float) == scale_bytes,
          "rope tables");
    backend.runtime().upload(rope_storage.data(), tables.cos_sin.data(), cos_sin_bytes);
    if (scale_bytes != 0) backend.runtime().upload(rope_storage.data() + cos_sin_bytes, tables.query_scale.data(), scale_bytes);
    rope.cos_sin = reinterpret_cast<const float*>(rope_storage.data());
    if (scale_bytes != 0) rope.query_scale = reinterpret_cast<const float*>(rope_storage.data() + cos_sin_bytes);
    rope.rotary_dims = static_cast<int32_t>(tables.rotary_dims);
    rope.max_positions = static_cast<int32_t>(tables.max_positions);
  }

  StepView step_view(const BatchView& batch) const {
    StepView step;
    step.batch = batch;
    step.rope = rope;
    step.norm_epsilon = static_cast<float>(config.norm_epsilon);
    step.attention_scale = 1.F / std::sqrt(static_cast<float>(config.head_dim));
    activations.view(step);
    return step;
  }

  // All operations of a step from top to bottom.
  template <class Layers, class Launch>
  void operations(const StepView& step, Layers&& kv_layer, Launch&& launch) const {
    launch(EmbedArgs{.table = &embed.weight, .batch = step.batch, .h = step.h});
    for (size_t i = 0; i < layers.size(); ++i) layers[i].forward(step, kv_layer(i), launch);
    if (step.batch.num_sample_rows == 0) return;
    launch(HeadArgs{
        .h = step.h, .batch = step.batch, .norm = norm, .norm_epsilon = step.norm_epsilon, .w = &head.weight, .logits = step.logits});
  }

  // Steps of decode rows alone, of one prompt chunk, and of both, in sizes at which kernels may change.
  void require_kernels() {
    const auto require = [&](size_t sequences, size_t decode, size_t rows) {
      BatchView batch;
      batch.num_tokens = static_cast<int32_t>(rows);
      batch.num_sequences = static_cast<int32_t>(sequences);
      batch.num_decode = static_cast<int32_t>(decode);
      batch.num_sample_rows = static_cast<int32_t>(std::min(sequences == 1 ? rows : sequences, step_limits.logit_rows));
      batch.max_query_tokens = static_cast<int32_t>(rows - decode + (sequences == decode ? 1 : 0));
      batch.max_context = static_cast<int32_t>(limits.max_context);
      batch.block_table_stride = static_cast<int32_t>((limits.max_context + limits.block_tokens - 1) / limits.block_tokens);
      const KvView kv{.format = limits.kv_format,
                      .num_blocks = batch.block_table_stride,
                      .num_kv_heads = static_cast<int32_t>(config.num_kv_heads),
                      .block_tokens = static_cast<int32_t>(limits.block_tokens),
                      .head_dim = static_cast<int32_t>(config.head_dim)};
      operations(
          step_view(batch), [&](size_t) { return kv; }, [&](const auto& args) { backend.require(args); });
    };
    for (const size_t n : sizes_up_to(step_limits.sequences)) require(n, n, n);
    for (const size_t n : sizes_up_to(step_limits.rows)) require(1, n == 1 ? 1 : 0, n);
    const size_t mixed = std::min(step_limits.sequences, step_limits.rows);
    if (mixed > 1) require(mixed, mixed - 1, step_limits.rows);
  }

  std::vector<SampledRow> forward(const ForwardBatch& batch, KvCache& cache) {
    CHECK(cache.format() == limits.kv_format, "KV cache in {}, want {}", format_name(cache.format()), format_name(limits.kv_format));
    const size_t sequences = batch.sequences.size();
    const bool uniform = std::ranges::all_of(batch.sequences, [&](const ForwardBatch::Sequence& s) {
      return s.token_ids.size() == 1 && s.wants_logits == batch.sequences.front().wants_logits;
    });
    BatchView view = input.upload(batch, cache, uniform ? backend.runtime().padded_rows(sequences) : sequences);
    const size_t logit_rows = rows_wanting_logits(batch);
    if (uniform) view.max_context = static_cast<int32_t>(context_bucket(static_cast<size_t>(view.max_context), limits.max_context));
    const StepView step = step_view(view);
    const auto body = [&] {
      operations(
          step, [&](size_t i) { return cache.layer(i); }, RunOn{backend});
    };
    if (uniform) {
      backend.runtime().step(step_key(view, cache, layers.size()), body);
    } else {
      body();
    }
    release_embedding(static_cast<size_t>(view.num_tokens));
    Tensor logits = step.logits;
    logits.shape = Shape{logit_rows, config.vocab_size};
    if (keeps_logits) {
      kept.resize(logit_rows * config.vocab_size);
      backend.runtime().download(reinterpret_cast<std::byte*>(kept.data()), logits.data, kept.size() * sizeof(float));
    }
    return sampling.draw(batch, logits, input.sample_rows());
  }

  // For each row that is read the system maps the pages around it, 64 KiB: without this the whole table would come to count as this
  // process's memory. The pages stay in the system's cache.
  void release_embedding(size_t num_tokens) {
    if (!embed_in_file) return;
    embedded_tokens += num_tokens;
    if (embedded_tokens < 64) return;
    embedded_tokens = 0;
    if (const EngineTensorInfo* info = file->find("embed")) file->file().release(info->offset, info->bytes);
  }

  std::vector<OperationCost> measure_operations(const ForwardBatch& batch, KvCache& cache, size_t repeats) {
    BatchView view = input.upload(batch, cache, backend.runtime().padded_rows(batch.sequences.size()));
    view.max_context = static_cast<int32_t>(context_bucket(static_cast<size_t>(view.max_context), limits.max_context));
    const StepView step = step_view(view);
    const auto each = [&](const auto& launch) {
      operations(
          step, [&](size_t i) { return cache.layer(i); }, launch);
    };
    double context = 0;
    for (const ForwardBatch::Sequence& s : batch.sequences) {
      context += static_cast<double>(s.first_position) + static_cast<double>(s.token_ids.size());
    }
    const double kv_bytes = context * 2 * static_cast<double>(config.num_kv_heads * row_bytes(cache.format(), config.head_dim));
    std::vector<OperationCost> costs;
    each([&](const auto& args) {
      const char* const operation = operation_of(args);
      auto found = std::ranges::find(costs, operation, &OperationCost::operation);
      if (found == costs.end()) found = costs.insert(found, {operation, backend.require(args)});
      ++found->calls;
      found->bytes += std::is_same_v<std::decay_t<decltype(args)>, AttentionArgs> ? kv_bytes : weight_bytes_of(args);
    });
    uint64_t key = step_key(view, cache, layers.size());
    for (OperationCost& cost : costs) {
      key = (key ^ 0x6b) * 0x9e3779b97f4a7c15U;
      const auto run = [&] {
        backend.runtime().step(key, [&] {
          each([&](const auto& args) {
            if (cost.operation == operation_of(args)) RunOn{backend}(args);
          });
        });
      };
      for (int i = 0; i < 3; ++i) run();  // as it is, recorded, replayed
      backend.runtime().synchronize();
      const double start = monotonic_seconds();
      for (size_t i = 0; i < repeats; ++i) run();
      backend.runtime().synchronize();
      cost.seconds = (monotonic_seconds() - start) / static_cast<double>(repeats);
    }
    return costs;
  }

  static size_t rows_wanting_logits(const ForwardBatch& batch) {
    size_t rows = 0;
    for (const ForwardBatch::Sequence& s : batch.sequences) rows += s.wants_logits ? static_cast<size_t>(s.logit_tokens) : 0;
    return rows;
  }

  std::shared_ptr<EngineFile> file;
  Backend& backend;
  ModelConfig config;
  TransformerLimits limits;
  StepLimits step_limits;
  LoadedWeight embed, head;  // [vocab_size, hidden]
  std::vector<DecoderLayer> layers;
  Tensor norm;  // [hidden]
  Storage vectors, rope_storage;
  RopeView rope;
  Activations activations;
  StepInput input;
  SampleStep sampling;
  bool embed_in_file = false;
  size_t embedded_tokens = 0;  // since its pages were given back
  bool keeps_logits = false;
  std::vector<float> kept;
  size_t weight_bytes = 0, streamed_bytes = 0;
};

Transformer::Transformer(std::shared_ptr<EngineFile> file, Backend& backend, const TransformerLimits& limits, size_t num_tokens)
    : state_(std::make_unique<State>(std::move(file), backend, limits, num_tokens)) {}
Transformer::~Transformer() = default;

const ModelConfig& Transformer::config() const { return state_->config; }
const TransformerLimits& Transformer::limits() const { return state_->limits; }
int32_t Transformer::rope_variant(size_t prompt_tokens) const { return quern::rope_variant(state_->config.rope, prompt_tokens); }

std::vector<SampledRow> Transformer::forward(const ForwardBatch& batch, KvCache& cache) { return state_->forward(batch, cache); }
std::vector<OperationCost> Transformer::measure_operations(const ForwardBatch& batch, KvCache& cache, size_t repeats) {
  return state_->measure_operations(batch, cache, repeats);
}
void Transformer::keep_logits(bool keep) { state_->keeps_logits = keep; }
const std::vector<float>& Transformer::kept_logits() const { return state_->kept; }

size_t Transformer::weight_bytes() const { return state_->weight_bytes; }
size_t Transformer::activation_bytes() const {
  const State& s = *state_;
  return s.activations.bytes() + s.input.bytes() + s.sampling.bytes() + s.rope_storage.bytes() + s.backend.workspace_bytes();
}
size_t Transformer::streamed_bytes() const { return state_->streamed_bytes; }

size_t Transformer::planned_activation_bytes(const ModelConfig& config, const TransformerLimits& wanted, const DeviceInfo& device) {
  const TransformerLimits limits = checked_limits(wanted, config);
  const StepLimits step = step_limits_for(config, limits, limits.max_sequences);
  return Activations::bytes_for(config, {step.rows, step.logit_rows, device.activations}) + StepInput::bytes_for(step) +
         SampleStep::bytes_for(step.logit_rows) + rope_bytes(config, limits, step);
}

}  // namespace quern
