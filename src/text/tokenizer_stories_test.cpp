// The embedded story model's tokenizer (SentencePiece kind, from tokenizer.json) against llama2.c's rule, tools/make_stories_tokenizer.py.
#include <gtest/gtest.h>

#include "base/json.h"
#include "base/mapped_file.h"
#include "source_dir.h"
#include "text/test_vocabulary.h"
#include "text/text_stream.h"

namespace quern {
namespace {

using Ids = std::vector<TokenId>;
using Specials = Tokenizer::Specials;

std::string folder() { return source_dir() + "/tests/models/stories260K-qwen2"; }

TEST(StoriesTokenizer, EncodesAsLlama2c) {
  const Tokenizer tokenizer = Tokenizer::from_folder(folder());
  EXPECT_EQ(tokenizer.num_tokens(), 512U);
  EXPECT_EQ(tokenizer.bos(), 1);
  const Json goldens = parse_json(read_text_file(test_path("stories_goldens.json"), 1 << 20), "stories_goldens.json");
  size_t equal = 0;
  for (const Json& golden : goldens) {
    const std::string text = golden.at("text");
    const Ids ids = tokenizer.encode(text, Specials::as_text);
    EXPECT_EQ(Json(ids), golden.at("ids")) << text;
    EXPECT_EQ(tokenizer.decode(ids, true), text);
    equal += Json(ids) == golden.at("ids");
  }
  std::printf("stories: %zu of %zu\n", equal, goldens.size());
  // As Hugging Face: a space in front of each stretch between special tokens.
  EXPECT_EQ(tokenizer.encode("She said: <s> </s> <unk> <0x41>", Specials::all),
            (Ids{338, 336, 467, 410, 1, 410, 410, 2, 410, 410, 0, 410, 410, 504, 477, 444, 484, 475, 505}));
  EXPECT_EQ(tokenizer.encode("Once upon a time", Specials::all, true), (Ids{1, 403, 407, 261, 378}));
}

TEST(StoriesTokenizer, DecodesTheGoldenStory) {
  const Tokenizer tokenizer = Tokenizer::from_folder(folder());
  const Json golden = parse_json(read_text_file(folder() + "/golden.json", 1 << 20), "golden.json");
  const Ids ids = golden.at("greedy_ids");
  const std::string text = golden.at("text");
  EXPECT_EQ(tokenizer.decode(ids, true), text);
  TextStream stream(tokenizer, {}, true, true);
  std::string streamed;
  for (const TokenId id : ids) streamed += stream.push(id);
  EXPECT_EQ(streamed + stream.finish(), text);
  const Tokenizer again = Tokenizer::unpack(tokenizer.packed(), "test");
  EXPECT_EQ(again.encode(text, Specials::all), tokenizer.encode(text, Specials::all));
}

}  // namespace
}  // namespace quern
