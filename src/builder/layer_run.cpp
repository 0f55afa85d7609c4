#include "builder/layer_run.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/parse.h"
#include "base/thread_pool.h"
#include "builder/repack.h"
#include "models/layers/decoder_layer.h"
#include "models/rope.h"

namespace quern {
namespace {

constexpr size_t kBlockTokens = 16;
constexpr const char* kQkv[] = {"q", "k", "v"};
constexpr const char* kOut[] = {"out"};
constexpr const char* kGateUp[] = {"gate", "up"};
constexpr const char* kDown[] = {"down"};

// rmsnorm of each row, as the operations that read a norm compute it.
std::vector<float> normed(const Tensor& h, const Tensor& norm, float epsilon) {
  const size_t columns = h.columns();
  std::vector<float> result(h.rows() * columns);
  for (size_t r = 0; r < h.rows(); ++r) {
    const float* row = h.f32(r);
    double squares = 0;
    for (size_t i = 0; i < columns; ++i) squares += static_cast<double>(row[i]) * row[i];
    const auto factor = static_cast<float>(1 / std::sqrt(squares / static_cast<double>(columns) + epsilon));
    for (size_t i = 0; i < columns; ++i) result[r * columns + i] = row[i] * factor * norm.f32()[i];
  }
  return result;
}

Tensor view_of(const std::vector<float>& values, const Shape& shape) {
  CHECK(shape.rows() * shape.columns() == values.size(), "{} values in {}", values.size(), shape.text());
  return {.data = reinterpret_cast<std::byte*>(const_cast<float*>(values.data())), .shape = shape, .format = Format::f32};
}

// Runs the operations of a layer, showing each matrix's input first.
struct WatchedLaunch {
  Backend& backend;
  const DecoderLayer& layer;
  const LayerRun::Look& look;

  template <class Args>
  void run(const Args& args, void (Backend::*op)(const Args&)) const {
    backend.require(args);
    (backend.*op)(args);
  }
  void show(LayerInput input, const Tensor& h, const Tensor& norm, float epsilon) const {
    if (!look) return;
    const std::vector<float> rows = normed(h, norm, epsilon);
    look(input, view_of(rows, h.shape));
  }
  void operator()(const QkvArgs& a) const {
    show(LayerInput::qkv, a.h, a.norm, a.norm_epsilon);
    run(a, &Backend::qkv);
  }
  void operator()(const AttentionArgs& a) const { run(a, &Backend::attention); }
  void operator()(const LinearArgs& a) const {
    if (look) look(a.w == &layer.out.weight ? LayerInput::out : LayerInput::down, a.x);
    run(a, &Backend::linear);
  }
  void operator()(const GateUpArgs& a) const {
    show(LayerInput::gate_up, a.h, a.norm, a.norm_epsilon);
    run(a, &Backend::gate_up);
  }
};

DecoderLayer make_layer(const ModelConfig& config, const LayerTensors& tensors, Backend& backend, size_t layer, std::vector<float>& bias) {
  const auto load = [&](WeightUse use, const std::vector<Tensor>& parts) { return backend.load_weight({.use = use, .parts = parts}); };
  const auto tensor = [&](const char* name) { return tensors.at(name); };
  DecoderLayer l;
  l.norm1 = tensor("norm1");
  l.norm2 = tensor("norm2");
  l.qkv = load(WeightUse::qkv, {tensor("q"), tensor("k"), tensor("v")});
  if (config.qkv_bias) {
    for (const char* name : {"q.bias", "k.bias", "v.bias"}) {
      const Tensor part = tensor(name);
      bias.insert(bias.end(), part.f32(), part.f32() + part.columns());
    }
    l.qkv_bias = view_of(bias, {bias.size()});
  }
  if (config.qk_norm) {
    l.q_norm = tensor("q_norm");
    l.k_norm = tensor("k_norm");
  }
  l.out = load(WeightUse::attention_out, {tensor("out")});
  l.gate_up = load(WeightUse::gate_up, {tensor("gate"), tensor("up")});
  l.down = load(WeightUse::down, {tensor("down")});
  l.window = static_cast<int32_t>(config.windows[layer]);
  return l;
}

const TensorPlan& plan_of(const SourceModel& model, const char* name) {
  const auto plan = std::ranges::find(model.plans, name, &TensorPlan::engine_name);
  CHECK(plan != model.plans.end(), "no tensor {}", name);
  return *plan;
}

// All rows of a tensor in float32.
std::vector<float> source_values(const SourceModel& model, const TensorPlan& plan, ThreadPool& pool) {
  const TensorRepacker tensor(plan, model.config, Format::f32, escaped(plan.engine_name));
  std::vector<float> values(tensor.bytes() / sizeof(float));
  const std::span<std::byte> room(reinterpret_cast<std::byte*>(values.data()), tensor.bytes());
  const std::span<const std::byte> made = tensor.make_rows(0, tensor.num_rows(), room, pool);
  if (made.data() != room.data()) std::memcpy(values.data(), made.data(), made.size());
  return values;
}

}  // namespace

std::span<const char* const> readers_of(LayerInput input) {
  switch (input) {
    case LayerInput::qkv: return kQkv;
    case LayerInput::out: return kOut;
    case LayerInput::gate_up: return kGateUp;
    case LayerInput::down: return kDown;
  }
  raise(internal, "layer input {}", static_cast<int>(input));
}

std::optional<size_t> layer_of(const std::string& engine_name) {
  if (!engine_name.starts_with("blk.")) return std::nullopt;
  return parse_number<size_t>(std::string_view(engine_name).substr(4, engine_name.find('.', 4) - 4));
}

std::string name_in_layer(const std::string& engine_name, size_t layer) {
  const std::string prefix = fmt::format("blk.{}.", layer);
  return engine_name.starts_with(prefix) ? engine_name.substr(prefix.size()) : "";
}

LayerValues load_layer(const SourceModel& model, size_t layer, ThreadPool& pool) {
  LayerValues values;
  for (const TensorPlan& plan : model.plans) {
    const std::string name = name_in_layer(plan.engine_name, layer);
    if (!name.empty()) values.emplace(name, source_values(model, plan, pool));
  }
  return values;
}

LayerTensors views_of(const SourceModel& model, size_t layer, const LayerValues& values) {
  LayerTensors views;
  for (const TensorPlan& plan : model.plans) {
    const std::string name = name_in_layer(plan.engine_name, layer);
    if (!name.empty()) views.emplace(name, view_of(values.at(name), plan.shape));
  }
  return views;
}

std::vector<float> embed_source(const SourceModel& model, std::span<const TokenId> ids, ThreadPool& pool) {
  const TensorPlan& plan = plan_of(model, "embed");
  const size_t hidden = model.config.hidden_size;
  const TensorRepacker table(plan, model.config, Format::f32, escaped(plan.engine_name));
  std::vector<float> values(ids.size() * hidden);
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::span<std::byte> room(reinterpret_cast<std::byte*>(values.data() + i * hidden), hidden * sizeof(float));
    const std::span<const std::byte> made = table.make_rows(static_cast<size_t>(ids[i]), 1, room, pool);
    if (made.data() != room.data()) std::memcpy(room.data(), made.data(), room.size());
  }
  return values;
}

TokenSequences spread_sequences(std::span<const TokenId> ids, size_t num_sequences, size_t sequence_tokens) {
  TokenSequences sequences{.ids = {}, .count = 0, .length = std::min(sequence_tokens, ids.size())};
  if (sequences.length < 2) raise(invalid_input, "calibration text: want at least 2 tokens, found {}", ids.size());
  sequences.count = std::clamp<size_t>(ids.size() / sequences.length, 1, num_sequences);
  const size_t step = sequences.count == 1 ? 0 : (ids.size() - sequences.length) / (sequences.count - 1);
  for (size_t i = 0; i < sequences.count; ++i) {
    const std::span<const TokenId> part = ids.subspan(i * step, sequences.length);
    sequences.ids.insert(sequences.ids.end(), part.begin(), part.end());
  }
  return sequences;
}

LayerRun::LayerRun(const SourceModel& model, Backend& backend, TokenSequences sequences, std::vector<float> hidden, Format kv_format)
    : model_(model), backend_(backend), sequences_(std::move(sequences)), one_layer_(model.config), hidden_(std::move(hidden)) {
  const size_t length = sequences_.length;
  CHECK(sequences_.ids.size() == sequences_.count * length && hidden_.size() == sequences_.ids.size() * model.config.hidden_size,
        "{} sequences of {} tokens, {} ids, {} values", sequences_.count, length, sequences_.ids.size(), hidden_.size());
  one_layer_.num_layers = 1;
  const size_t num_blocks = (length + kBlockTokens - 1) / kBlockTokens;
  blocks_.resize(num_blocks);
  std::iota(blocks_.begin(), blocks_.end(), 0U);
  activations_ = std::make_unique<Activations>(model.config, ActivationLimits{length, 1, backend.info().activations}, backend.runtime());
  cache_ = std::make_unique<KvCache>(one_layer_, backend, num_blocks, kBlockTokens, kv_format);
  input_ =
      std::make_unique<StepInput>(backend, StepLimits{.rows = length,
                                                      .sequences = 1,
                                                      .logit_rows = 1,
                                                      .context = length,
                                                      .block_tokens = kBlockTokens,
                                                      .vocab_size = model.config.vocab_size,
                                                      .rope_variants = static_cast<size_t>(rope_variant(model.config.rope, length)) + 1});
  const RopeTables tables = make_rope_tables(model.config, length, backend.runtime().stream().pool);
  const size_t cos_sin = tables.cos_sin.size() * sizeof(float), scale = tables.query_scale.size() * sizeof(float);
  rope_storage_ = backend.runtime().allocate(cos_sin + scale);
  backend.runtime().upload(rope_storage_.data(), tables.cos_sin.data(), cos_sin);
  if (scale != 0) backend.runtime().upload(rope_storage_.data() + cos_sin, tables.query_scale.data(), scale);
  rope_ = {.cos_sin = reinterpret_cast<const float*>(rope_storage_.data()),
           .query_scale = scale != 0 ? reinterpret_cast<const float*>(rope_storage_.data() + cos_sin) : nullptr,
           .rotary_dims = static_cast<int32_t>(tables.rotary_dims),
           .max_positions = static_cast<int32_t>(tables.max_positions)};
}

void LayerRun::watch(size_t layer, const LayerTensors& tensors, const Look& look) { run(layer, tensors, look, false); }
void LayerRun::advance(size_t layer, const LayerTensors& tensors) { run(layer, tensors, {}, true); }

void LayerRun::run(size_t layer, const LayerTensors& tensors, const Look& look, bool keep) {
  const ModelConfig& config = model_.config;
  std::vector<float> bias;
  const DecoderLayer decoder = make_layer(config, tensors, backend_, layer, bias);
  const size_t sequence_values = sequences_.length * config.hidden_size;
  for (size_t i = 0; i < sequences_.count; ++i) {
    ForwardBatch batch;
    batch.sequences = {{.token_ids = std::span(sequences_.ids).subspan(i * sequences_.length, sequences_.length),
                        .first_position = 0,
                        .blocks = blocks_,
                        .rope_variant = rope_variant(config.rope, sequences_.length)}};
    StepView step;
    step.batch = input_->upload(batch, *cache_, 1);
    step.rope = rope_;
    step.norm_epsilon = static_cast<float>(config.norm_epsilon);
    step.attention_scale = 1.F / std::sqrt(static_cast<float>(config.head_dim));
    activations_->view(step);
    std::memcpy(step.h.data, hidden_.data() + i * sequence_values, sequence_values * sizeof(float));
    decoder.forward(step, cache_->layer(0), WatchedLaunch{backend_, decoder, look});
    if (keep) std::memcpy(hidden_.data() + i * sequence_values, step.h.data, sequence_values * sizeof(float));
  }
}

}  // namespace quern
