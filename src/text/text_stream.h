// Token ids, one after the other, into whole UTF-8 pieces: what may still be the start of a character or of a stop string is held back.
// One per answer; one thread.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace quern {

class TextStream {
 public:
  // `stops`: the answer ends before the first occurrence of any of them, however it is split over tokens.
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops, bool skip_control = true);

  // Text that `id` makes certain, maybe none; always whole, valid UTF-8 (invalid bytes as U+FFFD).
  std::string push(TokenId id);
  // What is left at the end of the answer; nothing when a stop string was found.
  std::string finish();
  // Set once a stop string was found; later pushes give nothing.
  const std::string* stop_found() const { return found_ < stops_.size() ? &stops_[found_] : nullptr; }

 private:
  std::string certain(bool at_end);

  const Tokenizer* tokenizer_;
  std::vector<std::string> stops_;
  bool skip_control_;
  std::string bytes_;    // not yet valid UTF-8
  std::string pending_;  // valid, maybe the start of a stop string
  size_t found_ = static_cast<size_t>(-1);
};

}  // namespace quern
