#include "builder/calibrated_weights.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/thread_pool.h"
#include "builder/gptq.h"
#include "builder/hessian.h"
#include "builder/shipped_texts.h"
#include "files/xxh3.h"

namespace quern {
namespace {

// What takes the factors of an input in: the rows of a matrix before it, or the norm. Matrices that produce are rounded after their
// readers.
struct Input {
  LayerInput input;
  const char* name;
  const char* producer;
};
constexpr Input kInputs[] = {{LayerInput::out, "out", "v"},
                             {LayerInput::down, "down", "up"},
                             {LayerInput::qkv, "qkv", "norm1"},
                             {LayerInput::gate_up, "gate_up", "norm2"}};

const Input& input_entry(LayerInput input) { return *std::ranges::find(kInputs, input, &Input::input); }

std::string hash_of(std::string_view text) {
  Xxh3 hash;
  hash.update(text.data(), text.size());
  return fmt::format("{:016x}", hash.digest());
}

std::string_view text_of(const CalibrationOptions& options) { return options.text.empty() ? calibration_text() : options.text; }

// Power of the outputs, as if the inputs did not depend on each other.
double output_power(std::span<const float> values, std::span<const double> power) {
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += static_cast<double>(values[i]) * values[i] * power[i % power.size()];
  return sum;
}

void divide_rows(std::vector<float>& values, std::span<const float> factors) {
  const size_t columns = values.size() / factors.size();
  for (size_t i = 0; i < values.size(); ++i) values[i] /= factors[i / columns];
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
      method_(options.method),
      backend_({.num_threads = num_threads}),
      text_hash_(hash_of(text_of(options))),
      run_(make_run(model, backend_, text_of(options), options)) {}

bool CalibratedWeights::is_rounded(size_t i) const {
  const TensorPlan& plan = model_.plans[i];
  return plan.role == TensorRole::matrix && has_feedback_form(formats_[i], plan.shape.columns());
}

size_t CalibratedWeights::plan_index(size_t layer, const std::string& name) const {
  const auto plan = std::ranges::find(model_.plans, fmt::format("blk.{}.{}", layer, name), &TensorPlan::engine_name);
  CHECK(plan != model_.plans.end(), "layer {}: no {}", layer, name);
  return static_cast<size_t>(plan - model_.plans.begin());
}

std::span<const std::byte> CalibratedWeights::rows(size_t i, const std::function<void()>& progress) {
  const TensorPlan& plan = model_.plans[i];
  const std::optional<size_t> layer = layer_of(plan.engine_name);
  const bool may_be_scaled = plan.role == TensorRole::vector && method_ != CalibrationMethod::gptq;
  if (!layer || (!is_rounded(i) && !may_be_scaled)) return {};
  while (next_layer_ <= *layer) round_layer(next_layer_++, progress);
  const auto found = rows_.find(plan.engine_name);
  if (found == rows_.end() && may_be_scaled) return {};
  CHECK(found != rows_.end(), "{}: not rounded", plan.engine_name);
  return found->second;
}

const RoundingError* CalibratedWeights::error(const std::string& engine_name) const {
  const auto found = errors_.find(engine_name);
  return found == errors_.end() ? nullptr : &found->second;
}

std::vector<CalibratedWeights::Matrix> CalibratedWeights::matrices_of(size_t layer, LayerInput input) const {
  std::vector<Matrix> matrices;
  for (const char* name : readers_of(input)) {
    const size_t i = plan_index(layer, name);
    if (is_rounded(i)) matrices.push_back({name, model_.plans[i].shape.rows(), formats_[i]});
  }
  return matrices;
}

std::vector<float> CalibratedWeights::scale_channels(size_t layer, LayerInput input, std::span<const Matrix> matrices,
                                                     const FeedbackPlan& feedback, std::vector<double> power, LayerValues& values) {
  const std::string producer = input_entry(input).producer;
  std::vector<double>& exponents = exponents_[input];
  exponents.push_back(0);
  const bool is_norm = values.at(producer).size() == feedback.columns && producer.starts_with("norm");
  if (method_ == CalibrationMethod::gptq || matrices.size() != readers_of(input).size() ||
      (!is_norm && !is_rounded(plan_index(layer, producer)))) {
    return std::vector<float>(feedback.columns, 1.F);
  }
  // Query heads that share a KV head read the same rows of v: their channels take their mean power.
  const size_t shared = input == LayerInput::out ? model_.config.num_heads / model_.config.num_kv_heads : 1;
  const size_t width = input == LayerInput::out ? model_.config.head_dim : 1;
  const auto producer_of = [&](size_t channel) { return channel / (width * shared) * width + channel % width; };
  std::vector<double> produced(power.size() / shared);
  for (size_t i = 0; i < power.size(); ++i) produced[producer_of(i)] += power[i] / static_cast<double>(shared);
  for (size_t i = 0; i < power.size(); ++i) power[i] = produced[producer_of(i)];
  std::vector<ScaledReader> readers;
  for (const Matrix& matrix : matrices) readers.push_back({values.at(matrix.name), matrix.rows, matrix.format});
  const Rounding rounding = method_ == CalibrationMethod::awq ? Rounding::by_itself : Rounding::with_feedback;
  ChannelScales scales = choose_channel_scales(readers, feedback, power, rounding, backend_);
  exponents.back() = scales.exponent;
  if (scales.exponent == 0) return std::move(scales.factors);
  std::vector<float> divisors(produced.size());
  for (size_t i = 0; i < power.size(); ++i) divisors[producer_of(i)] = scales.factors[i];
  for (const Matrix& matrix : matrices) multiply_columns(values.at(matrix.name), scales.factors);
  divide_rows(values.at(producer), divisors);
  if (values.contains(producer + ".bias")) divide_rows(values.at(producer + ".bias"), divisors);
  for (const std::string& name : {producer, producer + ".bias"}) {
    if (!values.contains(name) || model_.plans[plan_index(layer, name)].role != TensorRole::vector) continue;
    const std::span<const std::byte> bytes = std::as_bytes(std::span(values.at(name)));
    rows_[model_.plans[plan_index(layer, name)].engine_name].assign(bytes.begin(), bytes.end());
  }
  return std::move(scales.factors);
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
  for (const Input& entry : kInputs) {
    const std::vector<Matrix> matrices = matrices_of(layer, entry.input);
    const size_t columns = moments.at(entry.input).columns();
    if (matrices.empty()) {
      moments.erase(entry.input);
      exponents_[entry.input].push_back(0);
      continue;
    }
    if (progress) progress();
    const FeedbackPlan feedback = plan_feedback(moments.at(entry.input), backend_);
    std::vector<double> power(columns);
    for (size_t i = 0; i < columns; ++i) power[i] = moments.at(entry.input).diagonal(i);
    moments.erase(entry.input);
    for (const Matrix& matrix : matrices) error_power_[matrix.name].second += output_power(values.at(matrix.name), power);
    const std::vector<float> factors = scale_channels(layer, entry.input, matrices, feedback, power, values);
    const Rounding rounding = method_ == CalibrationMethod::awq ? Rounding::by_itself : Rounding::with_feedback;
    for (const Matrix& matrix : matrices) {
      if (progress) progress();
      std::vector<float>& own = values.at(matrix.name);
      const std::vector<float> wanted = own;
      RoundedMatrix rounded = round_scaled(own, matrix.rows, matrix.format, feedback, factors, rounding, backend_);
      error_power_[matrix.name].first += rounded.cost;
      const std::string& engine_name = model_.plans[plan_index(layer, matrix.name)].engine_name;
      for (size_t i = 0; i < own.size(); ++i) errors_[engine_name].add(wanted[i] / factors[i % columns], own[i] / factors[i % columns]);
      rows_.emplace(engine_name, std::move(rounded.rows));
    }
  }
  run_.advance(layer, views_of(model_, layer, values));
}

Json CalibratedWeights::record() const {
  Json record = {{"text_xxh3", text_hash_}, {"tokens", run_.num_tokens()}, {"errors", Json::object()}};
  for (const auto& [name, power] : error_power_) {
    record["errors"][name] = power.second > 0 ? std::round(1e6 * std::sqrt(power.first / power.second)) / 1e6 : 0;
  }
  if (method_ == CalibrationMethod::gptq) return record;
  for (const auto& [input, exponents] : exponents_) record["channel_exponents"][input_entry(input).name] = exponents;
  return record;
}

}  // namespace quern
