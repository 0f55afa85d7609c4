// Answers of /v1/completions: the texts that follow each prompt, or chunks of them.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "server/answer.h"
#include "server/answer_text.h"
#include "server/served_model.h"

namespace quern {

struct CompletionAnswerOptions {
  AnswerHead head;
  std::vector<std::string> echoes;                                // one a prompt; what is put in front of its texts
  size_t num_prompts = 1, n = 1, best_of = 1, prompt_tokens = 0;  // best_of runs of each prompt, of which n are told
  bool is_stream = false, include_usage = false, continuous_usage = false;
  std::optional<size_t> logprobs;
  std::vector<int64_t> stop_token_ids;
  bool shows_end_token = false;
};

class CompletionAnswer : public Answer {
 public:
  CompletionAnswer(const ServedModel& model, CompletionAnswerOptions options);

  void begin(std::string& out) override;
  void add(size_t index, SessionOutput output, std::string& out) override;
  void end(std::string& out) override;
  std::string body() override;
  void fail(const ApiError& error, std::string& out) override;

 private:
  struct Choice {
    std::string text;
    std::vector<OutputToken> tokens;
    std::optional<Finish> finish;
    size_t text_offset = 0;
    double mean_logprob() const;
  };

  void write_choice(JsonWriter& json, size_t index, Choice& choice, const std::string& text, const std::vector<OutputToken>& tokens,
                    const Finish* finish);
  void write_chunk(size_t index, const std::string& text, const std::vector<OutputToken>& tokens, const Finish* finish, std::string& out);
  void write_logprobs(JsonWriter& json, Choice& choice, const std::vector<OutputToken>& tokens);

  const Tokenizer* tokenizer_;
  CompletionAnswerOptions options_;
  std::vector<Choice> choices_;  // best_of of each prompt
};

}  // namespace quern
