// How far an engine's predictions are from a reference's on the same text, token by token.
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "eval/perplexity.h"

namespace quern {

struct TokenDivergence {
  size_t target;                       // index of the id that is predicted
  double kl;                           // nats
  double reference_loss, engine_loss;  // negative log-probabilities of the target
  bool same_choice;                    // the most likely id is the same
};

struct Divergence {
  size_t tokens = 0;
  double kl_mean = 0, kl_standard_error = 0, kl_median = 0, kl_p99 = 0, kl_max = 0;
  double top1_agreement = 0;  // share of tokens
  double reference_perplexity = 0, perplexity = 0;
  std::vector<TokenDivergence> worst;  // by kl, largest first

  double perplexity_ratio() const { return perplexity / reference_perplexity; }
};

Divergence summarize_divergence(std::span<const TokenDivergence> tokens, size_t num_worst);

// Both runners must have been made for `text` with the same options. `progress` is called after each step with all tokens so far and the
// number of windows that are done.
std::vector<TokenDivergence> measure_divergence(
    WindowRunner& reference, WindowRunner& engine, Backend& backend, const EvalText& text,
    const std::function<void(std::span<const TokenDivergence> tokens, size_t windows)>& progress = {});

}  // namespace quern
