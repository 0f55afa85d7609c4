// Finds the texts of special tokens: the leftmost match, of these the longest. Immutable; any thread. Does not own the texts.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace quern {

class SpecialMatcher {
 public:
  struct Match {
    size_t begin, end;                      // begin == text.size(): none
    const TokenizerData::Special* special;  // null: none
  };

  // Looks for those of `specials` whose `normalized` is as given.
  SpecialMatcher(const std::vector<TokenizerData::Special>& specials, bool normalized) {
    for (const TokenizerData::Special& special : specials) {
      if (special.normalized == normalized) by_text_.push_back(&special);
    }
    std::sort(by_text_.begin(), by_text_.end(), [](const auto* a, const auto* b) { return a->text < b->text; });
    for (size_t i = 0; i < by_text_.size(); ++i) {
      auto& [begin, end] = by_first_byte_[static_cast<unsigned char>(by_text_[i]->text[0])];
      if (begin == end) begin = static_cast<uint32_t>(i);
      end = static_cast<uint32_t>(i + 1);
    }
  }
  bool empty() const { return by_text_.empty(); }

  // First match at or after `from` that `accept(special, begin, end)` takes. At most the longest special's length is read at each place.
  template <class Accept>
  Match find(std::string_view text, size_t from, const Accept& accept) const {
    for (size_t at = from; at < text.size(); ++at) {
      auto [low, high] = by_first_byte_[static_cast<unsigned char>(text[at])];
      Match best = {at, at, nullptr};
      for (size_t length = 1; low < high && at + length <= text.size(); ++length) {  // [low, high) start with these `length` bytes
        if (by_text_[low]->text.size() == length) {
          if (accept(*by_text_[low], at, at + length)) best = {at, at + length, by_text_[low]};
          ++low;
        }
        if (at + length == text.size()) break;
        const auto next = static_cast<unsigned char>(text[at + length]);
        const auto before = [&](const TokenizerData::Special* s, unsigned char byte) {
          return static_cast<unsigned char>(s->text[length]) < byte;
        };
        const auto after = [&](unsigned char byte, const TokenizerData::Special* s) {
          return byte < static_cast<unsigned char>(s->text[length]);
        };
        const auto begin = by_text_.begin();
        const auto first = std::lower_bound(begin + low, begin + high, next, before);
        const auto last = std::upper_bound(first, begin + high, next, after);
        low = static_cast<uint32_t>(first - begin);
        high = static_cast<uint32_t>(last - begin);
      }
      if (best.special != nullptr) return best;
    }
    return {text.size(), text.size(), nullptr};
  }

 private:
  std::vector<const TokenizerData::Special*> by_text_;
  std::array<std::pair<uint32_t, uint32_t>, 256> by_first_byte_{};  // range of by_text_
};

}  // namespace quern
