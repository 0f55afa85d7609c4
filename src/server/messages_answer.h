// Answers of /v1/messages, Anthropic's interface: one message of blocks, or the events that build it.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "server/answer.h"
#include "server/answer_parser.h"
#include "server/answer_text.h"
#include "server/json_writer.h"
#include "server/served_model.h"

namespace quern {

// {"type":"error","error":{"type","message"}} with the status that Anthropic's clients know.
HttpReply messages_error_reply(const ApiError& error, const std::string& request_id);

class MessagesAnswer : public Answer {
 public:
  explicit MessagesAnswer(MessageOptions options);

  void begin(std::string& out) override;
  void add(size_t index, SessionOutput output, std::string& out) override;
  void end(std::string& out) override;
  std::string body() override;
  void fail(const ApiError& error, std::string& out) override;
  std::string ping() const override;
  HttpReply error_reply(const ApiError& error) const override { return messages_error_reply(error, ""); }

 private:
  enum class BlockType { thinking, text, tool_use };
  struct Block {
    BlockType type;
    size_t tool_index = 0;
    std::string id, name, text;  // text: of the block, or the arguments
  };

  static BlockType type_of(AnswerPart::Kind kind);
  void take(const AnswerPart& part, std::string& out);
  void open_block(const AnswerPart& part, std::string& out);
  void close_block(std::string& out);
  void write_message(JsonWriter& json, bool is_whole);
  void write_block(JsonWriter& json, const Block& block);
  void write_usage(JsonWriter& json);
  void write_stop(JsonWriter& json);

  MessageOptions options_;
  AnswerParser parser_;
  std::vector<Block> blocks_;
  bool block_is_open_ = false;
  std::optional<Finish> finish_;
};

}  // namespace quern
