// All 941 cases of each generation against the reference tokenizers (tools/make_tokenizer_goldens.py), and the round trip to NFC.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "base/json.h"
#include "base/mapped_file.h"
#include "base/parse.h"
#include "base/utf8.h"
#include "text/test_vocabulary.h"
#include "text/unicode.h"

namespace quern {
namespace {

using Specials = Tokenizer::Specials;

struct Case {
  std::string id, text;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = [] {
    std::vector<Case> list;
    const std::string file = read_text_file(test_path("tokenizer_cases.jsonl"), 1 << 20);
    for (size_t at = 0; at < file.size();) {
      const size_t end = std::min(file.find('\n', at), file.size());
      const Json line = parse_json(std::string_view(file).substr(at, end - at), "tokenizer_cases.jsonl");
      Case c{line.at("id"), ""};
      if (line.at("text").is_string()) {
        c.text = line.at("text");
      } else {
        const std::string hex = line.at("bytes_hex");
        for (size_t i = 0; i + 1 < hex.size(); i += 2) {
          unsigned value = 0;
          std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
          c.text += static_cast<char>(value);
        }
      }
      list.push_back(std::move(c));
      at = end + 1;
    }
    return list;
  }();
  return all;
}

const Json& goldens() {
  static const Json all = parse_json(read_text_file(test_path("tokenizer_goldens.json"), 1 << 20), "tokenizer_goldens.json");
  return all;
}

// Ids as the golden file writes them: a list, or "count:hash" of a long one.
Json short_form(const std::vector<TokenId>& ids) {
  if (ids.size() <= 96) return Json(ids);
  uint64_t hash = 0xcbf29ce484222325U;
  for (const TokenId id : ids) {
    for (unsigned shift = 0; shift < 32; shift += 8) hash = (hash ^ (static_cast<uint32_t>(id) >> shift & 0xff)) * 0x100000001b3U;
  }
  char text[64];
  std::snprintf(text, sizeof text, "%zu:%016llx", ids.size(), static_cast<unsigned long long>(hash));
  return Json(text);
}

size_t num_equal(const Tokenizer& tokenizer, Specials specials, const std::string& generation, const std::string& mode) {
  const Json& differ = goldens().at("differ").at(generation).at(mode);
  size_t equal = 0;
  for (const Case& c : cases()) {
    const Json& want = differ.contains(c.id) ? differ.at(c.id) : goldens().at("base").at(c.id);
    const Json got = short_form(tokenizer.encode(c.text, specials));
    EXPECT_EQ(got, want) << generation << ' ' << mode << ' ' << c.id;
    equal += got == want;
  }
  return equal;
}

TEST(TokenizerGolden, EveryGenerationInEveryMode) {
  for (const char* generation : {"qwen1", "qwen2", "qwen2.5", "qwen3"}) {
    TokenizerData data = qwen_vocabulary();
    add_generation(data, generation);
    const Tokenizer tokenizer(std::move(data));
    const size_t as_text = num_equal(tokenizer, Specials::as_text, generation, "as_text");
    const size_t not_control = num_equal(tokenizer, Specials::not_control, generation, "not_control");
    const size_t all = num_equal(tokenizer, Specials::all, generation, "all");
    std::printf("%s: as text %zu of %zu, without control tokens %zu of %zu, with all %zu of %zu\n", generation, as_text, cases().size(),
                not_control, cases().size(), all, cases().size());
    EXPECT_EQ(cases().size(), 941U);
  }
}

TEST(TokenizerGolden, OtherSplittersWithTheSameVocabulary) {
  using Splitter = TokenizerData::Splitter;
  for (const auto& [name, splitter] :
       {std::pair("gpt2", Splitter::gpt2), std::pair("smollm", Splitter::smollm), std::pair("llama3", Splitter::llama3)}) {
    TokenizerData data = qwen_vocabulary();
    data.nfc = false;
    data.splitter = splitter;
    const size_t equal = num_equal(Tokenizer(std::move(data)), Specials::as_text, "splitters", name);
    std::printf("%s: %zu of %zu\n", name, equal, cases().size());
  }
}

TEST(TokenizerGolden, FilesOfEveryGeneration) {
  struct Source {
    const char *generation, *folder;
  };
  for (const Source& source : {Source{"qwen1", "qwen1"}, {"qwen2", "qwen2"}, {"qwen2.5", "qwen2.5"}, {"qwen3", "qwen3"}}) {
    const std::string folder = shared_path(std::string("tokenizers/") + source.folder);
    if (folder.empty()) GTEST_SKIP() << "no ../shared/data/tokenizers: the vocabulary files are not read";
    const Tokenizer tokenizer = Tokenizer::from_folder(folder);
    TokenizerData want = qwen_vocabulary();
    add_generation(want, source.generation);
    EXPECT_EQ(tokenizer.data().tokens, want.tokens) << source.folder;
    ASSERT_EQ(tokenizer.data().merges.size(), want.merges.size());
    for (size_t i = 0; i < want.merges.size(); ++i) {
      const TokenizerData::Merge got = tokenizer.data().merges[i];
      ASSERT_EQ(std::tie(got.left, got.right, got.result), std::tie(want.merges[i].left, want.merges[i].right, want.merges[i].result)) << i;
    }
    ASSERT_EQ(tokenizer.data().specials.size(), want.specials.size());
    for (size_t i = 0; i < want.specials.size(); ++i) {
      EXPECT_EQ(tokenizer.data().specials[i].id, want.specials[i].id);
      EXPECT_EQ(tokenizer.data().specials[i].text, want.specials[i].text);
      EXPECT_EQ(tokenizer.data().specials[i].control, want.specials[i].control) << want.specials[i].text;
    }
    EXPECT_EQ(tokenizer.bos(), std::nullopt);
    const size_t equal = num_equal(tokenizer, Specials::all, source.generation, "all");
    std::printf("%s from %s: %zu of %zu\n", source.generation, tokenizer.data().origin.c_str(), equal, cases().size());
  }
}

// decode(encode(x)) == NFC(x) for random valid text. QUERN_TEXT_ROUND_TRIPS sets the count; 1,000,000 take about a minute.
TEST(TokenizerGolden, DecodeOfEncodeIsNfc) {
  const char* setting = std::getenv("QUERN_TEXT_ROUND_TRIPS");
  const size_t count = setting == nullptr ? 20'000 : parse_number<size_t>(setting).value_or(0);
  TokenizerData data = qwen_vocabulary();
  add_generation(data, "qwen3");
  const Tokenizer tokenizer(std::move(data));
  const char* words[] = {"<|im_end|>", "<think>", "'s", "'LL", " the", "\r\n", "  ", "<|", "123", "e\u0301", "\u1100\u1161\u11a8", "根本"};
  std::mt19937_64 rng(1);
  size_t equal = 0;
  for (size_t round = 0; round < count; ++round) {
    std::string text;
    for (uint64_t i = rng() % 24; i > 0; --i) {
      const uint64_t pool = rng() % 8;
      char32_t c = 0;
      switch (pool) {
        case 0: text += words[rng() % std::size(words)]; continue;
        case 1: c = static_cast<char32_t>(rng() % 0x300); break;
        case 2: c = static_cast<char32_t>(0x300 + rng() % 0x70); break;
        case 3: c = static_cast<char32_t>(0x4e00 + rng() % 0x5200); break;
        case 4: c = static_cast<char32_t>(0x1100 + rng() % 0x200); break;
        case 5: c = static_cast<char32_t>(0x1f300 + rng() % 0x400); break;
        case 6: c = static_cast<char32_t>(rng() % 0x10000); break;
        default: c = static_cast<char32_t>(rng() % 0x110000); break;
      }
      if (c >= 0xd800 && c < 0xe000) c = 0xfffd;
      utf8_append(text, c);
    }
    const bool same = tokenizer.decode(tokenizer.encode(text, Specials::as_text), false) == nfc(text);
    ASSERT_TRUE(same) << "round " << round << " of seed 1: " << escaped(text);
    equal += same;
  }
  std::printf("decode(encode(x)) == NFC(x): %zu of %zu\n", equal, count);
}

}  // namespace
}  // namespace quern
