// llama-server's own /completion: read, and answered in its form. Tools that were written for it still ask so.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "server/answer.h"
#include "server/generation_plan.h"
#include "server/served_model.h"

namespace quern {

GenerationPlan read_llama_completion(std::string_view body, const ServedModel& model);

class LlamaCompletionAnswer : public Answer {
 public:
  LlamaCompletionAnswer(std::string model, std::string prompt, size_t prompt_tokens, bool is_stream, bool returns_tokens);

  void begin(std::string&) override {}
  void add(size_t index, SessionOutput output, std::string& out) override;
  void end(std::string&) override {}  // the event with "stop":true was the last
  std::string body() override { return written(text_, tokens_); }
  void fail(const ApiError& error, std::string& out) override { append_event(out, error.body()); }

 private:
  std::string written(const std::string& text, const std::vector<OutputToken>& tokens) const;

  std::string model_, prompt_;
  bool is_stream_, returns_tokens_;
  std::string text_;
  std::vector<OutputToken> tokens_;
  Finish finish_;
  bool has_ended_ = false;
};

}  // namespace quern
