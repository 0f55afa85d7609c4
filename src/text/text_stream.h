// Token ids, one after the other, into whole UTF-8 pieces: what may still be the start of a character or of a stop string is held back.
// One per answer; one thread.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace quern {

class TextStream {
 public:
  // `stops`: the answer ends before the first occurrence of any of them, however it is split over tokens (empty ones are ignored).
  // `starts_text`: nothing but a control token stands before the first id, so the space of TokenizerData::Prefix is left out.
  TextStream(const Tokenizer& tokenizer, const std::vector<std::string>& stops, bool skip_control = true, bool starts_text = false);

  // Text that `id` makes certain, maybe none; always whole, valid UTF-8 (invalid bytes as U+FFFD). Linear in the answer's length.
  std::string push(TokenId id);
  // What is left at the end of the answer; nothing when a stop string was found.
  std::string finish();
  // Set once a stop string was found; later pushes give nothing.
  const std::string* stop_found() const { return found_ < stops_.size() ? &stops_[found_].text : nullptr; }

 private:
  struct Stop {
    std::string text;
    std::vector<size_t> failure;  // of Knuth, Morris and Pratt
    size_t matched = 0;           // bytes of `text` that the stream ends with
  };

  std::string released(std::string_view valid, bool at_end);

  const Tokenizer* tokenizer_;
  std::vector<Stop> stops_;
  bool skip_control_;
  bool strip_space_;
  std::string bytes_;    // not yet valid UTF-8: the start of a character
  std::string pending_;  // valid, the start of at least one stop string
  size_t found_ = static_cast<size_t>(-1);
};

}  // namespace quern
