// Matrices that are rounded by what their inputs are on calibration text, layer by layer: each layer sees what the rounded layers before it
// make of the text. Owned by one build; one thread.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "builder/channel_scale.h"
#include "builder/layer_run.h"
#include "builder/rounding_error.h"

namespace quern {

// gptq: error feedback. awq: each value by itself, channels scaled. best: feedback on scaled channels.
enum class CalibrationMethod : uint8_t { gptq, awq, best };

struct CalibrationOptions {
  CalibrationMethod method = CalibrationMethod::gptq;
  std::string text;  // empty: the text that ships with Quern
  size_t num_sequences = 16, sequence_tokens = 512;
};

class CalibratedWeights {
 public:
  // `formats`: one a plan of `model`, which must outlive this.
  CalibratedWeights(const SourceModel& model, std::span<const Format> formats, const CalibrationOptions& options, size_t num_threads);

  // The rows of plan `i` when it is a matrix that is rounded here, or a vector that was divided by its readers' factors; empty otherwise.
  // Layers in their order: the first call of a layer rounds all of it. `progress` is called now and then and may throw.
  std::span<const std::byte> rows(size_t i, const std::function<void()>& progress);

  // Of a matrix whose rows were the last that were asked for, or of its layer. Null for a vector: what it means is unchanged.
  const RoundingError* error(const std::string& engine_name) const;
  const std::string& text_xxh3() const { return text_hash_; }
  // What the engine file says of it: text and tokens, the error of each kind of matrix.
  Json record() const;

 private:
  struct Matrix {
    std::string name;  // in the layer
    size_t rows;
    Format format;
  };
  void round_layer(size_t layer, const std::function<void()>& progress);
  // Those of the input's readers that are rounded here.
  std::vector<Matrix> matrices_of(size_t layer, LayerInput input) const;
  bool is_rounded(size_t i) const;
  size_t plan_index(size_t layer, const std::string& name) const;
  // Chooses factors for the input's readers and moves them into what produces it; all ones where they cannot move.
  std::vector<float> scale_channels(size_t layer, LayerInput input, std::span<const Matrix> matrices, const FeedbackPlan& feedback,
                                    std::vector<double> power, LayerValues& values);

  const SourceModel& model_;
  std::vector<Format> formats_;
  CalibrationMethod method_;
  Backend backend_;
  std::string text_hash_;
  LayerRun run_;
  size_t next_layer_ = 0;
  std::map<std::string, std::vector<std::byte>> rows_;            // of the layer at hand, by engine name
  std::map<std::string, RoundingError> errors_;                   // the same
  std::map<std::string, std::pair<double, double>> error_power_;  // by name in the layer: of the errors, of the outputs
  std::map<LayerInput, std::vector<double>> exponents_;           // of the channels' factors, one a layer
};

}  // namespace quern
