#include "server/answer_parser.h"

#include <algorithm>

namespace quern {
namespace {

constexpr std::string_view kThink = "<think>", kThinkEnd = "</think>", kCall = "<tool_call>", kCallEnd = "</tool_call>",
                           kFunction = "<function=";
constexpr std::string_view kSpace = " \n\r\t";

// Where `text` ends in what may be the start of `tag`.
size_t before_start(std::string_view text, std::string_view tag) {
  for (size_t length = std::min(tag.size() - 1, text.size()); length > 0; --length) {
    if (text.ends_with(tag.substr(0, length))) return text.size() - length;
  }
  return text.size();
}

size_t leading_space(std::string_view text) { return std::min(text.find_first_not_of(kSpace), text.size()); }

}  // namespace

AnswerParser::AnswerParser(const AnswerParserOptions& options)
    : options_(options),
      state_(options.starts_in_reasoning ? State::reasoning
             : options.parses_reasoning  ? State::start
                                         : State::content) {}

AnswerParser::Cut AnswerParser::find_tag(std::string_view text, std::string_view tag) {
  if (const size_t at = text.find(tag); at != text.npos) return {at, true};
  return {before_start(text, tag), false};
}

// The first tag that opens a call. Qwen3-Coder may forget <tool_call>: a line that begins with <function= counts as well.
AnswerParser::Cut AnswerParser::find_call(std::string_view text) const {
  Cut cut = find_tag(text, kCall);
  if (options_.dialect != CallDialect::xml) return cut;
  for (size_t at = 0; (at = text.find(kFunction, at)) != text.npos && at < cut.certain; ++at) {
    const bool is_first = held_space_.empty() ? !has_content_ : held_space_.ends_with('\n');
    if (at == 0 ? is_first : text[at - 1] == '\n') return {at, true};
  }
  if (!cut.is_found) cut.certain = std::min(cut.certain, before_start(text, kFunction));
  return cut;
}

void AnswerParser::emit(std::vector<AnswerPart>& parts, AnswerPart::Kind kind, std::string_view text) {
  if (text.empty()) return;
  const bool is_tool = kind == AnswerPart::Kind::tool_name || kind == AnswerPart::Kind::tool_arguments;
  const size_t index = is_tool ? num_calls_ - 1 : 0;
  if (!parts.empty() && parts.back().kind == kind && kind != AnswerPart::Kind::tool_name && parts.back().tool_index == index) {
    parts.back().text += text;
  } else {
    parts.push_back({kind, std::string(text), index});
  }
}

void AnswerParser::emit_but_trailing_space(std::vector<AnswerPart>& parts, AnswerPart::Kind kind, std::string_view text) {
  const size_t solid = text.find_last_not_of(kSpace) + 1;  // npos + 1 is 0
  if (solid > 0) {
    emit(parts, kind, held_space_);
    held_space_.clear();
    emit(parts, kind, text.substr(0, solid));
  }
  held_space_ += text.substr(solid);
}

void AnswerParser::push(std::string_view text, std::vector<AnswerPart>& parts) {
  pending_ += text;
  while (step(parts, false)) {
  }
}

void AnswerParser::finish(std::vector<AnswerPart>& parts) {
  while (step(parts, true)) {
  }
  if (state_ == State::call) end_call(parts);
  if (state_ == State::content && num_calls_ == 0) emit(parts, AnswerPart::Kind::content, held_space_);
  held_space_.clear();
}

// One step of the machine; false when it needs more text.
bool AnswerParser::step(std::vector<AnswerPart>& parts, bool at_end) {
  switch (state_) {
    case State::start: return step_start(at_end);
    case State::reasoning: return step_reasoning(parts, at_end);
    case State::after_reasoning:
      pending_.erase(0, leading_space(pending_));
      if (!pending_.empty()) state_ = State::content;
      return !pending_.empty();
    case State::content: return step_content(parts, at_end);
    case State::call: return step_call(parts);
    case State::after_call: return step_after_call(at_end);
  }
  return false;
}

// An answer that begins with <think> reasons; white space before it counts as nothing.
bool AnswerParser::step_start(bool at_end) {
  const std::string_view rest = std::string_view(pending_).substr(leading_space(pending_));
  if (rest.starts_with(kThink)) {
    pending_.erase(0, pending_.size() - rest.size() + kThink.size());
    state_ = State::reasoning;
    return true;
  }
  if (kThink.starts_with(rest) && !at_end) return false;
  state_ = State::content;
  return true;
}

bool AnswerParser::step_reasoning(std::vector<AnswerPart>& parts, bool at_end) {
  const Cut cut = find_tag(pending_, kThinkEnd);
  size_t certain = at_end && !cut.is_found ? pending_.size() : cut.certain;
  std::string_view text = std::string_view(pending_).substr(0, certain);
  if (is_first_reasoning_) {
    text.remove_prefix(leading_space(text));
    is_first_reasoning_ = text.empty();
  }
  emit_but_trailing_space(parts, AnswerPart::Kind::reasoning, text);
  pending_.erase(0, certain);
  if (!cut.is_found) return false;
  pending_.erase(0, kThinkEnd.size());
  held_space_.clear();
  state_ = State::after_reasoning;
  return true;
}

bool AnswerParser::step_content(std::vector<AnswerPart>& parts, bool at_end) {
  if (!options_.parses_tools) {
    emit(parts, AnswerPart::Kind::content, pending_);
    pending_.clear();
    return false;
  }
  const Cut cut = find_call(pending_);
  const size_t certain = at_end && !cut.is_found ? pending_.size() : cut.certain;
  has_content_ = has_content_ || pending_.find_first_not_of(kSpace) < certain;
  emit_but_trailing_space(parts, AnswerPart::Kind::content, std::string_view(pending_).substr(0, certain));
  pending_.erase(0, certain);
  if (!cut.is_found) return false;
  call_tag_ = pending_.starts_with(kCall) ? kCall : "";
  pending_.erase(0, call_tag_.size());
  call_ = new_call_text(options_.dialect, options_.schemas);
  call_is_open_ = false;
  call_is_dropped_ = options_.one_call_at_most && num_calls_ > 0;
  state_ = State::call;
  return true;
}

bool AnswerParser::step_call(std::vector<AnswerPart>& parts) {
  for (size_t i = 0; i < pending_.size(); ++i) {
    const bool is_whole = call_->is_complete();
    if (is_whole || !call_->push(pending_[i])) {
      // What breaks a call off is text again; before the name is known that is the whole of it.
      pending_.erase(0, is_whole || call_is_open_ || call_is_dropped_ ? i : i + 1);
      const bool was_text = !is_whole && !call_is_open_ && !call_is_dropped_;
      end_call(parts);
      state_ = was_text ? State::content : State::after_call;
      return true;
    }
    if (call_is_dropped_) continue;
    if (!call_is_open_ && call_->name() && !call_->name()->empty()) {
      call_is_open_ = true;
      held_space_.clear();
      ++num_calls_;
      emit(parts, AnswerPart::Kind::tool_name, *call_->name());
    }
    if (call_is_open_) emit(parts, AnswerPart::Kind::tool_arguments, call_->take_arguments());
  }
  pending_.clear();
  return false;
}

// The call is over, by its closing brace or with the answer.
void AnswerParser::end_call(std::vector<AnswerPart>& parts) {
  if (call_is_open_) {
    emit(parts, AnswerPart::Kind::tool_arguments, call_->finish_arguments());
  } else if (!call_is_dropped_) {
    emit(parts, AnswerPart::Kind::content, held_space_);
    held_space_.clear();
    emit(parts, AnswerPart::Kind::content, std::string(call_tag_) + call_->body());
  }
  has_content_ = !call_is_open_ && !call_is_dropped_;
  call_is_open_ = false;
  call_is_dropped_ = true;  // nothing of it is left to say
}

// White space and braces too many, then the closing tag, which a model may forget.
bool AnswerParser::step_after_call(bool at_end) {
  pending_.erase(0, std::min(pending_.find_first_not_of(" \n\r\t}"), pending_.size()));
  if (pending_.empty() || (kCallEnd.starts_with(pending_) && pending_.size() < kCallEnd.size() && !at_end)) return false;
  if (pending_.starts_with(kCallEnd)) pending_.erase(0, kCallEnd.size());
  state_ = State::content;
  return true;
}

}  // namespace quern
