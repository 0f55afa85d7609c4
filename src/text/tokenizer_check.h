// The rules that TokenizerData must keep, whatever file it came from.
#pragma once
#include <string_view>

#include "text/tokenizer.h"

namespace quern {

inline constexpr size_t kMaxTokens = size_t{1} << 20;
inline constexpr size_t kMaxTokenBytes = 1024;  // the longest of Qwen has 128
inline constexpr size_t kMaxSpecials = size_t{1} << 16;
inline constexpr size_t kMaxSpecialBytes = 1024;

// Throws invalid_input, opened by `where` and naming token, id or merge.
void check_tokenizer_data(const TokenizerData& data, std::string_view where);

}  // namespace quern
