// A checkpoint into an engine file, as a stream: tensor by tensor, in constant memory, the same bytes whatever the number of threads.
// Called by the command line and the public API, on any thread; nothing is shared between two builds but the disk.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace quern {

struct BuildProgress {
  std::string tensor;  // being written; empty at the end
  size_t tensors_done = 0, num_tensors = 0;
  uint64_t bytes_done = 0, num_bytes = 0;  // of the engine file's tensors
};

struct BuildOptions {
  std::string source;  // Hugging Face folder or GGUF file
  std::string output;  // NAME.quern
  std::string dtype = "auto";
  size_t group_size = 0;  // 0 = the dtype's own: int8 per channel, int4 see docs/build.md
  // "rtn": round to nearest. "gptq", "awq", "auto": matrices in groups are rounded by what their inputs are on calibration text
  // (docs/build.md); "auto" is rtn for the dtypes that have no such form.
  std::string method = "rtn";
  bool has_zeros = false;              // int4 groups with a zero point of their own
  std::vector<std::string> keep = {};  // "PATTERN=FORMAT" (builder/format_rules.h): formats in place of the policy's
  // int4: formats of 4.5, 5.5 and 8.5 bits are spread over the matrices, embedding and head by what each changes, so that all weights take
  // at most so many bits on average. 0: no budget.
  double target_bits = 0;
  std::string calibration;  // path of the text; empty: the one that ships with Quern
  // Measure how far the engine is from its source on the fixed text (builder/quality_run.h). Absent: models of at most 2e9 weights are.
  std::optional<bool> receipt = {};
  // GGUF of first-generation Qwen: dynamic NTK and logn attention, which such a file cannot mention.
  bool gguf_qwen1_long_context = false;
  size_t num_threads = 0;                                   // 0 = the cores that this process may use
  std::function<void(const BuildProgress&)> progress = {};  // on the calling thread; an exception from it ends the build, without a file
};

struct BuildResult {
  uint64_t file_bytes = 0, weight_bytes = 0, source_bytes = 0;
  uint64_t num_weights = 0;    // values of all tensors but the tokenizer
  double bits_per_weight = 0;  // of those tensors as they are stored
  double seconds = 0;
  Json policy;                     // as saved: metadata.build.policy
  Json receipt;                    // as saved
  std::vector<std::string> notes;  // for people: what was assumed, ignored or kept otherwise
};

// Throws what its parts throw: usage, invalid_input, incompatible, resource. On every way out but success, `output` is as it was before.
BuildResult build_engine(const BuildOptions& options);

}  // namespace quern
