#include "text/text_stream.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace quern {
namespace {

// Bytes at the end of `text` (at most 3) that are the start of a well-formed sequence and not yet one.
size_t open_bytes(std::string_view text) {
  const auto byte = [&](size_t back) { return static_cast<unsigned char>(text[text.size() - back]); };
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const unsigned lead = byte(back);
    if (lead < 0x80) return 0;
    if (lead < 0xc0) continue;
    const size_t length = lead < 0xc2 || lead > 0xf4 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (back >= length) return 0;
    if (back >= 2) {  // the second byte's range, Unicode table 3-7
      const unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80, high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
      if (byte(back - 1) < low || byte(back - 1) > high) return 0;
    }
    return back;
  }
  return 0;
}

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, const std::vector<std::string>& stops, bool skip_control, bool starts_text)
    : tokenizer_(&tokenizer),
      skip_control_(skip_control),
      strip_space_(starts_text && tokenizer.data().prefix != TokenizerData::Prefix::none) {
  for (const std::string& text : stops) {
    if (text.empty()) continue;
    Stop stop{utf8_repaired(text), {}, 0};
    stop.failure.assign(stop.text.size(), 0);  // failure[i]: longest proper prefix of text that text[..i] ends with
    for (size_t i = 1, matched = 0; i < stop.text.size(); ++i) {
      while (matched > 0 && stop.text[i] != stop.text[matched]) matched = stop.failure[matched - 1];
      if (stop.text[i] == stop.text[matched]) ++matched;
      stop.failure[i] = matched;
    }
    stops_.push_back(std::move(stop));
  }
}

std::string TextStream::push(TokenId id) {
  if (stop_found() != nullptr || (skip_control_ && tokenizer_->is_control(id))) return {};
  std::string_view token = tokenizer_->bytes(id);
  if (strip_space_ && !token.empty()) {
    if (token.front() == ' ') token.remove_prefix(1);
    strip_space_ = false;
  }
  bytes_ += token;
  const size_t open = open_bytes(bytes_);
  const std::string valid = utf8_repaired(std::string_view(bytes_).substr(0, bytes_.size() - open));
  bytes_.erase(0, bytes_.size() - open);
  return released(valid, false);
}

std::string TextStream::finish() {
  if (stop_found() != nullptr) return {};
  const std::string valid = utf8_repaired(bytes_);
  bytes_.clear();
  return released(valid, true);
}

// Takes new text in; returns what cannot be part of a stop string any more.
std::string TextStream::released(std::string_view valid, bool at_end) {
  if (stops_.empty()) return std::string(valid);
  const size_t before = pending_.size();
  pending_ += valid;
  size_t held = 0;  // bytes at the end that a stop string starts with
  for (size_t at = before; at < pending_.size(); ++at) {
    held = 0;
    size_t start = std::string::npos;  // of the stop string that ends here; of several the one that starts first
    for (size_t i = 0; i < stops_.size(); ++i) {
      Stop& stop = stops_[i];
      while (stop.matched > 0 && (stop.matched == stop.text.size() || stop.text[stop.matched] != pending_[at])) {
        stop.matched = stop.failure[stop.matched - 1];
      }
      if (stop.text[stop.matched] == pending_[at]) ++stop.matched;
      held = std::max(held, stop.matched);
      if (stop.matched == stop.text.size() && at + 1 - stop.matched < start) {
        start = at + 1 - stop.matched;
        found_ = i;
      }
    }
    if (start != std::string::npos) {
      pending_.resize(start);
      return std::exchange(pending_, {});
    }
  }
  if (before == pending_.size()) {
    for (const Stop& stop : stops_) held = std::max(held, stop.matched);
  }
  if (at_end) held = 0;
  std::string out = pending_.substr(0, pending_.size() - held);
  pending_.erase(0, pending_.size() - held);
  return out;
}

}  // namespace quern
