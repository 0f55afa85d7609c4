// The packed form: the same tokenizer, the same bytes, in time, and never more than an error for broken bytes.
#include <gtest/gtest.h>

#include <ctime>
#include <random>

#include "base/error.h"
#include "text/test_vocabulary.h"

namespace quern {
namespace {

// Processor time, so that a busy machine changes nothing.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

TokenizerData sample() {
  TokenizerData data = small_vocabulary({"ab", "abc", "zz", "zzzz"});
  data.tokens.emplace_back();
  add_special(data, "<|end|>");
  add_special(data, "<think>", false);
  data.bos = 1;
  data.nfc = true;
  return data;
}

void expect_equal(const TokenizerData& a, const TokenizerData& b) {
  EXPECT_EQ(a.kind, b.kind);
  EXPECT_EQ(a.splitter, b.splitter);
  EXPECT_EQ(a.prefix, b.prefix);
  EXPECT_EQ(a.nfc, b.nfc);
  EXPECT_EQ(a.whole_pieces, b.whole_pieces);
  EXPECT_EQ(a.origin, b.origin);
  EXPECT_EQ(a.bos, b.bos);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.byte_tokens, b.byte_tokens);
  ASSERT_EQ(a.merges.size(), b.merges.size());
  for (size_t i = 0; i < a.merges.size(); ++i) {
    EXPECT_EQ(a.merges[i].left, b.merges[i].left);
    EXPECT_EQ(a.merges[i].right, b.merges[i].right);
    EXPECT_EQ(a.merges[i].result, b.merges[i].result);
  }
  ASSERT_EQ(a.specials.size(), b.specials.size());
  for (size_t i = 0; i < a.specials.size(); ++i) {
    EXPECT_EQ(a.specials[i].id, b.specials[i].id);
    EXPECT_EQ(a.specials[i].text, b.specials[i].text);
    EXPECT_EQ(a.specials[i].control, b.specials[i].control);
    EXPECT_EQ(a.specials[i].normalized, b.specials[i].normalized);
  }
}

TEST(TokenizerPacked, RoundTrip) {
  TokenizerData out_of_order = sample();
  std::swap(out_of_order.merges[0], out_of_order.merges[1]);  // a token's merge before that of its part
  for (const TokenizerData& data : {sample(), out_of_order}) {
    const Tokenizer tokenizer{TokenizerData(data)};
    const std::vector<std::byte> packed = tokenizer.packed();
    const Tokenizer again = Tokenizer::unpack(packed, "test");
    expect_equal(data, again.data());
    EXPECT_EQ(again.packed(), packed);
  }
}

TEST(TokenizerPacked, QwenLoadsInTime) {
  TokenizerData data = qwen_vocabulary();
  add_generation(data, "qwen3");
  data.tokens.resize(151936);
  const std::vector<std::byte> packed = Tokenizer(std::move(data)).packed();
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const double start = cpu_seconds();
    const Tokenizer tokenizer = Tokenizer::unpack(packed, "test");
    best = std::min(best, cpu_seconds() - start);
    EXPECT_EQ(tokenizer.num_tokens(), 151936U);
  }
  std::printf("151,936 tokens: %zu bytes packed, unpacked in %.1f ms\n", packed.size(), best * 1e3);
  EXPECT_LT(best, 0.6);  // 0.025 s; ten times the promise of 60 ms for sanitizers
}

TEST(TokenizerPacked, EveryTruncationIsRefused) {
  const std::vector<std::byte> packed = Tokenizer(sample()).packed();
  size_t refused = 0;
  for (size_t size = 0; size < packed.size(); ++size) {
    try {
      Tokenizer::unpack(std::span(packed).first(size), "test");
      ADD_FAILURE() << "the first " << size << " of " << packed.size() << " bytes load";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), invalid_input);
      ++refused;
    }
  }
  std::printf("%zu of %zu truncations refused\n", refused, packed.size());
}

TEST(TokenizerPacked, BrokenBytesAreRefusedOrHarmless) {
  const std::vector<std::byte> packed = Tokenizer(sample()).packed();
  std::mt19937 rng(4);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> broken = packed;
    for (uint32_t flips = 1 + rng() % 3; flips > 0; --flips) {
      broken[rng() % broken.size()] = static_cast<std::byte>(rng() % 256);
    }
    try {
      const Tokenizer tokenizer = Tokenizer::unpack(broken, "test");
      tokenizer.decode(tokenizer.encode("abc zzzz <|end|> \xff", Tokenizer::Specials::all, true), false);
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == invalid_input || error.code() == incompatible) << error.message();
    }
  }
}

TEST(TokenizerPacked, NewerVersionsAreNamed) {
  std::vector<std::byte> packed = Tokenizer(sample()).packed();
  packed[8] = std::byte{9};
  try {
    Tokenizer::unpack(packed, "x.quern");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), incompatible);
    EXPECT_NE(error.message().find("version 1, found 9"), std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace quern
