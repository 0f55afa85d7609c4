// Character classes and NFC against known values and Unicode's own rules.
#include "text/unicode.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <random>

#include "base/utf8.h"

namespace quern {
namespace {

// Processor time, so that a busy machine changes nothing.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

TEST(Unicode, Classes) {
  struct Case {
    char32_t c;
    uint8_t bits;
  };
  for (const Case& c : std::initializer_list<Case>{
           {'a', kLetterBit},
           {'Z', kLetterBit},
           {'5', kNumberBit},
           {' ', kSpaceBit},
           {'\n', kSpaceBit},
           {0x1c, 0},
           {0x85, kSpaceBit},
           {0xa0, kSpaceBit},
           {0xaa, kLetterBit},
           {0xb2, kNumberBit},
           {0xbc, kNumberBit},
           {0x17f, kLetterBit},
           {0x300, 0},
           {0x660, kNumberBit},
           {0x1680, kSpaceBit},
           {0x180e, 0},
           {0x200a, kSpaceBit},
           {0x200b, 0},
           {0x2028, kSpaceBit},
           {0x202f, kSpaceBit},
           {0x2160, kNumberBit},
           {0x3000, kSpaceBit},
           {0x3007, kNumberBit},
           {0x4e00, kLetterBit},
           {0xac00, kLetterBit},
           {0xe000, 0},
           {0x1f600, 0},
           {0x1c89, kLetterBit},
           {0x10d40, kNumberBit},
           {0x105c9, kLetterBit},
           {0x2ebf0, kLetterBit},
           {0x10ffff, 0},
       }) {
    EXPECT_EQ(character_bits(c.c) & (kLetterBit | kNumberBit | kSpaceBit), c.bits) << std::hex << static_cast<uint32_t>(c.c);
  }
  size_t letters = 0, numbers = 0, spaces = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    letters += (character_bits(c) & kLetterBit) != 0;
    numbers += (character_bits(c) & kNumberBit) != 0;
    spaces += (character_bits(c) & kSpaceBit) != 0;
  }
  EXPECT_EQ(letters, 141028U);  // Unicode 16.0
  EXPECT_EQ(numbers, 1911U);
  EXPECT_EQ(spaces, 25U);
}

TEST(Unicode, NfcOfKnownTexts) {
  struct Case {
    const char *text, *want;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"", ""},
           {"plain", "plain"},
           {"e\u0301", "\u00e9"},
           {"\u00e9", "\u00e9"},
           {"a\u0323\u0307", "\u1ea1\u0307"},
           {"a\u0307\u0323", "\u1ea1\u0307"},  // reordered
           {"\u0344", "\u0308\u0301"},         // excluded from composition
           {"\u2126", "\u03a9"},               // singleton
           {"\u212b", "\u00c5"},               // singleton of a composite
           {"\u1100\u1161", "\uac00"},         // Hangul
           {"\u1100\u1161\u11a8", "\uac01"},
           {"\uac00\u11a8", "\uac01"},
           {"\uac01\u11a8", "\uac01\u11a8"},
           {"\u0958", "\u0915\u093c"},
           {"\u0301e", "\u0301e"},  // a mark with nothing before it
           {"q\u0323\u0307", "q\u0323\u0307"},
           {"q\u0307\u0323", "q\u0323\u0307"},
           {"x\u0301\u0345\u0334y", "x\u0334\u0301\u0345y"},
           {"\U0001d15e", "\U0001d157\U0001d165"},
           {"\uf900", "\u8c48"},
           {"\u0b47\u0300\u0b3e", "\u0b47\u0300\u0b3e"},  // blocked
           {"\U000105d2\u0307", "\U000105d2\u0307"},      // composes from Unicode 16 on only
       }) {
    EXPECT_EQ(nfc(c.text), c.want) << c.text;
    EXPECT_TRUE(!is_certainly_nfc(c.text) || c.text == std::string(c.want)) << c.text;
  }
}

TEST(Unicode, OrderOfMarksOfOtherClassesDoesNotMatter) {
  const std::vector<std::string> marks = {"\u0301", "\u0323", "\u0334", "\u0345", "\u05b0", "\u3099", "\u093c"};  // seven classes
  std::mt19937 rng(7);
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> some = marks;
    std::shuffle(some.begin(), some.end(), rng);
    some.resize(1 + rng() % some.size());
    const char* base[] = {"a", "e", "\u304b", "\u0928", "\u1100"};
    const std::string start = base[rng() % 5];
    std::string first = start, second = start;
    for (const auto& mark : some) first += mark;
    std::shuffle(some.begin(), some.end(), rng);
    for (const auto& mark : some) second += mark;
    ASSERT_EQ(nfc(first), nfc(second)) << round;
    ASSERT_EQ(nfc(nfc(first)), nfc(first)) << round;
  }
}

TEST(Unicode, RandomTextsAreStable) {
  std::mt19937 rng(11);
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (int i = static_cast<int>(rng() % 12); i >= 0; --i) {
      const uint32_t pool = rng() % 4;
      char32_t c = pool == 0 ? rng() % 0x250 : pool == 1 ? 0x300 + rng() % 0x70 : pool == 2 ? 0x1100 + rng() % 0x100 : rng() % 0x110000;
      if (c >= 0xd800 && c < 0xe000) c = 'x';
      utf8_append(text, c);
    }
    const std::string once = nfc(text);
    ASSERT_EQ(utf8_first_invalid(once), std::string::npos);
    ASSERT_EQ(nfc(once), once) << round;
    ASSERT_TRUE(!is_certainly_nfc(text) || once == text) << round;
  }
}

TEST(Unicode, LongRunsOfMarksAreFast) {
  std::string text = "a";
  for (int i = 0; i < 1'000'000; ++i) text += i % 2 == 0 ? "\u0301" : "\u0323";
  const double start = cpu_seconds();
  const std::string normal = nfc(text);
  EXPECT_LT(cpu_seconds() - start, 2.0);     // about 0.1 s; a quadratic sort takes hours
  EXPECT_EQ(normal.substr(0, 3), "\u1ea1");  // a with the dot below: lower classes come first
  EXPECT_EQ(normal.size(), text.size() - 1 - 2 + 3);
}

}  // namespace
}  // namespace quern
