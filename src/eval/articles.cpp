#include "eval/articles.h"

#include "base/json.h"
#include "base/utf8.h"

namespace quern {
namespace {

constexpr const char* kSystem =
    "You are a useful assistant, please directly output the corresponding summary according to the article entered by the user.";
constexpr int kMostCuts = 8;  // rounds until the cut text's own tokens fit

// White space as Python's str.strip takes it off.
bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string stripped(std::string_view text) {
  size_t first = 0;
  while (first < text.size()) {
    const size_t length = utf8_sequence_length(text.substr(first));
    if (length == 0 || !is_space(utf8_decode(text.substr(first), length))) break;
    first += length;
  }
  text.remove_prefix(first);
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    const size_t length = utf8_sequence_length(text.substr(last));
    if (length == 0 || !is_space(utf8_decode(text.substr(last), length))) break;
    text.remove_suffix(text.size() - last);
  }
  return std::string(text);
}

std::vector<TokenId> encode_chat(const std::string& text, const Tokenizer& tokenizer, const ChatFormat& format) {
  const std::vector<ChatMessage> messages = {{.role = "system", .content = kSystem}, {.role = "user", .content = text}};
  ChatOptions options;
  options.enable_thinking = false;
  return encode_prompt(tokenizer, format.render(messages, options));
}

}  // namespace

std::vector<Article> read_articles(std::string_view lines, std::string_view where, size_t limit) {
  std::vector<Article> articles;
  size_t number = 0;
  for (size_t begin = 0; begin < lines.size() && (limit == 0 || articles.size() < limit);) {
    const size_t end = std::min(lines.find('\n', begin), lines.size());
    const std::string_view line = lines.substr(begin, end - begin);
    begin = end + 1;
    const std::string at = fmt::format("{}: line {}", where, ++number);
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const Json json = parse_json(line, at);
    const JsonFields fields(json, at);
    const std::string id = fields.optional_text({"id"}).value_or(fmt::format("row {}", articles.size()));
    articles.push_back({.id = id, .text = fields.text({"article"}), .highlights = fields.text({"highlights"})});
  }
  if (articles.empty()) raise(invalid_input, "{}: want articles, found none", where);
  return articles;
}

std::string summary_text(const Article& article) {
  std::string text = stripped(article.text + " TL;DR: ");
  for (size_t at = 0; (at = text.find(" n't", at)) != std::string::npos;) text.erase(at, 1);
  return text;
}

SummaryPrompt text_prompt(const Article& article, const Tokenizer& tokenizer, size_t max_tokens) {
  SummaryPrompt prompt{.ids = tokenizer.encode(summary_text(article), Tokenizer::Specials::as_text, true)};
  prompt.was_cut = prompt.ids.size() > max_tokens;
  if (prompt.was_cut) prompt.ids.erase(prompt.ids.begin(), prompt.ids.end() - static_cast<ptrdiff_t>(max_tokens));
  return prompt;
}

SummaryPrompt chat_prompt(const Article& article, const Tokenizer& tokenizer, const ChatFormat& format, size_t max_tokens) {
  std::string text = summary_text(article);
  SummaryPrompt prompt{.ids = encode_chat(text, tokenizer, format)};
  for (int round = 0; prompt.ids.size() > max_tokens; ++round) {
    const std::vector<TokenId> own = tokenizer.encode(text, Tokenizer::Specials::as_text);
    const size_t excess = prompt.ids.size() - max_tokens;
    if (round == kMostCuts || excess >= own.size()) {
      raise(invalid_input, "{}: want a prompt of at most {} tokens, the chat format alone takes more", escaped(article.id, 60), max_tokens);
    }
    text = tokenizer.decode(std::span(own).subspan(excess), false);
    while (!text.empty() && (static_cast<unsigned char>(text.front()) & 0xC0) == 0x80) text.erase(0, 1);  // the rest of a cut character
    prompt.ids = encode_chat(text, tokenizer, format);
    prompt.was_cut = true;
  }
  return prompt;
}

}  // namespace quern
