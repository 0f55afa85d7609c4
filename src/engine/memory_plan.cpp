#include "engine/memory_plan.h"

#include <algorithm>
#include <map>

#include "base/checked.h"
#include "engine/engine_loader.h"
#include "models/layers/decoder_layer.h"

namespace quern {
namespace {

// What a process takes besides: the program with its libraries and threads, and the tokenizer's tables for each byte that they have in
// the file. Measured: docs/path_of_a_prompt.md, "Memory".
constexpr uint64_t kProgramBytes = 28 << 20;
// Of a GPU's memory: its context, kernels' code and libraries. Measured on an H100: docs/cuda.md, "Memory, copies, steps".
constexpr uint64_t kGpuProgramBytes = 768 << 20;
constexpr double kTokenizerFactor = 6;

class Planner {
 public:
  Planner(const ModelConfig& config, const std::vector<EngineTensorInfo>& tensors, const Backend& backend, const TransformerLimits& limits)
      : config_(config), backend_(backend), limits_(limits) {
    for (const EngineTensorInfo& tensor : tensors) tensors_.emplace(tensor.name, &tensor);
  }

  uint64_t weight_bytes() const { return weight_bytes_; }
  uint64_t embedding_in_place() const { return embedding_in_place_; }
  uint64_t workspace_bytes() const { return workspace_bytes_; }

  void add_model() {
    const Backend::PlannedWeight head = matrix(WeightUse::head, {config_.tied_embeddings ? "embed" : "head"});
    if (!config_.tied_embeddings || head.weight.layout != kCanonical) {
      const Backend::PlannedWeight embed = matrix(WeightUse::embed, {"embed"});
      const bool in_place = backend_.info().device.kind == Device::Kind::cpu && embed.weight.layout == kCanonical;
      if (in_place) embedding_in_place_ = embed.bytes;
    }
    for (const EngineTensor& tensor : engine_tensors(config_)) {
      if (tensor.role == TensorRole::vector) weight_bytes_ += row_bytes(Format::f32, tensor.shape[0]);
    }
    for (const size_t rows : {size_t{1}, limits_.max_sequences, limits_.max_batch_tokens}) {
      const StepView step = view(rows);
      need(HeadArgs{.h = step.h, .batch = step.batch, .norm = vector(config_.hidden_size), .w = &head.weight, .logits = step.logits});
    }
    for (size_t i = 0; i < config_.num_layers; ++i) add_layer(i);
  }

 private:
  static Tensor vector(size_t size) { return {nullptr, Shape{size}, Format::f32}; }

  Backend::PlannedWeight matrix(WeightUse use, std::initializer_list<const char*> names, size_t layer = 0) {
    std::vector<Tensor> parts;
    for (const char* pattern : names) {
      const std::string name = layer_tensor_name(pattern, layer);
      const auto at = tensors_.find(name);
      if (at == tensors_.end()) raise(invalid_input, "{}: want a tensor, found none", name);
      parts.push_back({nullptr, at->second->shape, at->second->format});
    }
    Backend::PlannedWeight planned = backend_.plan_weight({.use = use, .parts = parts});
    weight_bytes_ += planned.bytes;
    return planned;
  }

  void add_layer(size_t i) {
    DecoderLayer layer;
    layer.norm1 = layer.norm2 = vector(config_.hidden_size);
    if (config_.qkv_bias) layer.qkv_bias = vector(config_.q_rows() + 2 * config_.kv_rows());
    if (config_.qk_norm) layer.q_norm = layer.k_norm = vector(config_.head_dim);
    layer.qkv.weight = matrix(WeightUse::qkv, {"blk.*.q", "blk.*.k", "blk.*.v"}, i).weight;
    layer.out.weight = matrix(WeightUse::attention_out, {"blk.*.out"}, i).weight;
    layer.gate_up.weight = matrix(WeightUse::gate_up, {"blk.*.gate", "blk.*.up"}, i).weight;
    layer.down.weight = matrix(WeightUse::down, {"blk.*.down"}, i).weight;
    layer.window = static_cast<int32_t>(config_.windows[i]);
    const KvView kv{.format = limits_.kv_format,
                    .num_blocks = static_cast<int32_t>((limits_.max_context + limits_.block_tokens - 1) / limits_.block_tokens),
                    .num_kv_heads = static_cast<int32_t>(config_.num_kv_heads),
                    .block_tokens = static_cast<int32_t>(limits_.block_tokens),
                    .head_dim = static_cast<int32_t>(config_.head_dim)};
    for (const size_t rows : {size_t{1}, limits_.max_sequences, limits_.max_batch_tokens}) {
      layer.forward(view(rows), kv, [this](const auto& args) { need(args); });
    }
  }

  // A step of `rows` rows: all decoding, or one prompt chunk where that is more than the sequences that may decode.
  StepView view(size_t rows) const {
    const bool decodes = rows <= limits_.max_sequences;
    StepView step;
    step.batch.num_tokens = static_cast<int32_t>(rows);
    step.batch.num_sequences = decodes ? static_cast<int32_t>(rows) : 1;
    step.batch.num_decode = decodes ? static_cast<int32_t>(rows) : 0;
    step.batch.num_sample_rows = static_cast<int32_t>(std::min(rows, limits_.max_sequences));
    step.batch.max_query_tokens = decodes ? 1 : static_cast<int32_t>(rows);
    step.batch.max_context = static_cast<int32_t>(limits_.max_context);
    step.batch.block_table_stride = static_cast<int32_t>((limits_.max_context + limits_.block_tokens - 1) / limits_.block_tokens);
    const Format format = backend_.info().activations;
    step.h = {nullptr, Shape{rows, config_.hidden_size}, Format::f32};
    step.q = step.attended = {nullptr, Shape{rows, config_.q_rows()}, format};
    step.gated = {nullptr, Shape{rows, config_.intermediate_size}, format};
    step.logits = {nullptr, Shape{static_cast<size_t>(step.batch.num_sample_rows), config_.vocab_size}, Format::f32};
    return step;
  }

  template <class Args>
  void need(const Args& args) {
    workspace_bytes_ = std::max<uint64_t>(workspace_bytes_, backend_.planned_workspace(args));
  }

  const ModelConfig& config_;
  const Backend& backend_;
  const TransformerLimits& limits_;
  std::map<std::string, const EngineTensorInfo*> tensors_;
  uint64_t weight_bytes_ = 0, embedding_in_place_ = 0, workspace_bytes_ = 0;
};

}  // namespace

MemoryPlan plan_memory(const ModelConfig& config, const std::vector<EngineTensorInfo>& tensors, const Backend& backend,
                       const EngineOptions& options) {
  MemoryPlan plan;
  plan.context = options.max_model_len == 0 ? config.max_position_embeddings : options.max_model_len;
  plan.parallel = options.max_num_seqs;
  const Format kv_format = kv_format_for(tensors, options);
  KvCache::require_format(kv_format, backend.info());
  const TransformerLimits limits{.max_batch_tokens = step_tokens_for(backend.info().device, options),
                                 .max_sequences = options.max_num_seqs,
                                 .max_context = plan.context,
                                 .block_tokens = options.block_tokens,
                                 .kv_format = kv_format};

  const uint64_t block_bytes = KvCache::bytes_per_block(config, options.block_tokens, kv_format);
  const Checked whole_contexts = Checked((plan.context + options.block_tokens - 1) / options.block_tokens) * plan.parallel;
  plan.kv_blocks = options.kv_cache_bytes != 0 ? options.kv_cache_bytes / block_bytes : whole_contexts.or_throw("KV cache");
  plan.kv_bytes_per_token = block_bytes / options.block_tokens;
  plan.kv_cache = (Checked(plan.kv_blocks) * block_bytes + block_bytes).or_throw("KV cache of {} blocks", plan.kv_blocks);

  Planner planner(config, tensors, backend, limits);
  planner.add_model();
  plan.weights = planner.weight_bytes();
  plan.embedding_in_place = planner.embedding_in_place();
  plan.activations = Transformer::planned_activation_bytes(config, limits, backend.info()) + planner.workspace_bytes();
  plan.other = kProgramBytes;
  if (backend.info().device.kind == Device::Kind::cuda) plan.other += kGpuProgramBytes;
  for (const EngineTensorInfo& tensor : tensors) {
    if (tensor.is_raw) plan.other += static_cast<uint64_t>(kTokenizerFactor * static_cast<double>(tensor.shape[0]));
  }
  return plan;
}

}  // namespace quern
