// What a mask costs over the whole vocabulary of Qwen, in answers that fit the schemas of everyday use.
#include "text/token_masks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <random>

#include "base/clock.h"
#include "text/bnf.h"
#include "text/json_schema.h"
#include "text/test_vocabulary.h"
#include "text/text_grammars.h"

namespace quern {
namespace {

struct NamedGrammar {
  const char* name;
  Grammar grammar;
};

Grammar schema(const char* text) { return json_schema_grammar(parse_ordered_json(text, "schema"), "schema"); }

std::vector<NamedGrammar> everyday_grammars() {
  std::vector<NamedGrammar> all;
  all.push_back({"any object", json_object_grammar()});
  all.push_back(
      {"person", schema(R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
      "email":{"type":"string","format":"email"},"tags":{"type":"array","items":{"type":"string"}},"kind":{"enum":["a","b","other"]}},
      "required":["name","age","email","tags","kind"],"additionalProperties":false})")});
  all.push_back({"orders", schema(R"({"$defs":{"item":{"type":"object","properties":{"sku":{"type":"string","pattern":"^[A-Z]{3}-\\d{4}$"},
      "price":{"type":"number","minimum":0,"multipleOf":0.01},"count":{"type":"integer","minimum":1}},"required":["sku","price","count"]}},
      "type":"object","properties":{"id":{"type":"string","format":"uuid"},"at":{"type":"string","format":"date-time"},
      "items":{"type":"array","items":{"$ref":"#/$defs/item"},"minItems":1},"note":{"anyOf":[{"type":"string","maxLength":200},{"type":"null"}]}},
      "required":["id","at","items","note"]})")});
  all.push_back({"tree", schema(R"({"$defs":{"n":{"type":"object","properties":{"v":{"type":"string"},"kids":{"type":"array",
      "items":{"$ref":"#/$defs/n"}}},"required":["v","kids"]}},"$ref":"#/$defs/n"})")});
  all.push_back(
      {"long text",
       schema(R"({"type":"object","properties":{"summary":{"type":"string","minLength":10,"maxLength":1000}},"required":["summary"]})")});
  all.push_back(
      {"map",
       schema(R"({"type":"object","properties":{"id":{"type":"integer"}},"required":["id"],"additionalProperties":{"type":"string"}})")});
  all.push_back({"regex", regex_grammar(R"((?:[A-Z][a-z]+ ){2,5}lives in [A-Z][a-z]+(?:, aged \d{1,3})?\.)")});
  all.push_back(
      {"bnf",
       read_bnf("root ::= line+\nline ::= word (\" \" word)* \".\\n\"\nword ::= [a-zA-Z]+ | [0-9]+ | \"\\\"\" [^\"\\n]* \"\\\"\"\n")});
  return all;
}

bool is_set(std::span<const uint32_t> mask, TokenId id) { return (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0; }

// The first allowed token from `id` on, round the end.
std::optional<TokenId> allowed_from(std::span<const uint32_t> mask, TokenId id) {
  const size_t first = static_cast<size_t>(id) / 32;
  for (size_t i = 0; i < mask.size(); ++i) {
    const size_t word = (first + i) % mask.size();
    if (mask[word] != 0) return static_cast<TokenId>(word * 32 + static_cast<size_t>(std::countr_zero(mask[word])));
  }
  return std::nullopt;
}

// Answers of random tokens; what closes is taken more often, so that they end. Times of each mask and step.
std::vector<double> times_of(TokenMasks& masks, const Tokenizer& tokenizer, std::mt19937& random) {
  std::vector<double> times;
  for (int round = 0; round < 10; ++round) {
    TokenMasks::State state = masks.start();
    for (int step = 0; step < 150; ++step) {
      double start = monotonic_seconds();
      const std::span<const uint32_t> mask = masks.mask(state);
      double time = monotonic_seconds() - start;
      std::optional<TokenId> found = allowed_from(mask, static_cast<TokenId>(random() % tokenizer.num_tokens()));
      if (!found) {
        EXPECT_TRUE(masks.may_end(state));
        break;
      }
      TokenId next = *found;
      for (const char closing : {'"', ']', '}'}) {
        const std::vector<TokenId> ids = tokenizer.encode(std::string(1, closing), Tokenizer::Specials::as_text);
        if (ids.size() == 1 && is_set(mask, ids[0]) && random() % 8 == 0) next = ids[0];
      }
      start = monotonic_seconds();
      state = masks.after(state, tokenizer.bytes(next));
      times.push_back(time + monotonic_seconds() - start);
    }
  }
  return times;
}

TEST(TokenMasks, CostOverTheVocabularyOfQwen) {
  const std::shared_ptr<const Tokenizer> tokenizer = std::make_shared<Tokenizer>(qwen_vocabulary());
  const auto trie = std::make_shared<const TokenTrie>(*tokenizer);
  std::mt19937 random(5);
  std::vector<double> all;
  for (NamedGrammar& each : everyday_grammars()) {
    const double start = monotonic_seconds();
    TokenMasks masks(std::make_shared<const Grammar>(std::move(each.grammar)), trie, 10);
    const double prepared = monotonic_seconds() - start;
    std::vector<double> times = times_of(masks, *tokenizer, random);
    std::ranges::sort(times);
    all.insert(all.end(), times.begin(), times.end());
    std::printf("%-12s made in %6.1f ms; a mask: median %5.1f us, P99 %6.1f us, most %7.1f us; %zu states\n", each.name, prepared * 1e3,
                times[times.size() / 2] * 1e6, times[times.size() * 99 / 100] * 1e6, times.back() * 1e6, masks.num_states());
  }
  std::ranges::sort(all);
  std::printf("all          %zu masks of %zu tokens: median %.1f us, P99 %.1f us\n", all.size(), tokenizer->num_tokens(),
              all[all.size() / 2] * 1e6, all[all.size() * 99 / 100] * 1e6);
  EXPECT_LT(all[all.size() / 2], 0.001);  // far above what it is: other programs may run
}

// Each bit of a mask is what the token's bytes say.
TEST(TokenMasks, MasksAreWhatTheBytesSay) {
  const std::shared_ptr<const Tokenizer> tokenizer = std::make_shared<Tokenizer>(qwen_vocabulary());
  const auto trie = std::make_shared<const TokenTrie>(*tokenizer);
  const std::pair<const char*, const char*> starts[] = {
      {R"({"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}},"required":["a","b"]})", R"({"a": "x)"},
      {R"({"type":"object","properties":{"a":{"type":"string","maxLength":60}}})", R"({"a": "x)"},
      {R"({"type":"object","properties":{"a":{"type":"string","pattern":"^[a-z]+( [a-z]+)*$"}}})", R"({"a": "x)"},
      {R"({"type":"object","properties":{"a":{"type":"null"}},"additionalProperties":true})", R"({"a": null, ")"},
      {R"({"type":"object","properties":{"a":{"enum":["x"," y"]}},"required":["a"]})",
       ""},  // white space, behind which any token may go on
  };
  for (const auto& [text, begin] : starts) {
    TokenMasks masks(std::make_shared<const Grammar>(schema(text)), trie);
    const TokenMasks::State state = masks.after(masks.start(), begin);
    ASSERT_NE(state, TokenMasks::kDead) << begin;
    const std::span<const uint32_t> found = masks.mask(state);
    const std::vector<uint32_t> mask(found.begin(), found.end());
    for (size_t id = 0; id < tokenizer->num_tokens(); ++id) {
      const auto token = static_cast<TokenId>(id);
      if (tokenizer->is_control(token) || tokenizer->bytes(token).empty()) continue;
      ASSERT_EQ(is_set(mask, token), masks.after(state, tokenizer->bytes(token)) != TokenMasks::kDead) << text << ": token " << id;
    }
  }
}

}  // namespace
}  // namespace quern
