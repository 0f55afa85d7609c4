// The memory of one step between its operations, allocated once for the largest step.
// Owned by Transformer, used on the engine thread.
#pragma once
#include "backend/backend.h"
#include "models/layers/decoder_layer.h"
#include "models/model_config.h"

namespace quern {

struct ActivationLimits {
  size_t rows, logit_rows;
  Format format;  // of q, the attention's output and gate * up: DeviceInfo::activations
};

class Activations {
 public:
  Activations(const ModelConfig& config, const ActivationLimits& limits, DeviceRuntime& runtime);

  // Sets the tensors of `step` for its batch.
  void view(StepView& step) const;

  size_t bytes() const { return storage_.bytes(); }
  static size_t bytes_for(const ModelConfig& config, const ActivationLimits& limits);

 private:
  struct Places {  // in bytes; q and attended live beside each other, gated takes their place
    size_t h, q, attended, gated, logits, end;
  };
  static Places places_for(const ModelConfig& config, const ActivationLimits& limits);

  size_t hidden_size_, q_rows_, intermediate_size_, vocab_size_;
  Format format_;
  Places places_;
  Storage storage_;
};

}  // namespace quern
