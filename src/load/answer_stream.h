// One streamed answer of OpenAI's interface, read as it comes: when each piece of text came, and what the server counted. One request's.
#pragma once
#include <string>
#include <string_view>

#include "load/request_record.h"

namespace quern {

class AnswerStream {
 public:
  explicit AnswerStream(RequestRecord& record) : record_(&record) {}

  // `time`: when the bytes came. Pieces in one read came at one time.
  void take(std::string_view bytes, double time);
  // After the last byte: the record is good when the answer was whole. `status` of the reply.
  void finish(int status, const std::string& error);

 private:
  void take_event(std::string_view data, double time);

  RequestRecord* record_;
  std::string line_, plain_;  // plain: the beginning of a body that is no stream, for its message
  size_t pieces_ = 0;
  bool is_whole_ = false, has_usage_ = false;
};

}  // namespace quern
