#include "engine/sampling_params.h"

#include <set>

#include "backend/ops/ops.h"
#include "base/error.h"
#include "base/utf8.h"

namespace quern {
namespace {

constexpr int64_t kMaxTokens = 0x7fffffff;

// Also false for NaN.
bool in_range(double value, double low, double high) { return value >= low && value <= high; }

std::optional<FieldProblem> range_problem(const char* field, double value, double low, double high) {
  if (in_range(value, low, high)) return std::nullopt;
  return FieldProblem{field, fmt::format("want {} to {}, found {}", low, high, value)};
}

std::optional<FieldProblem> ids_problem(const std::string& field, int64_t id, size_t num_tokens) {
  if (id >= 0 && static_cast<uint64_t>(id) < num_tokens) return std::nullopt;
  return FieldProblem{field, fmt::format("want a token id from 0 to {}, found {}", num_tokens - 1, id)};
}

std::optional<FieldProblem> bias_problem(const SamplingParams& params, size_t num_tokens) {
  if (params.logit_bias.size() > kMaxLogitBiases) {
    return FieldProblem{"logit_bias", fmt::format("want at most {} entries, found {}", kMaxLogitBiases, params.logit_bias.size())};
  }
  std::set<TokenId> seen;
  for (const auto& [id, bias] : params.logit_bias) {
    if (auto problem = ids_problem("logit_bias", id, num_tokens)) return problem;
    if (!in_range(bias, -100, 100)) return FieldProblem{"logit_bias", fmt::format("token {}: want -100 to 100, found {}", id, bias)};
    if (!seen.insert(id).second) return FieldProblem{"logit_bias", fmt::format("token {}: want one value, found two", id)};
  }
  return std::nullopt;
}

std::optional<FieldProblem> stop_problem(const SamplingParams& params, size_t num_tokens) {
  if (params.stop.size() > kMaxStopStrings) {
    return FieldProblem{"stop", fmt::format("want at most {} strings, found {}", kMaxStopStrings, params.stop.size())};
  }
  for (size_t i = 0; i < params.stop.size(); ++i) {
    const std::string& stop = params.stop[i];
    if (stop.empty() || stop.size() > kMaxStopBytes) {
      return FieldProblem{fmt::format("stop[{}]", i), fmt::format("want 1 to {} bytes, found {}", kMaxStopBytes, stop.size())};
    }
    if (const size_t at = utf8_first_invalid(stop); at != stop.npos) {
      return FieldProblem{fmt::format("stop[{}]", i), fmt::format("want UTF-8, found an invalid byte at {}", at)};
    }
  }
  if (params.stop_token_ids.size() > kMaxStopTokenIds) {
    return FieldProblem{"stop_token_ids", fmt::format("want at most {} ids, found {}", kMaxStopTokenIds, params.stop_token_ids.size())};
  }
  for (size_t i = 0; i < params.stop_token_ids.size(); ++i) {
    if (auto problem = ids_problem(fmt::format("stop_token_ids[{}]", i), params.stop_token_ids[i], num_tokens)) return problem;
  }
  return std::nullopt;
}

}  // namespace

std::optional<FieldProblem> SamplingParams::problem(size_t num_tokens) const {
  if (auto found = range_problem("temperature", temperature, 0, 2)) return found;
  if (!(top_p > 0 && top_p <= 1)) return FieldProblem{"top_p", fmt::format("want more than 0, at most 1, found {}", top_p)};
  if (top_k < -1) return FieldProblem{"top_k", fmt::format("want -1 or 0 (off) or at least 1, found {}", top_k)};
  if (auto found = range_problem("min_p", min_p, 0, 1)) return found;
  if (!(repetition_penalty > 0 && repetition_penalty <= 10)) {
    return FieldProblem{"repetition_penalty", fmt::format("want more than 0, at most 10, found {}", repetition_penalty)};
  }
  if (auto found = range_problem("presence_penalty", presence_penalty, -2, 2)) return found;
  if (auto found = range_problem("frequency_penalty", frequency_penalty, -2, 2)) return found;
  if (auto found = bias_problem(*this, num_tokens)) return found;
  if (max_tokens && (*max_tokens < 1 || *max_tokens > kMaxTokens)) {
    return FieldProblem{"max_tokens", fmt::format("want 1 to {}, found {}", kMaxTokens, *max_tokens)};
  }
  const int64_t most = max_tokens.value_or(kMaxTokens);
  if (min_tokens < 0 || min_tokens > most) {
    return FieldProblem{"min_tokens", fmt::format("want 0 to {}{}, found {}", max_tokens ? "max_tokens, " : "", most, min_tokens)};
  }
  if (auto found = stop_problem(*this, num_tokens)) return found;
  for (const auto& [field, count] : {std::pair("logprobs", logprobs), std::pair("prompt_logprobs", prompt_logprobs)}) {
    if (count && (*count < 0 || *count > kMaxLogprobs))
      return FieldProblem{field, fmt::format("want 0 to {}, found {}", kMaxLogprobs, *count)};
  }
  return std::nullopt;
}

void SamplingParams::validate(size_t num_tokens) const {
  if (const auto found = problem(num_tokens)) raise(usage, "{}: {}", found->field, found->message);
}

}  // namespace quern
