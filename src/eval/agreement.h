// How far a model agrees with another engine's greedy answers, token by token on that engine's own text (teacher forcing).
// Plain functions on the engine thread.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/transformer.h"

namespace quern {

// One line of a reference file, as tools/hf_reference.py writes it.
struct ReferenceAnswer {
  struct TopTwo {
    int32_t first, second;
    double first_logprob, second_logprob;
  };
  std::string id;
  std::vector<int32_t> prompt_ids, output_ids;
  std::vector<TopTwo> top_two;  // [output_ids.size()]; the first is the output token
};

// Throws invalid_input naming the line. Ids must lie below `num_tokens`.
std::vector<ReferenceAnswer> read_reference(const std::string& path, size_t num_tokens);

struct Disagreement {
  std::string id;
  size_t index;         // of the output token
  int32_t want, found;  // the reference's choice and ours
  bool in_top_two;      // ours is the reference's second choice
  double margin;        // in_top_two: nats between the reference's two choices
};

struct Agreement {
  size_t tokens = 0;
  std::vector<Disagreement> differences;
  double largest_logprob_error = 0;  // |ours - the reference's| over the reference's first choices
  double mean_logprob_error = 0;

  double share() const { return tokens == 0 ? 0 : 1 - static_cast<double>(differences.size()) / static_cast<double>(tokens); }
  // Largest margin of a difference; infinity when one is not in the top two.
  double largest_margin() const;
};

// Runs prompt and answer of each line through `model` and compares its choice at every output token. `num_tokens`: ids from there on are
// padding. `progress` is called after each answer with the number done.
using AgreementProgress = std::function<void(size_t done, const Agreement& so_far)>;
Agreement measure_agreement(Transformer& model, KvCache& cache, std::span<const ReferenceAnswer> answers, size_t num_tokens,
                            const AgreementProgress& progress = {});
// The same with a Transformer of its own. `kv_format` absent: f32 for f32 weights, f16 otherwise.
Agreement measure_agreement(const std::shared_ptr<EngineFile>& file, Backend& backend, std::span<const ReferenceAnswer> answers,
                            size_t num_tokens, std::optional<Format> kv_format, const AgreementProgress& progress = {});

// Answers that the model generates by itself, greedily, as long as the reference's.
struct GreedyAgreement {
  size_t equal = 0, tokens = 0, equal_tokens = 0;
  std::vector<size_t> common;  // of each answer: tokens before the first difference, all of them when it is equal
};
GreedyAgreement measure_greedy_agreement(const std::shared_ptr<EngineFile>& file, Backend& backend,
                                         std::span<const ReferenceAnswer> answers, std::optional<Format> kv_format,
                                         const std::function<void(size_t done)>& progress = {});

}  // namespace quern
