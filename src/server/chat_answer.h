// Answers of /v1/chat/completions: messages with reasoning and tool calls, or chunks of them.
#pragma once
#include <memory>
#include <vector>

#include "server/answer.h"
#include "server/answer_parser.h"
#include "server/answer_text.h"
#include "server/served_model.h"

namespace quern {

struct ChatAnswerOptions : ChoiceOptions {
  AnswerParserOptions parser;
  size_t num_choices = 1;
};

class ChatAnswer : public Answer {
 public:
  ChatAnswer(const ServedModel& model, ChatAnswerOptions options);

  void begin(std::string& out) override;
  void add(size_t index, SessionOutput output, std::string& out) override;
  void end(std::string& out) override;
  std::string body() override;
  void fail(const ApiError& error, std::string& out) override;

 private:
  struct ToolCallState {
    std::string id, name, arguments;
  };
  struct Choice {
    AnswerParser parser;
    std::string content, reasoning;
    std::vector<ToolCallState> calls;
    std::vector<OutputToken> logprobs;
    std::optional<Finish> finish;
    bool is_counting_reasoning = false;
  };

  void count(Choice& choice, const SessionOutput& output);
  void keep(Choice& choice, const std::vector<AnswerPart>& parts);
  void write_parts(size_t index, const std::vector<AnswerPart>& parts, const std::vector<OutputToken>& tokens, std::string& out);
  void write_delta(JsonWriter& json, Choice& choice, const AnswerPart& part);
  void write_chunk(size_t index, const AnswerPart* part, const std::vector<OutputToken>* tokens, const Finish* finish, std::string& out);
  void write_logprobs(JsonWriter& json, const std::vector<OutputToken>& tokens);

  const Tokenizer* tokenizer_;
  ChatAnswerOptions options_;
  std::optional<TokenId> think_, think_end_;
  std::vector<Choice> choices_;
  std::vector<OutputToken> prompt_;  // from its second token on, when its logprobs are asked for
};

// "call_" and 24 hexadecimal digits.
std::string new_call_id();

}  // namespace quern
