// Text to ids: special tokens, normalisation, splitting and merging in this order. Stateless.
#pragma once
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "text/vocabulary.h"

namespace quern {

// Ids of `text`, which is well-formed UTF-8. No control token is made of a byte inside one of the ranges of `user_text` (ascending).
std::vector<TokenId> encode_text(const Vocabulary& vocabulary, std::string_view text, Tokenizer::Specials specials,
                                 std::span<const std::pair<size_t, size_t>> user_text, bool add_bos);

}  // namespace quern
