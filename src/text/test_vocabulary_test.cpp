#include "text/test_vocabulary.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>

#include "base/mapped_file.h"
#include "source_dir.h"
#include "text/merge_rules.h"

namespace quern {

std::string test_path(const std::string& name) { return source_dir() + "/tests/text/" + name; }

std::string shared_path(const std::string& name) {
  for (const char* root : {"/../shared/data/", "/../../shared/data/"}) {
    std::string path = source_dir() + root + name;
    if (std::filesystem::exists(path)) return path;
  }
  return {};
}

TokenizerData qwen_vocabulary() {
  const std::string blob = read_text_file(test_path("qwen_merges.bin"), 1 << 20);
  TokenizerData data;
  data.nfc = true;
  data.origin = "test";
  for (size_t id = 0; id < 256; ++id) {
    data.tokens.push_back(blob.substr(id, 1));
    data.byte_tokens[static_cast<unsigned char>(blob[id])] = static_cast<TokenId>(id);
  }
  const auto number = [&](size_t& at) {
    TokenId value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(blob.at(at++));
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  for (size_t at = 256; at < blob.size();) {
    const TokenId left = number(at), right = number(at);
    data.merges.push_back({left, right, static_cast<TokenId>(data.tokens.size())});
    data.tokens.push_back(data.tokens.at(static_cast<size_t>(left)) + data.tokens.at(static_cast<size_t>(right)));
  }
  return data;
}

TokenId add_special(TokenizerData& data, const std::string& text, bool control) {
  const auto id = static_cast<TokenId>(data.tokens.size());
  data.specials.push_back({id, text, control});
  data.tokens.emplace_back();
  return id;
}

void add_generation(TokenizerData& data, const std::string& generation) {
  for (const char* text : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) add_special(data, text);
  if (generation == "qwen1") {
    for (int i = 0; i < 205; ++i) add_special(data, "<|extra_" + std::to_string(i) + "|>");
  }
  if (generation == "qwen2.5" || generation == "qwen3") {
    for (const char* text : {"<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>",
                             "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"}) {
      add_special(data, text);
    }
    for (const char* text : {"<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
                             "<|repo_name|>", "<|file_sep|>"}) {
      add_special(data, text, false);
    }
  }
  if (generation == "qwen3") {
    for (const char* text : {"<tool_response>", "</tool_response>", "<think>", "</think>"}) add_special(data, text, false);
  }
}

TokenizerData small_vocabulary(const std::vector<std::string>& merged) {
  TokenizerData data;
  data.origin = "test";
  for (int byte = 0; byte < 256; ++byte) {
    data.tokens.emplace_back(1, static_cast<char>(byte));
    data.byte_tokens[static_cast<size_t>(byte)] = byte;
  }
  for (const std::string& token : merged) data.tokens.push_back(token);
  std::vector<TokenId> order(data.tokens.size());
  std::iota(order.begin(), order.end(), 0);
  data.merges = merges_of_order(data, order);
  return data;
}

TEST(TestVocabulary, HasAllTokensOfQwen) {
  const TokenizerData data = qwen_vocabulary();
  EXPECT_EQ(data.tokens.size(), 151643U);
  EXPECT_EQ(data.tokens[99408], "根");
  EXPECT_EQ(data.merges.size(), 151387U);
  EXPECT_EQ(small_vocabulary({"ab", "abc"}).merges.size(), 2U);
}

}  // namespace quern
