// Answers of /v1/responses: a list of items (reasoning, message, function calls), or the events that build it. Nothing is stored.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/answer.h"
#include "server/answer_parser.h"
#include "server/answer_text.h"
#include "server/json_writer.h"
#include "server/served_model.h"

namespace quern {

struct ResponsesAnswerOptions : MessageOptions {
  int64_t created = 0;
  std::string echoed;  // members of the response that repeat the request, as JSON text that starts with a comma
};

class ResponsesAnswer : public Answer {
 public:
  ResponsesAnswer(const ServedModel& model, ResponsesAnswerOptions options);

  void begin(std::string& out) override;
  void add(size_t index, SessionOutput output, std::string& out) override;
  void end(std::string& out) override;
  std::string body() override;
  void fail(const ApiError& error, std::string& out) override;

 private:
  enum class ItemType { reasoning, message, call };
  struct Item {
    ItemType type;
    size_t tool_index = 0;
    std::string id, call_id, name, text;
  };

  void take(const AnswerPart& part, std::string& out);
  void open_item(const AnswerPart& part, std::string& out);
  void close_item(std::string& out);
  void write_item(JsonWriter& json, const Item& item, const char* status, bool is_whole) const;
  std::string part_json(const Item& item, const std::string& text) const;
  std::string response_json(const char* status, const ApiError* error) const;
  std::string item_json(const Item& item, const char* status, bool is_whole) const;
  // `members`: of the event besides type and sequence_number, as JSON text that starts with a comma.
  void append(std::string& out, const char* type, const std::string& members);
  std::string place(const Item& item, bool with_content) const;

  ResponsesAnswerOptions options_;
  std::optional<TokenId> think_, think_end_;
  AnswerParser parser_;
  bool is_counting_reasoning_;
  std::vector<Item> items_;
  bool item_is_open_ = false;
  size_t sequence_number_ = 0;
  std::optional<Finish> finish_;
};

}  // namespace quern
