// Matrices that are rounded by what their inputs are on calibration text, layer by layer: each layer sees what the rounded layers before it
// make of the text. Owned by one build; one thread.
#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "builder/layer_run.h"
#include "builder/rounding_error.h"

namespace quern {

struct CalibrationOptions {
  std::string text;  // empty: the text that ships with Quern
  size_t num_sequences = 16, sequence_tokens = 512;
};

class CalibratedWeights {
 public:
  // `formats`: one a plan of `model`, which must outlive this.
  CalibratedWeights(const SourceModel& model, std::span<const Format> formats, const CalibrationOptions& options, size_t num_threads);

  // The rows of plan `i` when it is a matrix that is rounded here; empty otherwise. Layers in their order: the first call of a layer
  // rounds all of it. `progress` is called now and then and may throw.
  std::span<const std::byte> rows(size_t i, const std::function<void()>& progress);

  // Of a matrix whose rows were the last that were asked for, or of its layer.
  const RoundingError& error(const std::string& engine_name) const { return errors_.at(engine_name); }
  const std::string& text_xxh3() const { return text_hash_; }
  // What the engine file says of it: text and tokens, the error of each kind of matrix.
  Json record() const;

 private:
  void round_layer(size_t layer, const std::function<void()>& progress);

  const SourceModel& model_;
  std::vector<Format> formats_;
  Backend backend_;
  std::string text_hash_;
  LayerRun run_;
  size_t next_layer_ = 0;
  std::map<std::string, std::vector<std::byte>> rows_;            // of the layer at hand, by engine name
  std::map<std::string, RoundingError> errors_;                   // the same
  std::map<std::string, std::pair<double, double>> error_power_;  // by name in the layer: of the errors, of the outputs
};

}  // namespace quern
