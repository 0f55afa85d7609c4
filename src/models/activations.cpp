#include "models/activations.h"

#include <algorithm>

#include "base/checked.h"

namespace quern {
namespace {

constexpr size_t kAlignment = 256;

}  // namespace

Activations::Places Activations::places_for(const ModelConfig& config, const ActivationLimits& limits) {
  const auto bytes = [&](size_t rows, size_t columns, Format format) {
    return (Checked(rows) * row_bytes(format, columns)).align_up(kAlignment).or_throw("activations of {} rows", rows);
  };
  const size_t heads = bytes(limits.rows, config.q_rows(), limits.format);
  const size_t gated = bytes(limits.rows, config.intermediate_size, limits.format);
  Places p{};
  p.h = 0;
  p.q = bytes(limits.rows, config.hidden_size, Format::f32);
  p.attended = p.q + heads;
  p.gated = p.q;
  p.logits = p.q + std::max(2 * heads, gated);
  p.end = p.logits + bytes(limits.logit_rows, config.vocab_size, Format::f32);
  return p;
}

Activations::Activations(const ModelConfig& config, const ActivationLimits& limits, DeviceRuntime& runtime)
    : hidden_size_(config.hidden_size),
      q_rows_(config.q_rows()),
      intermediate_size_(config.intermediate_size),
      vocab_size_(config.vocab_size),
      format_(limits.format),
      places_(places_for(config, limits)),
      storage_(runtime.allocate(places_.end)) {}

size_t Activations::bytes_for(const ModelConfig& config, const ActivationLimits& limits) { return places_for(config, limits).end; }

void Activations::view(StepView& step) const {
  const auto rows = static_cast<size_t>(step.batch.num_tokens), logit_rows = static_cast<size_t>(step.batch.num_sample_rows);
  step.h = storage_.view({rows, hidden_size_}, Format::f32, places_.h);
  step.q = storage_.view({rows, q_rows_}, format_, places_.q);
  step.attended = storage_.view({rows, q_rows_}, format_, places_.attended);
  step.gated = storage_.view({rows, intermediate_size_}, format_, places_.gated);
  step.logits = storage_.view({logit_rows, vocab_size_}, Format::f32, places_.logits);
}

}  // namespace quern
