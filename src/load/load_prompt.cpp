#include "load/load_prompt.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"

namespace quern {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 30;
constexpr size_t kMinTokens = 4, kMaxPromptTokens = 1024, kMaxTokens = 2048;  // of the ShareGPT turns that vllm keeps

// Each one token of its own behind a space in the vocabularies of GPT-2, Llama, Qwen.
constexpr const char* kWords[] = {
    "time",   "year",     "people", "way",     "day",      "man",         "thing",       "woman",   "life",      "child",  "world",
    "school", "state",    "family", "student", "group",    "country",     "problem",     "hand",    "part",      "place",  "case",
    "week",   "company",  "system", "program", "question", "work",        "government",  "number",  "night",     "point",  "home",
    "water",  "room",     "mother", "area",    "money",    "story",       "fact",        "month",   "lot",       "right",  "study",
    "book",   "eye",      "job",    "word",    "business", "issue",       "side",        "kind",    "head",      "house",  "service",
    "friend", "father",   "power",  "hour",    "game",     "line",        "end",         "member",  "law",       "car",    "city",
    "name",   "team",     "minute", "idea",    "body",     "information", "back",        "parent",  "face",      "others", "level",
    "office", "door",     "health", "person",  "art",      "war",         "history",     "party",   "result",    "change", "morning",
    "reason", "research", "girl",   "guy",     "moment",   "air",         "teacher",     "force",   "education", "foot",   "boy",
    "age",    "policy",   "music",  "market",  "sense",    "nation",      "plan",        "college", "interest",  "death",  "experience",
    "effect", "use",      "class",  "control", "care",     "field",       "development", "role",    "effort",
};

template <class Random>
size_t draw(Random& random, size_t limit) {
  return static_cast<size_t>(random() % limit);
}

template <class Random>
std::string words(Random& random, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text.append(" ").append(kWords[draw(random, std::size(kWords))]);
  return text;
}

// Takes words off or puts some on until the count is right, as far as it can be: a word may be several tokens.
template <class Random>
void fit(std::string& text, size_t want, const TokenCounter& count, Random& random) {
  for (int round = 0; round < 16; ++round) {
    const size_t found = count(text);
    if (found == want) return;
    const auto num_words = static_cast<size_t>(std::ranges::count(text, ' '));
    const size_t off = found < want ? want - found : found - want;
    size_t step = std::max<size_t>(1, off * std::max<size_t>(num_words, 1) / std::max<size_t>(found, 1));
    if (found < want) text += words(random, step);
    for (; found > want && step > 0 && text.find(' ') != text.npos; --step) text.resize(text.rfind(' '));
  }
}

template <class Random>
size_t draw_length(Random& random, size_t length, double ratio) {
  const auto low = static_cast<size_t>(std::floor(static_cast<double>(length) * (1 - ratio)));
  const auto high = static_cast<size_t>(std::ceil(static_cast<double>(length) * (1 + ratio)));
  return std::max<size_t>(1, low + draw(random, high - low + 1));
}

}  // namespace

std::vector<LoadPrompt> random_prompts(const RandomPrompts& options, const TokenCounter& count) {
  std::mt19937_64 random(options.seed);
  std::vector<LoadPrompt> prompts(options.count);
  const std::string prefix = words(random, options.prefix_tokens);
  for (LoadPrompt& prompt : prompts) {
    prompt.prompt_tokens = options.prefix_tokens + draw_length(random, options.input_tokens, options.range_ratio);
    prompt.output_tokens = draw_length(random, options.output_tokens, options.range_ratio);
    prompt.text = prefix + words(random, prompt.prompt_tokens - options.prefix_tokens);
    if (count) fit(prompt.text, prompt.prompt_tokens, count, random);
  }
  return prompts;
}

std::vector<LoadPrompt> sharegpt_prompts(const std::string& path, size_t count, std::optional<size_t> output_tokens, uint64_t seed,
                                         const TokenCounter& counter) {
  const std::string text = read_text_file(path, kMaxFileBytes);
  const Json list = parse_json(text, path, {.max_bytes = kMaxFileBytes, .max_values = 200'000'000});
  if (!list.is_array()) raise(invalid_input, "{}: want a list of conversations", escaped(path));
  std::vector<size_t> order(list.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::mt19937_64 random(seed);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[draw(random, i)]);
  const auto value = [](const Json& turns, size_t i) -> std::optional<std::string> {
    if (!turns[i].is_object() || !turns[i].contains("value") || !turns[i]["value"].is_string()) return std::nullopt;
    return turns[i]["value"].get<std::string>();
  };
  // About four characters a token where nobody counts.
  const auto tokens_of = [&](const std::string& each) { return counter ? counter(each) : (each.size() + 3) / 4; };
  std::vector<LoadPrompt> prompts;
  for (const size_t i : order) {
    if (prompts.size() == count) break;
    if (!list[i].is_object() || !list[i].contains("conversations") || !list[i]["conversations"].is_array()) continue;
    const Json& turns = list[i]["conversations"];
    if (turns.size() < 2) continue;
    const auto question = value(turns, 0), answer = value(turns, 1);
    if (!question || !answer) continue;
    LoadPrompt prompt{.text = *question, .prompt_tokens = tokens_of(*question), .output_tokens = output_tokens.value_or(0)};
    if (!output_tokens) prompt.output_tokens = tokens_of(*answer);
    const bool is_short = prompt.prompt_tokens < kMinTokens || (!output_tokens && prompt.output_tokens < kMinTokens);
    if (is_short || prompt.prompt_tokens > kMaxPromptTokens || prompt.prompt_tokens + prompt.output_tokens > kMaxTokens) continue;
    prompts.push_back(std::move(prompt));
  }
  if (prompts.empty()) raise(invalid_input, "{}: no conversation of two turns with a usable length", escaped(path));
  return prompts;
}

std::vector<LoadPrompt> custom_prompts(const std::string& path, size_t count, size_t output_tokens, const TokenCounter& counter) {
  const std::string text = read_text_file(path, kMaxFileBytes);
  std::vector<LoadPrompt> lines;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size() && lines.size() < count;) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const std::string where = fmt::format("{}:{}", escaped(path), number);
    const Json object = parse_json(line, where);
    const JsonFields fields(object, where);
    LoadPrompt prompt{.text = fields.text({"prompt"}),
                      .output_tokens = fields.optional_size({"output_tokens", "max_tokens"}, 1, 1 << 20).value_or(output_tokens)};
    prompt.prompt_tokens = counter ? counter(prompt.text) : (prompt.text.size() + 3) / 4;
    lines.push_back(std::move(prompt));
  }
  if (lines.empty()) raise(invalid_input, "{}: no prompts", escaped(path));
  std::vector<LoadPrompt> prompts;
  for (size_t i = 0; i < count; ++i) prompts.push_back(lines[i % lines.size()]);
  return prompts;
}

}  // namespace quern
