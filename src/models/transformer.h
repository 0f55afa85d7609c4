// Weights plus forward(): tokens of a batch to logits and sampled ids. Knows nothing of requests. Used on the engine thread.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "files/engine_file.h"
#include "models/forward_batch.h"
#include "models/kv_cache.h"
#include "models/model_config.h"

namespace quern {

struct TransformerLimits {
  size_t max_batch_tokens = 512;  // rows of one step
  size_t max_sequences = 64;      // sequences of one step
  size_t max_context = 4096;      // tokens of one sequence
  size_t max_logit_rows = 0;      // rows of logits of one step; 0 = max_sequences
  size_t block_tokens = 16;
  Format kv_format = Format::f16;
};

// The operations of one kind in a step.
struct OperationCost {
  std::string operation, row;
  size_t calls = 0;
  double seconds = 0;  // of all of them
  double bytes = 0;    // of weights, keys and values that they read
};

class Transformer {
 public:
  // Loads every weight of `file` onto the device and asks for every kernel that the limits can need. The file must outlive this.
  // `num_tokens`: ids from there to vocab_size are padding and never drawn.
  Transformer(std::shared_ptr<EngineFile> file, Backend& backend, const TransformerLimits& limits, size_t num_tokens);
  ~Transformer();

  const ModelConfig& config() const;
  const TransformerLimits& limits() const;

  // Which rope table a sequence with a prompt of `prompt_tokens` tokens uses for its whole life (0 unless qwen_ntk).
  int32_t rope_variant(size_t prompt_tokens) const;

  // One step: writes K and V of every token, samples the rows that want logits. Results in order of those rows; none when the batch
  // has no sample rows.
  std::vector<SampledRow> forward(const ForwardBatch& batch, KvCache& cache);
  // Runs the operations of a step kind by kind, each kind `repeats` times in a row, and times them. For measurements: what the step writes
  // into the cache and the activations is worth nothing afterwards.
  std::vector<OperationCost> measure_operations(const ForwardBatch& batch, KvCache& cache, size_t repeats);
  // Logits [rows that want logits, vocab_size] of the last forward, before sampling changed them, on the host; when keep_logits was set.
  void keep_logits(bool keep);
  const std::vector<float>& kept_logits() const;

  // Bytes on the device: weights as loaded, activations and workspace (rope tables and the step's integers included).
  size_t weight_bytes() const;
  size_t activation_bytes() const;
  // Bytes of weights that a decode step reads (the embedding's rows apart).
  size_t streamed_bytes() const;
  // What activation_bytes() will be but for kernels' workspace, before anything is loaded.
  static size_t planned_activation_bytes(const ModelConfig& config, const TransformerLimits& limits, const DeviceInfo& device);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quern
