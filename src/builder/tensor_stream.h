// The part of a build that moves bytes: one tensor of the source after the other, in pieces, into the engine file. On the way it hashes
// the source, adds up what rounding changed, and shows the quality run each layer. Owned by one build; one thread.
#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "builder/build.h"
#include "builder/calibrated_weights.h"
#include "builder/quality_run.h"
#include "builder/repack.h"
#include "files/xxh3.h"

namespace quern {

class TensorStream {
 public:
  // `calibrated`: null when every value is rounded by itself. `quality`: null when nothing is measured.
  TensorStream(const SourceModel& model, const WeightFormats& layout, ThreadPool& pool, const BuildOptions& options,
               CalibratedWeights* calibrated, QualityRun* quality);

  void write_all(EngineFileWriter& writer);

  // Of the config and of every byte that the engine file is made from: which checkpoint this was, wherever it lay.
  std::string source_xxh3() const;
  // By engine name, of every tensor whose values could change.
  const std::map<std::string, RoundingError>& errors() const { return errors_; }

 private:
  const MappedFile& file_of(size_t i) const { return *model_.checkpoint.files()[model_.plans[i].source->file]; }
  TensorRepacker repacker(size_t i) const;
  void write(size_t i, EngineFileWriter& writer);
  void write_rounded(size_t i, std::span<const std::byte> rows, EngineFileWriter& writer);
  void keep_for_quality(size_t i, std::span<const std::byte> rows);
  void measure_layer_of(size_t i);
  void finish_reading(size_t i, const TensorRepacker::SourceRange& range);
  void report() const;

  const SourceModel& model_;
  const WeightFormats& layout_;
  ThreadPool& pool_;
  const BuildOptions& options_;
  CalibratedWeights* calibrated_;
  QualityRun* quality_;
  Xxh3 hash_;
  std::vector<std::byte> buffer_;
  std::map<std::string, RoundingError> errors_;
  std::map<std::string, std::vector<std::byte>> layer_rows_;  // of the layer at hand, by name in it, for the quality run
  BuildProgress progress_;
};

// Gives back the pages of what the plan's source was read from.
void release_source(const SourceModel& model, const TensorPlan& plan);

}  // namespace quern
