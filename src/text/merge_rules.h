// Brings merges from files into the form that TokenizerData keeps: one for each token that merging can make. Stateless.
#pragma once
#include <span>
#include <vector>

#include "text/tokenizer.h"

namespace quern {

// Of the merges `listed` by priority, those that ever happen. A token made within a text is made by the merges that make it of its own
// bytes or characters alone (a merge across its border would keep it from being made), so one merge for each token is enough.
// Uses `data`'s kind, tokens and byte_tokens.
std::vector<TokenizerData::Merge> reachable_merges(const TokenizerData& data, std::span<const TokenizerData::Merge> listed);

// The merges of a vocabulary whose merges are any two tokens that together are a token, the token that is first in `by_priority` first
// (tiktoken: by rank; SentencePiece: by score). `by_priority` holds all ids that may be made.
std::vector<TokenizerData::Merge> merges_of_order(const TokenizerData& data, std::span<const TokenId> by_priority);

}  // namespace quern
