// What rounding each matrix of a model to each of some formats does to the model's last hidden state, measured on calibration text. The
// model runs in float32 one layer at a time; beside it runs one copy for each layer, in which that layer alone is rounded. Owned by one
// build; one thread.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "builder/layer_run.h"

namespace quern {

struct FormatCost {
  Format format;
  uint64_t bytes = 0;
  double cost = 0;  // power of the change of the last hidden state, as share of its power
};

struct TensorCosts {
  size_t plan = 0;                  // index in SourceModel::plans
  std::vector<FormatCost> formats;  // those that its columns allow, by bytes
};

// Every matrix, the embedding and the head that `is_free` lets have another format. `text`: what is measured on, a few hundred tokens of
// it.
std::vector<TensorCosts> measure_sensitivity(const SourceModel& model, std::string_view text, std::span<const Format> formats,
                                             const std::function<bool(size_t plan)>& is_free, size_t num_threads,
                                             const std::function<void()>& progress);

// The formats, one a tensor, of least cost that take at most `most_bytes` together: each starts with its smallest, and what saves most a
// byte comes first. Throws usage when even the smallest take more.
std::vector<Format> spend_bytes(std::span<const TensorCosts> tensors, uint64_t most_bytes);

}  // namespace quern
