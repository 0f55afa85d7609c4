// The figures of a quality receipt, measured again: on any device by the engine as it runs, or against the source.
// Functions without state; the caller's thread, and the backend's.
#pragma once
#include <memory>
#include <string>

#include "backend/backend.h"
#include "builder/receipt.h"
#include "files/engine_file.h"

namespace quern {

// Perplexity and the share of the source's first choices, which the receipt holds; KL is left 0.
Quality measure_again(const std::shared_ptr<EngineFile>& file, Backend& backend, const Quality& saved);
// Everything, as `quern build` measures it. Throws incompatible when the source is of another shape.
Quality measure_against_source(const SourceModel& source, const EngineFile& file, size_t num_threads);

// What two measurements on different kernels may differ by: a perplexity by 0.5 %, agreement by one in a hundred tokens, KL by a tenth.
// Empty when they agree, else the first figure that does not.
std::string quality_difference(const Quality& saved, const Quality& found, bool with_divergence);

}  // namespace quern
