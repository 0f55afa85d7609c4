// A model run over calibration text one layer at a time, in float32 on the CPU: only one layer's weights are in memory. Whoever looks on
// sees the input of each matrix. Owned by one build; one thread.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "builder/source_model.h"
#include "models/activations.h"
#include "models/kv_cache.h"
#include "models/step_input.h"

namespace quern {

// The values of one layer's tensors by their name within the layer ("q", "norm1", "q.bias"), rows one after the other.
using LayerValues = std::map<std::string, std::vector<float>>;

// The matrices of a layer that read the same input.
enum class LayerInput : uint8_t { qkv, out, gate_up, down };
std::span<const char* const> readers_of(LayerInput input);  // "q", "k", "v"

// "blk.3.q" -> "q"; empty for a tensor outside the layers, or of another layer.
std::string name_in_layer(const std::string& engine_name, size_t layer);

class CalibrationRun {
 public:
  // Sequences of `sequence_tokens` tokens each, spread evenly over `ids`.
  CalibrationRun(const SourceModel& model, Backend& backend, std::span<const TokenId> ids, size_t num_sequences, size_t sequence_tokens);

  size_t num_tokens() const { return num_sequences_ * sequence_tokens_; }
  // Every tensor of the layer as its source has it.
  LayerValues load_layer(size_t layer) const;

  // Runs all sequences through layer `layer` with these values. `look` sees each input, rows [tokens, in] of one sequence at a time.
  using Look = std::function<void(LayerInput input, const Tensor& rows)>;
  void watch(size_t layer, const LayerValues& values, const Look& look);
  // The same without looking; the result is what the next layer reads.
  void advance(size_t layer, const LayerValues& values);

 private:
  void embed(std::span<const TokenId> ids);
  void run(size_t layer, const LayerValues& values, const Look& look, bool keep);

  const SourceModel& model_;
  Backend& backend_;
  size_t num_sequences_ = 0, sequence_tokens_;
  ModelConfig one_layer_;  // the config with a single layer: what the cache is made for
  std::vector<uint32_t> blocks_;
  std::vector<TokenId> ids_;   // of all sequences
  std::vector<float> hidden_;  // [num_tokens, hidden]: what the next layer reads
  std::unique_ptr<Activations> activations_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<StepInput> input_;
  Storage rope_storage_;
  RopeView rope_;
};

}  // namespace quern
