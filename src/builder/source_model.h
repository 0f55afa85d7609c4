// A checkpoint, understood: family, config, where every engine tensor comes from, tokenizer, chat format and defaults. What build writes,
// info shows and plan adds up. Owns the checkpoint's mappings; any thread may read it.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "builder/prompting.h"
#include "builder/weight_policy.h"
#include "files/checkpoint.h"
#include "files/engine_file.h"
#include "models/family.h"
#include "text/tokenizer.h"

namespace quern {

struct SourceModel {
  Checkpoint checkpoint;
  const ModelFamily* family;
  ModelConfig config;
  std::vector<TensorPlan> plans;  // every tensor of the engine file but the tokenizer, in file order; points into `checkpoint`
  Tokenizer tokenizer;
  Prompting prompting;

  uint64_t num_parameters() const;
  uint64_t source_bytes() const;  // of all its files
};

// Opens and checks everything but the weights' values. Throws invalid_input, incompatible or resource naming file, field or tensor.
SourceModel read_source_model(const std::string& path, const ConfigOptions& options = {});

// What a policy makes of a model.
struct WeightFormats {
  std::vector<Format> formats;  // one a plan
  uint64_t bytes = 0;
  Json record;  // metadata.build.policy: the rule, what each kind of tensor became, and the exceptions
};
// `chosen`: by engine name, formats that stand in place of the policy's.
WeightFormats lay_out(const SourceModel& model, const WeightPolicy& policy, const std::map<std::string, Format>& chosen = {});
// The tensors of the engine file to be, in file order: the tokenizer, then the weights. Names, formats, shapes, bytes.
std::vector<EngineTensorInfo> engine_layout(const SourceModel& model, const WeightFormats& layout, size_t tokenizer_bytes);

}  // namespace quern
