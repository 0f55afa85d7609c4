#include "builder/calibrated_weights.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/parse.h"
#include "base/thread_pool.h"
#include "builder/calibration_text.h"
#include "builder/gptq.h"
#include "builder/hessian.h"
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

// Layer number of "blk.N.x"; nothing for a tensor outside the layers.
std::optional<size_t> layer_of(const std::string& engine_name) {
  if (!engine_name.starts_with("blk.")) return std::nullopt;
  return parse_number<size_t>(std::string_view(engine_name).substr(4, engine_name.find('.', 4) - 4));
}

// Power of the outputs w H w^T over the calibration inputs, in double.
double output_power(std::span<const float> values, const Hessian& hessian) {
  double power = 0;
  const size_t n = hessian.columns();
  for (size_t i = 0; i < values.size(); ++i) power += static_cast<double>(values[i]) * values[i] * hessian.diagonal(i % n);
  return power;
}

}  // namespace

CalibratedWeights::CalibratedWeights(const SourceModel& model, std::span<const Format> formats, const CalibrationOptions& options,
                                     size_t num_threads)
    : model_(model),
      formats_(formats.begin(), formats.end()),
      backend_({.num_threads = num_threads}),
      text_hash_(hash_of(text_of(options))),
      run_(model, backend_, model.tokenizer.encode(text_of(options), Tokenizer::Specials::as_text), options.num_sequences,
           options.sequence_tokens) {}

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
  LayerValues values = run_.load_layer(layer);
  std::map<LayerInput, Hessian> moments;
  run_.watch(layer, values, [&](LayerInput input, const Tensor& rows) {
    if (progress) progress();
    moments.try_emplace(input, rows.columns()).first->second.add(rows, backend_);
  });
  ThreadPool& pool = *backend_.runtime().stream().pool;
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
      RoundedMatrix rounded = round_with_feedback(own, plan->shape.rows(), format, *feedback, pool);
      errors += rounded.cost;
      rows_.emplace(engine_name, std::move(rounded.rows));
    }
    moments.erase(input);
  }
  run_.advance(layer, values);
}

Json CalibratedWeights::record() const {
  Json record = {{"text_xxh3", text_hash_}, {"tokens", run_.num_tokens()}, {"errors", Json::object()}};
  for (const auto& [name, power] : error_power_) {
    record["errors"][name] = power.second > 0 ? std::round(1e6 * std::sqrt(power.first / power.second)) / 1e6 : 0;
  }
  return record;
}

}  // namespace quern
