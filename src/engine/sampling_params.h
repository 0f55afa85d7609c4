// How one request is sampled and when it ends, in the words of its caller. Plain data; checked before it reaches a Sequence.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace quern {

inline constexpr size_t kMaxStopStrings = 16, kMaxStopBytes = 256, kMaxStopTokenIds = 1024, kMaxLogitBiases = 1024;
inline constexpr double kGreedyTemperature = 1e-5;  // at and below: greedy
inline constexpr float kBanBias = -100;             // a logit bias of this bans the token

// What is wrong with one field; `field` is its name, with its index where it is a list ("stop[2]").
struct FieldProblem {
  std::string field, message;  // message: "want 0 to 2, found -1"
};

// The part of an answer that a model thinks in, between two special tokens: stop strings do not act there, and it may have a bound.
struct Reasoning {
  TokenId open = 0, close = 0;   // "<think>", "</think>"
  bool is_open = false;          // the prompt ends inside; else an answer that begins with `open` reasons
  std::optional<size_t> budget;  // tokens of it; then `closing` is put into the answer, once
  std::vector<TokenId> closing;  // ends in `close`, or has it inside
};

struct SamplingParams {
  double temperature = 1;                              // 0 to 2; 0 is greedy
  double top_p = 1;                                    // (0, 1]: the smallest set of tokens with at least this mass
  int64_t top_k = 0;                                   // -1 and 0: off
  double min_p = 0;                                    // 0 to 1: keep p >= min_p * p_max
  double repetition_penalty = 1;                       // (0, 10], on tokens of prompt and output
  double presence_penalty = 0, frequency_penalty = 0;  // -2 to 2, on tokens of the output
  std::vector<std::pair<TokenId, double>> logit_bias;  // -100 (bans) to 100, at most 1,024 ids
  std::optional<int64_t> seed;                         // absent or -1: drawn when the request is accepted
  std::optional<int64_t> max_tokens;                   // at least 1; absent: to the end of the context
  int64_t min_tokens = 0;                              // tokens that end an answer are banned until then
  std::vector<std::string> stop;                       // at most 16 of 1 to 256 bytes; the answer's text ends before the first of them
  std::vector<int64_t> stop_token_ids;                 // end the answer besides the model's own end tokens
  bool ignore_eos = false;                             // the model's own end tokens do not end it
  bool include_stop_str_in_output = false;
  bool skip_special_tokens = true;         // control tokens leave no text
  std::optional<int64_t> logprobs;         // 0 to 20 likeliest tokens beside the drawn one
  std::optional<int64_t> prompt_logprobs;  // the same beside each token of the prompt but its first; nothing is taken from the prefix cache
  std::optional<Reasoning> reasoning;      // absent: the answer is one text

  // The first field out of its range, for a vocabulary of `num_tokens` ids; nothing when all are sound.
  std::optional<FieldProblem> problem(size_t num_tokens) const;
  // Throws usage "<field>: <message>".
  void validate(size_t num_tokens) const;

  bool is_greedy() const { return temperature <= kGreedyTemperature; }
};

}  // namespace quern
