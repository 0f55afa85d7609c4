// Articles with reference summaries, and the prompt that the evaluation of 2023 made of one. Plain functions, any thread.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "engine/generation_defaults.h"
#include "text/tokenizer.h"

namespace quern {

struct Article {
  std::string id;  // "row N" when the file gives none
  std::string text, highlights;
};

// JSON lines with "article", "highlights" and optionally "id"; the first `limit` of them in file order, 0 = all. Throws invalid_input
// naming the line.
std::vector<Article> read_articles(std::string_view lines, std::string_view where, size_t limit);

// Article and " TL;DR: ", white space at both ends off, every " n't" joined to the word before it.
std::string summary_text(const Article& article);

struct SummaryPrompt {
  std::vector<TokenId> ids;
  bool was_cut = false;
};

// The text's last `max_tokens` tokens.
SummaryPrompt text_prompt(const Article& article, const Tokenizer& tokenizer, size_t max_tokens);
// The text as a user's message after the evaluation's system message. A prompt beyond `max_tokens` loses the beginning of the article, and
// nothing of the chat format.
SummaryPrompt chat_prompt(const Article& article, const Tokenizer& tokenizer, const ChatFormat& format, size_t max_tokens);

}  // namespace quern
