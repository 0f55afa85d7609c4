// A model run over sequences of tokens one layer at a time, on the CPU: only one layer's weights are in memory. Whoever looks on sees the
// input of each matrix. Owned by one build; one thread.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "builder/source_model.h"
#include "models/activations.h"
#include "models/kv_cache.h"
#include "models/step_input.h"

namespace quern {

// The tensors of one layer by their name within the layer ("q", "norm1", "q.bias"): views of matrices and vectors in any format.
using LayerTensors = std::map<std::string, Tensor>;
// The same in float32, owned: rows one after the other.
using LayerValues = std::map<std::string, std::vector<float>>;

// Every tensor of the layer as its source has it.
LayerValues load_layer(const SourceModel& model, size_t layer, ThreadPool& pool);
LayerTensors views_of(const SourceModel& model, size_t layer, const LayerValues& values);
// All values of one tensor of the source, by its engine name.
std::vector<float> tensor_values(const SourceModel& model, const char* engine_name, ThreadPool& pool);
// The source's embedding of `ids`, [ids, hidden].
std::vector<float> embed_source(const SourceModel& model, std::span<const TokenId> ids, ThreadPool& pool);

// The matrices of a layer that read the same input.
enum class LayerInput : uint8_t { qkv, out, gate_up, down };
std::span<const char* const> readers_of(LayerInput input);  // "q", "k", "v"

// Layer number of "blk.N.x"; nothing for a tensor outside the layers.
std::optional<size_t> layer_of(const std::string& engine_name);
// "blk.3.q" -> "q"; empty for a tensor outside the layers, or of another layer.
std::string name_in_layer(const std::string& engine_name, size_t layer);

// Sequences of `sequence_tokens` ids each, at most `num_sequences`, spread evenly over `ids`. Throws when `ids` are fewer than two.
struct TokenSequences {
  std::vector<TokenId> ids;  // one sequence after the other
  size_t count = 0, length = 0;
};
TokenSequences spread_sequences(std::span<const TokenId> ids, size_t num_sequences, size_t sequence_tokens);

class LayerRun {
 public:
  // `hidden`: the embedding of the sequences, [tokens, hidden]. The KV cache is in `kv_format`.
  LayerRun(const SourceModel& model, Backend& backend, TokenSequences sequences, std::vector<float> hidden, Format kv_format);

  size_t num_tokens() const { return sequences_.ids.size(); }
  const TokenSequences& sequences() const { return sequences_; }
  const std::vector<float>& hidden() const { return hidden_; }

  // Runs all sequences through layer `layer` with these tensors. `look` sees each input, rows [tokens, in] of one sequence at a time.
  using Look = std::function<void(LayerInput input, const Tensor& rows)>;
  void watch(size_t layer, const LayerTensors& tensors, const Look& look);
  // The same without looking; the result is what the next layer reads.
  void advance(size_t layer, const LayerTensors& tensors);
  // What the layer makes of other hidden states [tokens, hidden] of the same sequences, in their place.
  void step(size_t layer, const LayerTensors& tensors, std::vector<float>& hidden);

 private:
  void run(size_t layer, const LayerTensors& tensors, const Look& look, const std::vector<float>& from, std::vector<float>* to);

  const SourceModel& model_;
  Backend& backend_;
  TokenSequences sequences_;
  ModelConfig one_layer_;  // the config with a single layer: what the cache is made for
  std::vector<uint32_t> blocks_;
  std::vector<float> hidden_;  // [num_tokens, hidden]: what the next layer reads
  std::unique_ptr<Activations> activations_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<StepInput> input_;
  Storage rope_storage_;
  RopeView rope_;
};

}  // namespace quern
