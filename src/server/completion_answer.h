// Answers of /v1/completions: the texts that follow each prompt, or chunks of them.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "server/answer.h"
#include "server/answer_text.h"
#include "server/served_model.h"

namespace quern {

struct CompletionAnswerOptions : ChoiceOptions {
  std::vector<std::string> echoes;             // one a prompt; what is put in front of its texts; with logprobs their tokens too
  std::vector<TokenId> first_tokens;           // of each prompt
  size_t num_prompts = 1, n = 1, best_of = 1;  // best_of runs of each prompt, of which n are told
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
    bool is_echoed = false;
    double mean_logprob() const;
  };

  bool echoes_logprobs() const { return options_.logprobs && !options_.echoes.empty(); }
  size_t prompt_of(const Choice& choice) const { return static_cast<size_t>(&choice - choices_.data()) / options_.best_of; }
  // `with_prompt`: the logprobs begin with those of the prompt.
  void write_choice(JsonWriter& json, size_t index, Choice& choice, const std::string& text, const std::vector<OutputToken>& tokens,
                    bool with_prompt, const Finish* finish);
  void write_chunk(size_t index, const std::string& text, const std::vector<OutputToken>& tokens, bool with_prompt, const Finish* finish,
                   std::string& out);
  void write_logprobs(JsonWriter& json, Choice& choice, const std::vector<OutputToken>& tokens, bool with_prompt);

  const Tokenizer* tokenizer_;
  CompletionAnswerOptions options_;
  std::vector<Choice> choices_;                    // best_of of each prompt
  std::vector<std::vector<OutputToken>> prompts_;  // each from its second token on, when its logprobs are asked for
};

}  // namespace quern
