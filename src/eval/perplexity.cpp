#include "eval/perplexity.h"

#include <cmath>

#include "eval/log_softmax.h"

namespace quern {

Perplexity perplexity_of(std::span<const TokenWindow> windows, std::span<const WindowLoss> losses) {
  Perplexity result{.windows = losses.size()};
  double weighted = 0, weights = 0, sum = 0, squares = 0;
  for (size_t i = 0; i < losses.size(); ++i) {
    const WindowLoss& loss = losses[i];
    result.tokens += loss.tokens;
    sum += loss.sum;
    squares += loss.sum_of_squares;
    if (loss.tokens == 0) continue;
    weighted += windows[i].weight * loss.sum / static_cast<double>(loss.tokens);
    weights += windows[i].weight;
  }
  if (weights <= 0) raise(invalid_input, "text: want tokens to predict, found none");
  result.value = std::exp(weighted / weights);
  const auto count = static_cast<double>(result.tokens);
  const double variance = squares / count - (sum / count) * (sum / count);
  if (result.tokens > 1 && variance > 0) result.standard_error = result.value * std::sqrt(variance / (count - 1));
  return result;
}

std::vector<WindowLoss> measure_losses(WindowRunner& runner, Backend& backend, const EvalText& text,
                                       const std::function<void(std::span<const WindowLoss> done)>& progress) {
  std::vector<WindowLoss> losses(text.windows.size());
  std::vector<double> row_losses;
  for (size_t i = 0; i < runner.steps().size(); ++i) {
    const WindowStep& step = runner.steps()[i];
    const std::span<const float> logits = runner.run(i);
    const size_t vocab_size = runner.vocab_size();
    row_losses.resize(step.rows.size());
    for_each_row(backend, step.rows.size(), [&](size_t row) {
      const std::span<const float> own = logits.subspan(row * vocab_size, vocab_size);
      row_losses[row] = log_sum_exp(own) - own[static_cast<size_t>(text.ids[step.rows[row].target])];
    });
    for (size_t row = 0; row < step.rows.size(); ++row) {
      if (!std::isfinite(row_losses[row])) {
        raise(invalid_input, "window {}: the model's probability of token {} is not a number", step.rows[row].window,
              step.rows[row].target);
      }
      WindowLoss& loss = losses[step.rows[row].window];
      loss.tokens += 1;
      loss.sum += row_losses[row];
      loss.sum_of_squares += row_losses[row] * row_losses[row];
    }
    const WindowStep::Part& last = step.parts.back();
    const bool is_whole = last.end + 1 == text.windows[last.window].end - text.windows[last.window].begin;
    if (progress && last.window + (is_whole ? 1 : 0) > 0) progress(std::span(losses).first(last.window + (is_whole ? 1 : 0)));
  }
  return losses;
}

}  // namespace quern
