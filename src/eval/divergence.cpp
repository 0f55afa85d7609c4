#include "eval/divergence.h"

#include <algorithm>
#include <cmath>

#include "eval/log_softmax.h"

namespace quern {
namespace {

// With linear interpolation between neighbours.
double quantile(std::span<const double> sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const double rest = place - static_cast<double>(below);
  return below + 1 < sorted.size() ? sorted[below] + rest * (sorted[below + 1] - sorted[below]) : sorted[below];
}

}  // namespace

Divergence summarize_divergence(std::span<const TokenDivergence> tokens, size_t num_worst) {
  CHECK(!tokens.empty(), "no tokens");
  Divergence result{.tokens = tokens.size()};
  std::vector<double> sorted;
  double kl = 0, kl_squares = 0, reference_loss = 0, engine_loss = 0, same = 0;
  for (const TokenDivergence& token : tokens) {
    sorted.push_back(token.kl);
    kl += token.kl;
    kl_squares += token.kl * token.kl;
    reference_loss += token.reference_loss;
    engine_loss += token.engine_loss;
    same += token.same_choice ? 1 : 0;
  }
  std::ranges::sort(sorted);
  const auto count = static_cast<double>(tokens.size());
  result.kl_mean = kl / count;
  const double variance = kl_squares / count - result.kl_mean * result.kl_mean;
  if (tokens.size() > 1 && variance > 0) result.kl_standard_error = std::sqrt(variance / (count - 1));
  result.kl_median = quantile(sorted, 0.5);
  result.kl_p99 = quantile(sorted, 0.99);
  result.kl_max = sorted.back();
  result.top1_agreement = same / count;
  result.reference_perplexity = std::exp(reference_loss / count);
  result.perplexity = std::exp(engine_loss / count);
  std::vector<TokenDivergence> worst(tokens.begin(), tokens.end());
  const size_t kept = std::min(num_worst, worst.size());
  std::ranges::partial_sort(worst, worst.begin() + static_cast<ptrdiff_t>(kept), [](const TokenDivergence& a, const TokenDivergence& b) {
    return a.kl != b.kl ? a.kl > b.kl : a.target < b.target;
  });
  worst.resize(kept);
  result.worst = std::move(worst);
  return result;
}

std::vector<TokenDivergence> measure_divergence(WindowRunner& reference, WindowRunner& engine, Backend& backend, const EvalText& text,
                                                const std::function<void(std::span<const TokenDivergence>, size_t)>& progress) {
  const size_t vocab_size = reference.vocab_size();
  if (engine.vocab_size() != vocab_size) {
    raise(incompatible, "reference: want the engine's {} rows of logits, found {}", engine.vocab_size(), vocab_size);
  }
  CHECK(reference.steps().size() == engine.steps().size(), "{} and {} steps", reference.steps().size(), engine.steps().size());
  std::vector<TokenDivergence> tokens;
  for (size_t i = 0; i < reference.steps().size(); ++i) {
    const WindowStep& step = reference.steps()[i];
    const std::span<const float> wanted = reference.run(i), found = engine.run(i);
    const size_t before = tokens.size();
    tokens.resize(before + step.rows.size());
    for_each_row(backend, step.rows.size(), [&](size_t row) {
      const size_t target = step.rows[row].target;
      const RowDivergence d = diverge(wanted.subspan(row * vocab_size, vocab_size), found.subspan(row * vocab_size, vocab_size),
                                      static_cast<size_t>(text.ids[target]));
      tokens[before + row] = {target, d.kl, -d.p_target, -d.q_target, d.p_choice == d.q_choice};
    });
    for (size_t row = before; row < tokens.size(); ++row) {
      if (!std::isfinite(tokens[row].kl) || !std::isfinite(tokens[row].engine_loss)) {
        raise(invalid_input, "window {}: the divergence at token {} is not a number", step.parts.back().window, tokens[row].target);
      }
    }
    const WindowStep::Part& last = step.parts.back();
    const bool is_whole = last.end + 1 == text.windows[last.window].end - text.windows[last.window].begin;
    if (progress && !tokens.empty()) progress(tokens, last.window + (is_whole ? 1 : 0));
  }
  return tokens;
}

}  // namespace quern
