#include "cli/sampling_options.h"

#include <limits>

#include "cli/options.h"

namespace quern {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr int64_t kMostTokens = int64_t{1} << 31;

template <class T>
void take(const std::optional<T>& given, T& into) {
  if (given) into = *given;
}

}  // namespace

void add_sampling_options(CLI::App& app, SamplingOptions& options) {
  add_number<int64_t>(app, "-n,--max-tokens,--n-predict,--predict", options.max_tokens, -1, kMostTokens,
                      "Most tokens of an answer; -1: to the end of the context (default -1)");
  add_number<double>(app, "--temp,--temperature", options.temperature, 0, 2, "0 is greedy (default: the model's own, else 1)");
  add_number<int64_t>(app, "--top-k", options.top_k, -1, kMostTokens, "Draw from the K likeliest; 0 or -1: off (default: the model's own)");
  add_number<double>(app, "--top-p", options.top_p, 0, 1, "Draw from the smallest set with this mass (default: the model's own, else 1)");
  add_number<double>(app, "--min-p", options.min_p, 0, 1, "Drop tokens below this share of the likeliest one's probability (default 0)");
  add_number<double>(app, "--repetition-penalty,--repeat-penalty", options.repetition_penalty, 0, 10,
                     "On tokens of prompt and answer (default: the model's own, else 1)");
  add_number<double>(app, "--presence-penalty", options.presence_penalty, -2, 2, "On tokens that the answer has already (default 0)");
  add_number<double>(app, "--frequency-penalty", options.frequency_penalty, -2, 2, "The same, for each time (default 0)");
  add_number<int64_t>(app, "-s,--seed", options.seed, -1, kMost,
                      "The same seed gives the same answer; -1: another one each time (default -1)");
  add_number<int64_t>(app, "--min-tokens", options.min_tokens, 0, kMostTokens, "Tokens before the answer may end (default 0)");
  add_texts(app, "--stop", options.stop, "TEXT", "End the answer before this text; may be repeated");
  app.add_flag("--ignore-eos", options.ignore_eos, "Go on past the model's end tokens");
}

SamplingParams apply(const SamplingOptions& options, SamplingParams params) {
  if (options.max_tokens) params.max_tokens = *options.max_tokens == -1 ? std::nullopt : options.max_tokens;
  take(options.temperature, params.temperature);
  take(options.top_k, params.top_k);
  take(options.top_p, params.top_p);
  take(options.min_p, params.min_p);
  take(options.repetition_penalty, params.repetition_penalty);
  take(options.presence_penalty, params.presence_penalty);
  take(options.frequency_penalty, params.frequency_penalty);
  if (options.seed) params.seed = options.seed;
  take(options.min_tokens, params.min_tokens);
  params.stop.insert(params.stop.end(), options.stop.begin(), options.stop.end());
  params.ignore_eos = params.ignore_eos || options.ignore_eos;
  return params;
}

}  // namespace quern
