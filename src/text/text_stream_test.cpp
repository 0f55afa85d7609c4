// Streaming against the whole: the pieces are valid UTF-8 and join to the repaired text up to the first stop string.
#include "text/text_stream.h"

#include <gtest/gtest.h>

#include <random>

#include "base/utf8.h"
#include "text/test_vocabulary.h"

namespace quern {
namespace {

struct Streamed {
  std::vector<std::string> pieces;  // the last one is finish()
  std::string text;
  std::string stop;
};
Streamed stream(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, const std::vector<std::string>& stops, bool skip = true,
                bool starts = false) {
  TextStream stream(tokenizer, stops, skip, starts);
  Streamed s;
  for (const TokenId id : ids) s.pieces.push_back(stream.push(id));
  s.pieces.push_back(stream.finish());
  for (const std::string& piece : s.pieces) {
    EXPECT_EQ(utf8_first_invalid(piece), std::string::npos);
    s.text += piece;
  }
  if (stream.stop_found() != nullptr) s.stop = *stream.stop_found();
  return s;
}

std::vector<TokenId> bytes_of(std::string_view text) {
  std::vector<TokenId> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

TEST(TextStream, HoldsBackWhatIsNotCertain) {
  const Tokenizer tokenizer(small_vocabulary({}));
  using Pieces = std::vector<std::string>;
  EXPECT_EQ(stream(tokenizer, bytes_of("a根b"), {}).pieces, (Pieces{"a", "", "", "根", "b", ""}));
  EXPECT_EQ(stream(tokenizer, bytes_of("\xf0\x9f\x98\x80"), {}).pieces, (Pieces{"", "", "", "😀", ""}));
  EXPECT_EQ(stream(tokenizer, bytes_of("\xe4\xb8"), {}).pieces, (Pieces{"", "", "\ufffd"}));
  EXPECT_EQ(stream(tokenizer,
                   bytes_of("\xe4"
                            "a"),
                   {})
                .pieces,
            (Pieces{"", "\ufffda", ""}));
  EXPECT_EQ(stream(tokenizer, bytes_of("\xe0\x80"), {}).pieces, (Pieces{"", "\ufffd\ufffd", ""}));
  EXPECT_EQ(stream(tokenizer,
                   bytes_of("\xff"
                            "b"),
                   {})
                .pieces,
            (Pieces{"\ufffd", "b", ""}));
  EXPECT_EQ(stream(tokenizer, bytes_of("x</s>y"), {"</s>"}).pieces, (Pieces{"x", "", "", "", "", "", ""}));
  EXPECT_EQ(stream(tokenizer, bytes_of("x</b"), {"</s>"}).pieces, (Pieces{"x", "", "", "</b", ""}));
  EXPECT_EQ(stream(tokenizer, bytes_of("x</s"), {"</s>"}).pieces, (Pieces{"x", "", "", "", "</s"}));
}

TEST(TextStream, StopStrings) {
  const Tokenizer tokenizer(small_vocabulary({"ab", "abc", "bc"}));
  struct Case {
    std::vector<TokenId> ids;
    std::vector<std::string> stops;
    std::string text, stop;
  };
  for (const Case& c : std::initializer_list<Case>{
           {bytes_of("hello"), {""}, "hello", ""},
           {bytes_of("aab"), {"ab"}, "a", "ab"},
           {bytes_of("aaaab"), {"aaab"}, "a", "aaab"},
           {bytes_of("abababc"), {"ababc"}, "ab", "ababc"},
           {{'x', 257, 'y'}, {"bc"}, "xa", "bc"},        // inside one token
           {{'x', 256, 'c', 'y'}, {"bc"}, "xa", "bc"},   // over two tokens
           {bytes_of("xyz"), {"yz", "xyz"}, "", "xyz"},  // both end at z: the one that starts first
           {bytes_of("abcdef"), {"abcdefg", "cd"}, "ab", "cd"},
           {bytes_of("abcabd"), {"abd", "bcabx"}, "abc", "abd"},
           {bytes_of("q\xe6\xa0\xb9z"), {"根"}, "q", "根"},
           {bytes_of("a\xff!"), {"\ufffd!"}, "a", "\ufffd!"},
           {bytes_of("stop"), {"stop"}, "", "stop"},
       }) {
    const Streamed s = stream(tokenizer, c.ids, c.stops);
    EXPECT_EQ(s.text, c.text);
    EXPECT_EQ(s.stop, c.stop) << c.text;
  }
}

TEST(TextStream, ControlTokensAndSpaces) {
  TokenizerData data = small_vocabulary({" a"});
  const TokenId end = add_special(data, "<|end|>"), think = add_special(data, "<think>", false);
  data.prefix = TokenizerData::Prefix::each;
  const Tokenizer tokenizer(std::move(data));
  EXPECT_EQ(stream(tokenizer, {'a', end, think, 'b', 99999}, {}).text, "a<think>b");
  EXPECT_EQ(stream(tokenizer, {'a', end}, {}, false).text, "a<|end|>");
  EXPECT_EQ(stream(tokenizer, {end, 256, 256}, {}, true, true).text, "a a");
  EXPECT_EQ(stream(tokenizer, {256, 256}, {}, true, false).text, " a a");
}

// The definition: the repaired text, cut before the stop string that ends first (of several the one that starts first).
std::string cut(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t start = std::string::npos;
    for (const std::string& stop : stops) {
      if (stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0) start = std::min(start, end - stop.size());
    }
    if (start != std::string::npos) return text.substr(0, start);
  }
  return text;
}

TEST(TextStream, RandomStreamsEqualTheWhole) {
  const Tokenizer tokenizer(small_vocabulary({"ab", "aba", "\xe6\xa0", "\xa0\xb9", "b\xe6"}));
  const std::string alphabet = "abc\xe6\xa0\xb9\xf0\x9f\x98\x80\xff\xe0\xed\xc3\xa9";
  std::mt19937 rng(13);
  for (int round = 0; round < 30'000; ++round) {
    std::vector<TokenId> ids;
    std::string bytes;
    for (uint32_t i = rng() % 20; i > 0; --i) {
      ids.push_back(rng() % 4 == 0 ? static_cast<TokenId>(256 + rng() % 5) : static_cast<unsigned char>(alphabet[rng() % alphabet.size()]));
      bytes += tokenizer.bytes(ids.back());
    }
    std::vector<std::string> stops;
    for (uint32_t i = rng() % 3; i > 0; --i) {
      const char* choices[] = {"ab", "aba", "bab", "根", "\ufffd", "c根", "abaab", "é", "aa"};
      stops.emplace_back(choices[rng() % std::size(choices)]);
    }
    ASSERT_EQ(stream(tokenizer, ids, stops).text, cut(utf8_repaired(bytes), stops)) << "round " << round;
  }
}

}  // namespace
}  // namespace quern
