// The scanners against hand-worked splits of the patterns, and as a partition of any text.
#include "text/splitter.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "base/utf8.h"

namespace quern {
namespace {

using Splitter = TokenizerData::Splitter;
using Pieces = std::vector<std::string>;

Pieces split(Splitter splitter, std::string_view text) {
  Pieces pieces;
  PieceScanner scanner(splitter, text);
  for (std::string_view piece = scanner.next(); !piece.empty(); piece = scanner.next()) pieces.emplace_back(piece);
  return pieces;
}

TEST(Splitter, Qwen2) {
  struct Case {
    const char* text;
    Pieces want;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"", {}},
           {"Hello world", {"Hello", " world"}},
           {"don't I'LL we'Ve 'sx", {"don", "'t", " I", "'LL", " we", "'Ve", " '", "sx"}},
           {"'sx", {"'s", "x"}},
           {"'\u017fx", {"'\u017f", "x"}},
           {"'xyz", {"'xyz"}},
           {"123 4a", {"1", "2", "3", " ", "4", "a"}},
           {"!a ?!b", {"!a", " ?!", "b"}},
           {"a\n\n  b", {"a", "\n\n", " ", " b"}},
           {"a  \n \n  ", {"a", "  \n \n", "  "}},
           {"x   y", {"x", "  ", " y"}},
           {"x   ", {"x", "   "}},
           {"x \t y", {"x", " \t", " y"}},
           {"\ta", {"\ta"}},
           {"\na", {"\n", "a"}},
           {"...\r\n\nq", {"...\r\n\n", "q"}},
           {" ...", {" ..."}},
           {"\u00a0\u00a0...", {"\u00a0", "\u00a0", "..."}},
           {"\u3000中文", {"\u3000中文"}},
           {"e\u0301a", {"e", "\u0301a"}},
           {"\u00bd\u0664", {"\u00bd", "\u0664"}},
           {" \u0661", {" ", "\u0661"}},
       }) {
    EXPECT_EQ(split(Splitter::qwen2, c.text), c.want) << c.text;
  }
}

TEST(Splitter, OthersWhereTheyDiffer) {
  EXPECT_EQ(split(Splitter::llama3, "12345 6"), (Pieces{"123", "45", " ", "6"}));
  EXPECT_EQ(split(Splitter::gpt2, "12345 67 ab'S"), (Pieces{"12345", " 67", " ab", "'", "S"}));
  EXPECT_EQ(split(Splitter::gpt2, "!a\n\nb it's"), (Pieces{"!", "a", "\n", "\n", "b", " it", "'s"}));
  EXPECT_EQ(split(Splitter::gpt2, "a   b  "), (Pieces{"a", "  ", " b", "  "}));
  EXPECT_EQ(split(Splitter::smollm, "ab 12  3"), (Pieces{"ab", " ", "1", "2", "  ", "3"}));
  EXPECT_EQ(split(Splitter::smollm, "x\u00bd y"), (Pieces{"x", "\u00bd", " y"}));
  EXPECT_EQ(split(Splitter::none, "a b 1"), (Pieces{"a b 1"}));
}

TEST(Splitter, PiecesJoinToTheText) {
  std::mt19937 rng(5);
  const char32_t pool[] = {' ', ' ', '\n', '\r', '\t', '\'', 's', 'L', 'a', '1', '!', 0x301, 0xa0, 0x17f, 0x3000, 0x4e00, 0x1f600, 0xbd};
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (uint32_t i = rng() % 16; i > 0; --i) utf8_append(text, pool[rng() % std::size(pool)]);
    for (const Splitter splitter : {Splitter::none, Splitter::qwen2, Splitter::gpt2, Splitter::smollm, Splitter::llama3}) {
      std::string joined;
      for (const std::string& piece : split(splitter, text)) {
        ASSERT_EQ(utf8_first_invalid(piece), std::string::npos);
        joined += piece;
      }
      ASSERT_EQ(joined, text) << round;
    }
  }
}

TEST(Splitter, PatternsByTheirText) {
  EXPECT_EQ(splitter_of_pattern(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"), Splitter::gpt2);
  EXPECT_EQ(splitter_of_pattern("\\s+"), std::nullopt);
  EXPECT_EQ(splitter_of_gguf("qwen2"), Splitter::qwen2);
  EXPECT_EQ(splitter_of_gguf("smollm"), Splitter::smollm);
  EXPECT_EQ(splitter_of_gguf("qwen35"), std::nullopt);
}

}  // namespace
}  // namespace quern
