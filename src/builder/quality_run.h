// How far an engine's predictions are from its source's on the fixed text: both run layer by layer beside each other, the source in
// float32, the engine by the kernels of this machine's CPU, so that one layer of both is in memory and the vocabulary is passed in slices.
// Owned by one build or one check; one thread.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "builder/quality_windows.h"

namespace quern {

struct Quality {
  size_t tokens = 0;  // that were predicted
  double perplexity = 0, source_perplexity = 0;
  double kl_mean = 0, kl_p99 = 0;             // of the engine from the source, nats
  double top1_agreement = 0;                  // share of tokens with the same most likely id
  std::vector<uint32_t> source_choices = {};  // the source's most likely ids, in order
};

class QualityRun {
 public:
  // Rows [begin, begin + count) of the engine's tensor `plan`, one outside the layers, valid until the next call.
  using Rows = std::function<std::span<const std::byte>(size_t plan, size_t begin, size_t count)>;
  // `formats`: of the engine's tensors, one a plan of `model`, which must outlive this.
  QualityRun(const SourceModel& model, std::span<const Format> formats, Rows rows, size_t num_threads);

  // The layers in their order, as the engine has them.
  void advance(size_t layer, const LayerTensors& engine);
  // After the last layer. Throws invalid_input when a probability is not a number.
  Quality finish();

 private:
  std::vector<float> embed_engine();
  std::vector<float> counted_rows(const LayerRun& run) const;

  const SourceModel& model_;
  std::vector<Format> formats_;
  Rows rows_;
  Backend backend_;
  QualityWindows windows_;
  std::unique_ptr<LayerRun> source_, engine_;
};

}  // namespace quern
