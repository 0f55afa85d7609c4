// Perplexity of a text: exp of the mean negative log-probability of the tokens that count.
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "eval/window_runner.h"

namespace quern {

struct WindowLoss {
  size_t tokens = 0;
  double sum = 0, sum_of_squares = 0;  // of the negative log-probabilities, in nats
};

struct Perplexity {
  size_t windows = 0, tokens = 0;
  double value = 0;
  double standard_error = 0;  // of `value`, taking tokens as independent
};

// `losses` of windows [0, losses.size()).
Perplexity perplexity_of(std::span<const TokenWindow> windows, std::span<const WindowLoss> losses);

// Runs every window of `text`. `progress` is called after each step with the windows that are done so far.
std::vector<WindowLoss> measure_losses(WindowRunner& runner, Backend& backend, const EvalText& text,
                                       const std::function<void(std::span<const WindowLoss> done)>& progress = {});

}  // namespace quern
