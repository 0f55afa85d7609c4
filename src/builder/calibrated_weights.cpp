#include "builder/calibrated_weights.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/thread_pool.h"
#include "builder/gptq.h"
#include "builder/hessian.h"
#include "builder/shipped_texts.h"
#include "files/xxh3.h"

namespace quern {
namespace {

constexpr LayerInput kInputs[] = {LayerInput::qkv, LayerInput::out, LayerInput::gate_up, LayerInput::down};

std::string hash_of(std::string_view text) {
  Xxh3 hash;
  hash.update(text.data(), text.size());
  return fmt::format("{:016x}", hash.digest());
}

std::string_view text_of(const CalibrationOptions& options) { return options.text.empty() ? calibration_text() : options.text; }

// Power of the outputs w H w^T over the calibration inputs, in double.
double output_power(std::span<const float> values, const Hessian& hessian) {
  double power = 0;
  const size_t n = hessian.columns();
  for (size_t i = 0; i < values.size(); ++i) power += static_cast<double>(values[i]) * values[i] * hessian.diagonal(i % n);
  return power;
}

LayerRun make_run(const SourceModel& model, Backend& backend, std::string_view text, const CalibrationOptions& options) {
  const std::vector<TokenId> ids = model.tokenizer.encode(text, Tokenizer::Specials::as_text);
  TokenSequences sequences = spread_sequences(ids, options.num_sequences, options.sequence_tokens);
  std::vector<float> hidden = embed_source(model, sequences.ids, *backend.runtime().stream().pool);
  return {model, backend, std::move(sequences), std::move(hidden), Format::f32};
}

}  // namespace

CalibratedWeights::CalibratedWeights(const SourceModel& model, std::span<const Format> formats, const CalibrationOptions& options,
                                     size_t num_threads)
    : model_(model),
      formats_(formats.begin(), formats.end()),
      backend_({.num_threads = num_threads}),
      text_hash_(hash_of(text_of(options))),
      run_(make_run(model, backend_, text_of(options), options)) {}

std::span<const std::byte> CalibratedWeights::rows(size_t i, const std::function<void()>& progress) {
  const TensorPlan& plan = model_.plans[i];
  const std::optional<size_t> layer = layer_of(plan.engine_name);
  if (!layer || plan.role != TensorRole::matrix || !has_feedback_form(formats_[i], plan.shape.columns())) return {};
  while (next_layer_ <= *layer) round_layer(next_layer_++, progress);
  const auto found = rows_.find(plan.engine_name);
  CHECK(found != rows_.end(), "{}: not rounded", plan.engine_name);
  return found->second;
}

void CalibratedWeights::round_layer(size_t layer, const std::function<void()>& progress) {
  rows_.clear();
  errors_.clear();
  ThreadPool& pool = *backend_.runtime().stream().pool;
  LayerValues values = load_layer(model_, layer, pool);
  std::map<LayerInput, Hessian> moments;
  run_.watch(layer, views_of(model_, layer, values), [&](LayerInput input, const Tensor& rows) {
    if (progress) progress();
    moments.try_emplace(input, rows.columns()).first->second.add(rows, backend_);
  });
  for (const LayerInput input : kInputs) {
    const Hessian& hessian = moments.at(input);
    std::optional<FeedbackPlan> feedback;
    for (const char* name : readers_of(input)) {
      const std::string engine_name = fmt::format("blk.{}.{}", layer, name);
      const auto plan = std::ranges::find(model_.plans, engine_name, &TensorPlan::engine_name);
      const Format format = formats_[static_cast<size_t>(plan - model_.plans.begin())];
      if (!has_feedback_form(format, plan->shape.columns())) continue;
      if (progress) progress();
      if (!feedback) feedback = plan_feedback(hessian, pool);
      std::vector<float>& own = values.at(name);
      auto& [errors, outputs] = error_power_[name];
      outputs += output_power(own, hessian);
      const std::vector<float> wanted = own;
      RoundedMatrix rounded = round_with_feedback(own, plan->shape.rows(), format, *feedback, pool);
      errors += rounded.cost;
      for (size_t i = 0; i < own.size(); ++i) errors_[engine_name].add(wanted[i], own[i]);
      rows_.emplace(engine_name, std::move(rounded.rows));
    }
    moments.erase(input);
  }
  run_.advance(layer, views_of(model_, layer, values));
}

Json CalibratedWeights::record() const {
  Json record = {{"text_xxh3", text_hash_}, {"tokens", run_.num_tokens()}, {"errors", Json::object()}};
  for (const auto& [name, power] : error_power_) {
    record["errors"][name] = power.second > 0 ? std::round(1e6 * std::sqrt(power.first / power.second)) / 1e6 : 0;
  }
  return record;
}

}  // namespace quern
