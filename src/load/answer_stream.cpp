#include "load/answer_stream.h"

#include <algorithm>

#include "base/json.h"

namespace quern {
namespace {

constexpr size_t kMaxLine = size_t{64} << 20;
constexpr size_t kMaxPlain = 4096;

bool has_text(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() && !found->get_ref<const std::string&>().empty();
}

// Whether a choice brings a piece of the answer. The chunk that opens a chat's message and the one that only says why it ended bring none;
// a token whose text is held back or empty counts.
bool is_piece(const Json& choice) {
  const bool has_ended = choice.contains("finish_reason") && !choice["finish_reason"].is_null();
  if (choice.contains("text")) return has_text(choice, "text") || !has_ended;
  const auto delta = choice.find("delta");
  if (delta == choice.end() || !delta->is_object()) return false;
  const bool has_content = has_text(*delta, "content") || has_text(*delta, "reasoning_content") || has_text(*delta, "reasoning") ||
                           delta->contains("tool_calls");
  return has_content || (!has_ended && !delta->contains("role"));
}

size_t count_of(const Json& usage, const char* name, size_t otherwise) {
  const auto found = usage.find(name);
  return found != usage.end() && found->is_number_unsigned() ? found->get<size_t>() : otherwise;
}

std::string message_of(const std::string& body) {
  try {
    const Json json = parse_json(body, "error");
    if (json.is_object() && json.contains("error") && json["error"].is_object() && has_text(json["error"], "message")) {
      return json["error"]["message"].get<std::string>();
    }
  } catch (const Error&) {
    // Shown as it is.
  }
  return body.substr(0, 200);
}

}  // namespace

void AnswerStream::take(std::string_view bytes, double time) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    line_ += bytes.substr(0, end);
    bytes.remove_prefix(end == bytes.npos ? bytes.size() : end + 1);
    if (line_.size() > kMaxLine) line_.clear();
    if (end == std::string_view::npos) return;
    if (line_.ends_with('\r')) line_.pop_back();
    if (line_.starts_with("data:")) {
      take_event(std::string_view(line_).substr(line_.starts_with("data: ") ? 6 : 5), time);
    } else if (plain_.size() < kMaxPlain) {
      plain_ += line_ + "\n";
    }
    line_.clear();
  }
}

void AnswerStream::take_event(std::string_view data, double time) {
  if (data == "[DONE]") {
    is_whole_ = true;
    return;
  }
  try {
    const Json event = parse_json(data, "event", {.max_bytes = kMaxLine});
    if (!event.is_object()) return;
    if (event.contains("error") && !event["error"].is_null()) record_->error = message_of(std::string(data));
    const auto choices = event.find("choices");
    if (choices != event.end() && choices->is_array() && std::ranges::any_of(*choices, is_piece)) {
      record_->token_times.push_back(time);
      ++pieces_;
    }
    const auto usage = event.find("usage");
    if (usage != event.end() && usage->is_object()) {
      has_usage_ = true;
      record_->prompt_tokens = count_of(*usage, "prompt_tokens", record_->prompt_tokens);
      record_->output_tokens = count_of(*usage, "completion_tokens", record_->output_tokens);
    }
  } catch (const Error& error) {
    record_->error = error.message();
  }
}

void AnswerStream::finish(int status, const std::string& error) {
  if (!has_usage_) record_->output_tokens = pieces_;
  if (status == 200 && error.empty() && record_->error.empty() && is_whole_ && pieces_ > 0) {
    record_->is_ok = true;
    return;
  }
  if (!record_->error.empty()) return;
  if (status != 200 && status != 0) {
    record_->error = fmt::format("status {}: {}", status, message_of(plain_ + line_));
  } else if (!error.empty()) {
    record_->error = error;
  } else {
    record_->error = is_whole_ ? "the answer has no text" : "the stream ended without [DONE]";
  }
}

}  // namespace quern
