// Special tokens, prefixes, byte fallback and broken input, on small vocabularies.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <ctime>

#include "base/error.h"
#include "text/test_vocabulary.h"
#include "text/vocabulary_files.h"

namespace quern {
namespace {

// Processor time, so that a busy machine changes nothing.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

using Ids = std::vector<TokenId>;
using Kind = TokenizerData::Kind;
using Prefix = TokenizerData::Prefix;
using Specials = Tokenizer::Specials;

struct Marked {
  Tokenizer tokenizer;
  TokenId end, end_long, think;
};
Marked marked() {
  TokenizerData data = small_vocabulary({"ab", " ab"});
  const TokenId end = add_special(data, "<|end|>"), end_long = add_special(data, "<|end|>>"), think = add_special(data, "<think>", false);
  return {Tokenizer(std::move(data)), end, end_long, think};
}

TEST(Tokenizer, SpecialTokensByMode) {
  const Marked m = marked();
  const std::string text = "ab<|end|>ab<think> ab";
  EXPECT_EQ(m.tokenizer.encode(text, Specials::all), (Ids{256, m.end, 256, m.think, 257}));
  const Ids end_as_text = m.tokenizer.encode("ab<|end|>ab", Specials::as_text);
  EXPECT_EQ(end_as_text.size(), 9U);  // ab and seven bytes... and ab in one piece with ">"
  Ids want = end_as_text;
  want.push_back(m.think);
  want.push_back(257);
  EXPECT_EQ(m.tokenizer.encode(text, Specials::not_control), want);
  EXPECT_EQ(m.tokenizer.decode(m.tokenizer.encode(text, Specials::all), true), "abab<think> ab");
  EXPECT_EQ(m.tokenizer.decode(m.tokenizer.encode(text, Specials::all), false), text);
  EXPECT_EQ(m.tokenizer.decode(m.tokenizer.encode(text, Specials::as_text), true), text);
}

TEST(Tokenizer, TheLongestOfTheLeftmost) {
  const Marked m = marked();
  EXPECT_EQ(m.tokenizer.encode("<|end|>>", Specials::all), (Ids{m.end_long}));
  EXPECT_EQ(m.tokenizer.encode("<|end|>", Specials::all), (Ids{m.end}));
  EXPECT_EQ(m.tokenizer.encode("<<|end|>", Specials::all), (Ids{'<', m.end}));
  EXPECT_EQ(m.tokenizer.encode("<|end|><|end|>>>", Specials::all), (Ids{m.end, m.end_long, '>'}));
  EXPECT_EQ(m.tokenizer.encode("<|en<|end|", Specials::all).size(), 10U);
}

TEST(Tokenizer, UserTextNeverMakesControlTokens) {
  const Marked m = marked();
  const auto mixed = [&](std::string_view text, std::vector<std::pair<size_t, size_t>> user) {
    return m.tokenizer.encode_mixed(text, user);
  };
  EXPECT_EQ(mixed("<|end|>ab<|end|>", {}), (Ids{m.end, 256, m.end}));
  const Ids as_text = m.tokenizer.encode("<|end|>", Specials::as_text);
  EXPECT_EQ(mixed("<|end|>", {{0, 7}}), as_text);
  EXPECT_EQ(mixed("<|end|>", {{6, 7}}), as_text);  // one byte is enough
  EXPECT_EQ(mixed("<|end|>", {{0, 1}}), as_text);
  EXPECT_EQ(mixed("<|end|>>", {{7, 8}}), (Ids{m.end, '>'}));  // the long one would take a user's byte
  EXPECT_EQ(mixed("<think><|end|>ab", {{0, 7}, {14, 16}}), (Ids{m.think, m.end, 256}));
  EXPECT_EQ(mixed(" ab", {{1, 2}}), (Ids{257}));  // no split at the borders
  EXPECT_EQ(mixed("\xff<|end|>\xc3", {{0, 1}, {8, 9}}), (Ids{0xef, 0xbf, 0xbd, m.end, 0xef, 0xbf, 0xbd}));
}

TEST(Tokenizer, InvalidUtf8IsReadAsReplacementCharacters) {
  const Tokenizer tokenizer(small_vocabulary({}));
  struct Case {
    std::string text, want;
  };
  for (const Case& c : std::initializer_list<Case>{{"a\xff"
                                                    "b",
                                                    "a\ufffdb"},
                                                   {"\xe4\xb8", "\ufffd"},
                                                   {"\xc0\x80", "\ufffd\ufffd"},
                                                   {"\xed\xa0\x80", "\ufffd\ufffd\ufffd"},
                                                   {"\xf0\x9f\x98", "\ufffd"},
                                                   {"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"},
                                                   {std::string("\0", 1), std::string("\0", 1)},
                                                   {"\U0010ffff", "\U0010ffff"}}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(c.text, Specials::all), false), c.want);
  }
}

TEST(Tokenizer, NormalizedAddedTokensAreFoundAfterNfc) {
  TokenizerData data = small_vocabulary({});
  data.nfc = true;
  const TokenId late = add_special(data, "caf\u00e9", false), early = add_special(data, "th\u00e9", false);
  data.specials[0].normalized = true;
  const Tokenizer tokenizer(std::move(data));
  EXPECT_EQ(tokenizer.encode("cafe\u0301", Specials::all), (Ids{late}));
  EXPECT_EQ(tokenizer.encode("th\u00e9", Specials::all), (Ids{early}));
  EXPECT_EQ(tokenizer.encode("the\u0301", Specials::all), (Ids{'t', 'h', 0xc3, 0xa9}));
}

TEST(Tokenizer, IdsOutOfRangeAndPaddingGiveNothing) {
  TokenizerData data = small_vocabulary({});
  data.tokens.emplace_back();
  const Tokenizer tokenizer(std::move(data));
  EXPECT_EQ(tokenizer.num_tokens(), 257U);
  for (const TokenId id : {-1, 256, 257, 1 << 30}) {
    EXPECT_EQ(tokenizer.bytes(id), "") << id;
    EXPECT_FALSE(tokenizer.is_control(id));
  }
  EXPECT_EQ(tokenizer.decode(Ids{'a', 256, -5, 'b', 1 << 30}, true), "ab");
}

// A SentencePiece vocabulary: <unk>, <s>, </s>, the 256 bytes, then pieces by score.
TokenizerData sentence_pieces(const std::vector<std::string_view>& pieces, bool add_space = true) {
  static const std::vector<std::string> byte_names = [] {
    std::vector<std::string> names;
    const char* digits = "0123456789ABCDEF";
    for (int byte = 0; byte < 256; ++byte) names.push_back(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">");
    return names;
  }();
  std::vector<std::string_view> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  for (const std::string& name : byte_names) tokens.push_back(name), types.push_back(6);
  for (const std::string_view piece : pieces) tokens.push_back(piece), types.push_back(1);
  std::vector<float> scores(tokens.size());
  for (size_t i = 259; i < scores.size(); ++i) scores[i] = -static_cast<float>(i);
  return tokenizer_data_from_gguf({.architecture = "llama",
                                   .model = "llama",
                                   .pre = "",
                                   .tokens = tokens,
                                   .token_types = types,
                                   .scores = scores,
                                   .merges = {},
                                   .bos_id = 1,
                                   .add_bos = std::nullopt,
                                   .add_space_prefix = add_space},
                                  "test.gguf");
}

TEST(Tokenizer, SentencePieceText) {
  // ▁ a b c ab ▁ab ▁abc: ids 259 to 265
  const Tokenizer tokenizer(sentence_pieces({"▁", "a", "b", "c", "ab", "▁ab", "▁abc"}));
  EXPECT_EQ(tokenizer.encode("ab", Specials::all), (Ids{264}));
  EXPECT_EQ(tokenizer.encode("abc abab", Specials::all), (Ids{265, 264, 263}));
  EXPECT_EQ(tokenizer.encode(" ab", Specials::all), (Ids{259, 264}));
  EXPECT_EQ(tokenizer.encode("a\u00e9", Specials::all), (Ids{259, 260, 3 + 0xc3, 3 + 0xa9}));
  EXPECT_EQ(tokenizer.encode("ab</s>ab", Specials::all), (Ids{264, 2, 264}));
  EXPECT_EQ(tokenizer.encode("ab", Specials::all, true), (Ids{1, 264}));
  EXPECT_EQ(tokenizer.encode("", Specials::all), (Ids{}));
  for (const char* text : {"ab", " ab", "abc abab  c", "\u00e9\n", "x\u2581y"}) {
    const Ids ids = tokenizer.encode(text, Specials::as_text, true);
    EXPECT_EQ(tokenizer.decode(ids, true), std::string(text) == "x\u2581y" ? "x y" : text);
  }
  EXPECT_EQ(tokenizer.bytes(265), " abc");
  const Tokenizer plain(sentence_pieces({"▁", "a", "b", "c", "ab", "▁ab", "▁abc"}, false));
  EXPECT_EQ(plain.encode("ab ab", Specials::all), (Ids{263, 264}));
}

TEST(Tokenizer, SentencePieceWithSpacesInsideTokens) {
  const Tokenizer tokenizer(sentence_pieces({"▁", "a", "b", "▁b", "a▁b"}));  // the whole text is one piece here
  EXPECT_EQ(tokenizer.encode("a b", Specials::all), (Ids{259, 263}));
}

// Eight times the text takes about eight times the time; what grows with the square takes 64 times. The least of several runs each.
TEST(Tokenizer, LongPiecesAreLinear) {
  TokenizerData data = qwen_vocabulary();
  const Tokenizer tokenizer(std::move(data));
  for (const std::string& unit : {std::string("a"), std::string("^"), std::string(" "), std::string("根"), std::string("\u0301")}) {
    const auto seconds_of = [&](size_t bytes, int runs) {
      std::string text;
      while (text.size() < bytes) text += unit;
      double least = 1e9;
      for (int run = 0; run < runs; ++run) {
        const double start = cpu_seconds();
        const Ids ids = tokenizer.encode(text, Specials::all);
        least = std::min(least, cpu_seconds() - start);
        EXPECT_EQ(tokenizer.decode(ids, false), text);
      }
      return least;
    };
    const double small = seconds_of(size_t{128} << 10, 4), large = seconds_of(size_t{1} << 20, 2);
    EXPECT_LT(large, 24 * small) << unit;
  }
}

TEST(Tokenizer, RefusesBrokenData) {
  const auto refused = [](const char* what, auto change) {
    TokenizerData data = small_vocabulary({"ab", "abc"});
    add_special(data, "<x>");
    change(data);
    try {
      const Tokenizer tokenizer(std::move(data), "file");
      ADD_FAILURE() << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), invalid_input) << what;
      EXPECT_NE(error.message().find(what), std::string::npos) << error.message();
    }
  };
  refused("byte 0x41", [](TokenizerData& d) { d.byte_tokens[0x41] = -1; });
  refused("byte 0x41", [](TokenizerData& d) { d.byte_tokens[0x41] = 0x42; });
  refused("byte 0x41", [](TokenizerData& d) { d.byte_tokens[0x41] = 1 << 30; });
  refused("merge 0", [](TokenizerData& d) { d.merges[0].left = -1; });
  refused("merge 1", [](TokenizerData& d) { d.merges[1].right = 9999; });
  refused("merge 1", [](TokenizerData& d) { d.merges[1].result = 256; });
  refused("merge 2", [](TokenizerData& d) { d.merges.push_back(d.merges[0]); });
  refused("added token 258: its text is empty", [](TokenizerData& d) { d.specials[0].text = ""; });
  refused("at most 1024 bytes", [](TokenizerData& d) { d.specials[0].text.assign(2000, 'x'); });
  refused("not UTF-8", [](TokenizerData& d) { d.specials[0].text = "\xff"; });
  refused("id below", [](TokenizerData& d) { d.specials[0].id = 300; });
  refused("id 65 is \"A\" in the vocabulary", [](TokenizerData& d) { d.specials[0].id = 65; });
  refused("another added token's too", [](TokenizerData& d) { d.specials.push_back(d.specials[0]); });
  refused("two ids", [](TokenizerData& d) { add_special(d, "<x>"); });
  refused("bos", [](TokenizerData& d) { d.bos = 5000; });
  refused("from 1 to", [](TokenizerData& d) { d.tokens.clear(); });
}

}  // namespace
}  // namespace quern
