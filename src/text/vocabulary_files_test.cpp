// Vocabulary files: what is read, and an error that names the entry for each class of broken file (T01 to T06).
#include "text/vocabulary_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "base/utf8.h"
#include "text/test_vocabulary.h"

namespace quern {
namespace {

using Ids = std::vector<TokenId>;
using Specials = Tokenizer::Specials;

class Folder {
 public:
  Folder() : path_(std::filesystem::path(testing::TempDir()) / fmt::format("quern_text_{}_{}", ::getpid(), counter()++)) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return (path_ / name).string();
  }
  std::string path() const { return path_.string(); }

 private:
  static int& counter() {
    static int n = static_cast<int>(::getpid()) * 1000;
    return n;
  }
  std::filesystem::path path_;
};

// Bytes in GPT-2's alphabet.
std::string alphabet(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    char32_t next = 0x100, mapped = 0;
    for (unsigned b = 0; b <= byte; ++b) {
      const bool itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      mapped = itself ? b : next++;
    }
    utf8_append(out, mapped);
  }
  return out;
}

constexpr const char* kQwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Json vocabulary(const std::vector<std::string>& merged) {
  Json vocab = Json::object();
  for (int byte = 0; byte < 256; ++byte) vocab[alphabet(std::string(1, static_cast<char>(byte)))] = byte;
  for (const std::string& token : merged) {
    const size_t id = vocab.size();
    vocab[alphabet(token)] = id;
  }
  return vocab;
}

Json added(int64_t id, const std::string& content, bool special = true) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

// A whole tokenizer.json: bytes, "ab" = 256, "abc" = 257, <|end|> = 258, <think> = 259.
Json byte_level() {
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", {added(258, "<|end|>"), added(259, "<think>", false)}},
          {"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"}, {"pattern", {{"Regex", kQwenPattern}}}, {"behavior", "Isolated"}, {"invert", false}},
              {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}}}}}},
          {"post_processor", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", ""},
            {"end_of_word_suffix", ""},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", vocabulary({"ab", "abc"})},
            {"merges", {"a b", "ab c"}}}}};
}

Tokenizer read(const Json& json) {
  const Folder folder;
  return Tokenizer::from_tokenizer_json(folder.write("tokenizer.json", json.dump()), "");
}

template <class Call>
void expect_refused(ErrorCode code, const std::string& part, const Call& call) {
  try {
    call();
    ADD_FAILURE() << "accepted; want an error with: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.message();
    EXPECT_NE(error.message().find(part), std::string::npos) << error.message() << "\nwant: " << part;
  }
}

TEST(TokenizerJson, Reads) {
  const Tokenizer tokenizer = read(byte_level());
  EXPECT_EQ(tokenizer.encode("abcab<|end|>", Specials::all), (Ids{257, 256, 258}));
  EXPECT_TRUE(tokenizer.data().nfc);
  EXPECT_TRUE(tokenizer.is_control(258));
  EXPECT_FALSE(tokenizer.is_control(259));
  EXPECT_EQ(tokenizer.bos(), std::nullopt);

  Json pairs = byte_level();
  pairs["model"]["merges"] = Json::array({Json::array({"a", "b"}), Json::array({"ab", "c"})});
  EXPECT_EQ(read(pairs).packed(), tokenizer.packed());
}

TEST(TokenizerJson, PreTokenizers) {
  using Splitter = TokenizerData::Splitter;
  const auto splitter = [&](const Json& pre) {
    Json json = byte_level();
    json["pre_tokenizer"] = pre;
    return read(json).data().splitter;
  };
  const Json level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  EXPECT_EQ(splitter(level), Splitter::gpt2);
  EXPECT_EQ(splitter({{"type", "Sequence"}, {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, level}}}),
            Splitter::smollm);
  Json removed = byte_level()["pre_tokenizer"];
  removed["pretokenizers"][0]["behavior"] = "Removed";
  removed["pretokenizers"][0]["invert"] = true;
  EXPECT_EQ(splitter(removed), Splitter::qwen2);
}

TEST(TokenizerJson, BosOfATemplate) {
  Json json = byte_level();
  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {{{"SpecialToken", {{"id", "<|end|>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"pair", Json::array()},
      {"special_tokens", Json::object()}};
  EXPECT_EQ(read(json).bos(), 258);
  json["post_processor"]["single"].push_back({{"SpecialToken", {{"id", "<|end|>"}}}});
  expect_refused(incompatible, "TemplateProcessing", [&] { read(json); });
}

TEST(TokenizerJson, TokensThatOnlyTheConfigNames) {
  const Folder folder;
  Json json = byte_level();
  json["added_tokens"] = {added(258, "<|end|>")};
  const std::string path = folder.write("tokenizer.json", json.dump());
  Json more = {{"added_tokens_decoder", {{"258", added(258, "<|end|>")}, {"259", added(259, "<more>", false)}}}};
  const Tokenizer tokenizer = Tokenizer::from_tokenizer_json(path, folder.write("tokenizer_config.json", more.dump()));
  EXPECT_EQ(tokenizer.find_special("<more>"), 259);
  EXPECT_EQ(Tokenizer::from_folder(folder.path()).find_special("<more>"), 259);
  more["added_tokens_decoder"] = {{"258", added(258, "<other>")}};
  const std::string other = folder.write("other.json", more.dump());
  expect_refused(invalid_input, "id 258 is the id of \"<|end|>\" too", [&] { Tokenizer::from_tokenizer_json(path, other); });
  more["added_tokens_decoder"] = {{"x", added(258, "<other>")}};
  const std::string broken = folder.write("broken.json", more.dump());
  expect_refused(invalid_input, "want an id, found \"x\"", [&] { Tokenizer::from_tokenizer_json(path, broken); });
}

TEST(TokenizerJson, WhatIsRefused) {
  struct Case {
    ErrorCode code;
    const char* part;
    void (*change)(Json&);
  };
  const Case cases[] = {
      // T02: ids
      {invalid_input, "token \"x1\": want an id from 0", [](Json& j) { j["model"]["vocab"]["x1"] = -1; }},
      {invalid_input, "token \"x1\": want an id from 0", [](Json& j) { j["model"]["vocab"]["x1"] = 2147483647; }},
      {invalid_input, "token \"x1\": want an id from 0", [](Json& j) { j["model"]["vocab"]["x1"] = 18446744073709551615U; }},
      {invalid_input, "token \"x1\": want an id", [](Json& j) { j["model"]["vocab"]["x1"] = 1.5; }},
      {invalid_input, "found no token with id 260", [](Json& j) { j["model"]["vocab"]["x1"] = 261; }},
      {invalid_input, "id 256 is the id of", [](Json& j) { j["model"]["vocab"]["x1"] = 256; }},
      {invalid_input, "its text is empty", [](Json& j) { j["model"]["vocab"][""] = 260; }},
      {invalid_input, "is not in the byte alphabet", [](Json& j) { j["model"]["vocab"]["a b"] = 260; }},
      // T03: merges
      {invalid_input, "merge 2: part \"q1\"", [](Json& j) { j["model"]["merges"].push_back("q1 b"); }},
      {invalid_input, "merge 2: result \"bb\"", [](Json& j) { j["model"]["merges"].push_back("b b"); }},
      {invalid_input, "merge 2: want two tokens", [](Json& j) { j["model"]["merges"].push_back("ab"); }},
      {invalid_input, "merge 2: want two tokens", [](Json& j) { j["model"]["merges"].push_back("a b c"); }},
      {invalid_input, "merge 2: want \"left right\"", [](Json& j) { j["model"]["merges"].push_back(7); }},
      {invalid_input, "merges: want a list", [](Json& j) { j["model"].erase("merges"); }},
      {invalid_input, "vocab: want an object", [](Json& j) { j["model"].erase("vocab"); }},
      // T04: byte tokens
      {invalid_input, "found none for byte 0x71",
       [](Json& j) {
         j["model"]["vocab"].erase("q");
         j["model"]["vocab"]["qq"] = 'q';
       }},
      // T05: added tokens
      {invalid_input, "added token 260: its text is empty", [](Json& j) { j["added_tokens"].push_back(added(260, "")); }},
      {invalid_input, "at most 1024 bytes", [](Json& j) { j["added_tokens"].push_back(added(260, std::string(2000, 'x'))); }},
      {invalid_input, "is there twice", [](Json& j) { j["added_tokens"].push_back(added(260, "<think>")); }},
      {invalid_input, "id 259 is the id of", [](Json& j) { j["added_tokens"].push_back(added(259, "<again>")); }},
      {invalid_input, "want its id in the vocabulary, 97", [](Json& j) { j["added_tokens"].push_back(added(260, "a")); }},
      {invalid_input, "found no token with id 260", [](Json& j) { j["added_tokens"].push_back(added(300, "<far>")); }},
      {invalid_input, "added_tokens: entry 2: id", [](Json& j) { j["added_tokens"].push_back(added(-4, "<x>")); }},
      {invalid_input, "added_tokens: entry 2", [](Json& j) { j["added_tokens"].push_back("<x>"); }},
      {incompatible, "lstrip is not implemented", [](Json& j) { j["added_tokens"][0]["lstrip"] = true; }},
      {incompatible, "single_word is not implemented", [](Json& j) { j["added_tokens"][1]["single_word"] = true; }},
      // T06: what is not implemented
      {incompatible, "pattern \\x0a\\w+", [](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\n\\w+"; }},
      {incompatible, "behavior MergedWithNext", [](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "MergedWithNext"; }},
      {incompatible, "BertPreTokenizer",
       [](Json& j) {
         j["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
       }},
      {incompatible, "add_prefix_space", [](Json& j) { j["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true; }},
      {incompatible, "normalizer \"NFKC\"",
       [](Json& j) {
         j["normalizer"] = {{"type", "NFKC"}};
       }},
      {incompatible, "post_processor \"BertProcessing\"",
       [](Json& j) {
         j["post_processor"] = {{"type", "BertProcessing"}};
       }},
      {incompatible, "want a BPE, found \"Unigram\"", [](Json& j) { j["model"]["type"] = "Unigram"; }},
      {incompatible, "end_of_word_suffix", [](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }},
      {incompatible, "dropout", [](Json& j) { j["model"]["dropout"] = 0.1; }},
      {incompatible, "neither byte-level nor with byte_fallback", [](Json& j) { j["pre_tokenizer"] = nullptr; }},
      {invalid_input, "model: want an object", [](Json& j) { j.erase("model"); }},
      {invalid_input, "nested deeper",
       [](Json& j) {
         Json deep = {{"type", "NFC"}};
         for (int i = 0; i < 20; ++i) deep = {{"type", "Sequence"}, {"normalizers", {deep}}};
         j["normalizer"] = deep;
       }},
  };
  size_t refused = 0;
  for (const Case& c : cases) {
    Json json = byte_level();
    c.change(json);
    expect_refused(c.code, c.part, [&] { read(json); });
    ++refused;
  }
  std::printf("%zu of %zu broken tokenizer.json files refused\n", refused, std::size(cases));
}

TEST(TokenizerJson, BrokenFiles) {
  const Folder folder;
  const std::string text = byte_level().dump();
  expect_refused(invalid_input, "no such file", [&] { Tokenizer::from_tokenizer_json(folder.path() + "/none.json", ""); });
  for (const size_t size : {size_t{0}, size_t{1}, text.size() / 2, text.size() - 1}) {
    const std::string path = folder.write("cut.json", text.substr(0, size));
    expect_refused(invalid_input, "cut.json", [&] { Tokenizer::from_tokenizer_json(path, ""); });
  }
  std::string twice = text;
  twice.insert(twice.find("\"ab\":256"), "\"ab\":256,");
  const std::string path = folder.write("twice.json", twice);
  expect_refused(invalid_input, "duplicate key \"ab\"", [&] { Tokenizer::from_tokenizer_json(path, ""); });
  const std::string huge = folder.write("huge.json", "");
  std::filesystem::resize_file(huge, (uint64_t{64} << 20) + 1);
  expect_refused(invalid_input, "huge.json", [&] { Tokenizer::from_tokenizer_json(huge, ""); });
}

TEST(VocabAndMerges, ReadsAndRefuses) {
  const Folder folder;
  const std::string vocab = folder.write("vocab.json", vocabulary({"ab", "abc"}).dump());
  const Json tokens = {{"added_tokens_decoder", {{"258", added(258, "<|end|>")}}}, {"tokenizer_class", "Qwen2Tokenizer"}};
  const std::string config = folder.write("tokenizer_config.json", tokens.dump());
  const std::string merges = folder.write("merges.txt", "#version: 0.2\na b\r\nab c\n");
  const Tokenizer tokenizer = Tokenizer::from_folder(folder.path());
  EXPECT_EQ(tokenizer.encode("abcab<|end|>", Specials::all), (Ids{257, 256, 258}));
  EXPECT_EQ(Tokenizer::from_vocab_and_merges(vocab, merges, config).packed(), tokenizer.packed());
  const auto with_merges = [&](const char* text) {
    const std::string path = folder.write("m.txt", text);
    return [=] { Tokenizer::from_vocab_and_merges(vocab, path, ""); };
  };
  expect_refused(invalid_input, "merge 3: part \"zz\"", with_merges("#version: 0.2\na b\nzz c\n"));
  expect_refused(invalid_input, "merge 1: result \"ac\"", with_merges("a c"));
  expect_refused(invalid_input, "merge 2: want two tokens", with_merges("a b\nab\n"));
  const std::string other = folder.write("other.json", R"({"tokenizer_class": "GPT2Tokenizer"})");
  expect_refused(incompatible, "tokenizer_class \"GPT2Tokenizer\"", [&] { Tokenizer::from_vocab_and_merges(vocab, merges, other); });
  const std::string list = folder.write("list.json", "[1]");
  expect_refused(invalid_input, "want an object of tokens", [&] { Tokenizer::from_vocab_and_merges(list, merges, ""); });
}

std::string base64(std::string_view bytes) {
  const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k) word = word << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (size_t k = 0; k < 4; ++k) out += i + k > bytes.size() ? '=' : digits[word >> (18 - 6 * k) & 63];
  }
  return out;
}

TEST(Tiktoken, ReadsAndRefuses) {
  const Folder folder;
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text += fmt::format("{} {}\n", base64(std::string(1, static_cast<char>(byte))), byte);
  text += fmt::format("{} 256\n{} 257\n{} 258\n", base64("ab"), base64("abc"), base64("xyz"));
  folder.write("qwen.tiktoken", text);
  const Tokenizer tokenizer = Tokenizer::from_folder(folder.path());
  EXPECT_EQ(tokenizer.num_tokens(), 259U + 208);
  EXPECT_EQ(tokenizer.encode("abc<|im_end|><|extra_204|>", Specials::all), (Ids{257, 261, 466}));
  EXPECT_EQ(tokenizer.encode("xyz", Specials::all), (Ids{258}));  // a piece that is a token, though no merge makes it
  EXPECT_EQ(tokenizer.encode("xyzx", Specials::all), (Ids{'x', 'y', 'z', 'x'}));
  const auto with = [&](const std::string& more) {
    const std::string path = folder.write("broken.tik", text + more);
    return [=] { Tokenizer::from_tiktoken(path); };
  };
  expect_refused(invalid_input, "line 260: want base64", with("no_base64! 259\n"));
  expect_refused(invalid_input, "line 260: want base64", with("YWI= x\n"));
  expect_refused(invalid_input, "line 260: want base64", with("YWI=259\n"));
  expect_refused(invalid_input, "line 260: want base64", with("YWI 259\n"));
  expect_refused(invalid_input, "rank 258 is there twice", with(base64("q9") + " 258\n"));
  expect_refused(invalid_input, "no token of rank 259", with(base64("q9") + " 260\n"));
  expect_refused(invalid_input, "want a rank below", with(base64("q9") + " -1\n"));
  expect_refused(invalid_input, "want a rank below", with(base64("q9") + " 2147483647\n"));
  expect_refused(invalid_input, "twice", with(base64("ab") + " 259\n"));
  folder.write("second.tiktoken", text);
  expect_refused(invalid_input, "want one .tiktoken file, found 2", [&] { Tokenizer::from_folder(folder.path()); });
}

TEST(TokenizerFolder, NamesWhatItWants) {
  const Folder folder;
  expect_refused(invalid_input, "no tokenizer: want tokenizer.json", [&] { Tokenizer::from_folder(folder.path()); });
  folder.write("tokenizer.model", "x");
  expect_refused(incompatible, "tokenizer.model alone", [&] { Tokenizer::from_folder(folder.path()); });
}

// The arrays of a GGUF file: bytes, "ab" = 256, <|end|> = 257, <tool> = 258, [PAD259], unused = 260.
struct Gguf {
  std::vector<std::string> texts;
  std::vector<std::string_view> tokens;
  std::vector<int32_t> types;
  std::vector<std::string_view> merges = {"a b"};
  std::string architecture = "qwen2", model = "gpt2", pre = "qwen2";
  std::optional<uint64_t> bos;
  std::optional<bool> add_bos;

  Gguf() {
    for (int byte = 0; byte < 256; ++byte) texts.push_back(alphabet(std::string(1, static_cast<char>(byte))));
    for (const char* text : {"ab", "<|end|>", "<tool>", "[PAD259]", "unused"}) texts.emplace_back(text);
    types.assign(261, 1);
    types[257] = 3, types[258] = 4, types[260] = 5;
  }
  TokenizerData read() {
    tokens.assign(texts.begin(), texts.end());
    return tokenizer_data_from_gguf({.architecture = architecture,
                                     .model = model,
                                     .pre = pre,
                                     .tokens = tokens,
                                     .token_types = types,
                                     .merges = merges,
                                     .bos_id = bos,
                                     .add_bos = add_bos},
                                    "m.gguf");
  }
};

TEST(GgufVocabulary, ReadsAndRefuses) {
  const Tokenizer tokenizer(Gguf().read());
  EXPECT_EQ(tokenizer.num_tokens(), 261U);
  EXPECT_EQ(tokenizer.encode("ab<|end|><tool>[PAD259]", Specials::all).size(), 3U + 8);
  EXPECT_TRUE(tokenizer.is_control(257));
  EXPECT_FALSE(tokenizer.is_control(258));
  EXPECT_EQ(tokenizer.bytes(259), "");
  EXPECT_EQ(tokenizer.bytes(260), "");
  EXPECT_TRUE(tokenizer.data().nfc);

  Gguf bos;
  bos.bos = 257;
  EXPECT_EQ(bos.read().bos, std::nullopt);
  bos.add_bos = true;
  EXPECT_EQ(bos.read().bos, 257);
  Gguf old;
  old.pre = "";
  EXPECT_EQ(old.read().splitter, TokenizerData::Splitter::qwen2);
  Gguf untyped;
  untyped.types.clear();
  EXPECT_EQ(Tokenizer(untyped.read()).find_special("<|end|>"), 257);

  const auto refused = [](ErrorCode code, const char* part, void (*change)(Gguf&)) {
    Gguf gguf;
    change(gguf);
    expect_refused(code, part, [&] { Tokenizer(gguf.read(), "m.gguf"); });
  };
  refused(incompatible, "tokenizer.ggml.pre: \"qwen9\\x0a\"", [](Gguf& g) { g.pre = "qwen9\n"; });
  refused(incompatible, "tokenizer.ggml.pre is not there", [](Gguf& g) { g.pre = "", g.architecture = "llama"; });
  refused(incompatible, "want gpt2 or llama, found \"bert\"", [](Gguf& g) { g.model = "bert"; });
  refused(invalid_input, "want scores and token types", [](Gguf& g) { g.model = "llama"; });
  refused(invalid_input, "token_type: want one a token", [](Gguf& g) { g.types.pop_back(); });
  refused(invalid_input, "token 3: want a type from 1 to 6, found 9", [](Gguf& g) { g.types[3] = 9; });
  refused(invalid_input, "token \"ab\" has two ids", [](Gguf& g) { g.texts[260] = "ab", g.types[260] = 1; });
  refused(invalid_input, "merge 0: part \"zz\"", [](Gguf& g) { g.merges = {"zz b"}; });
  refused(invalid_input, "found none for byte 0x61", [](Gguf& g) { g.types['a'] = 5, g.merges = {}; });
  refused(invalid_input, "is not UTF-8", [](Gguf& g) { g.texts[256][1] = static_cast<char>(0xff); });
  refused(invalid_input, "bos_token_id: want an id below 261, found 261", [](Gguf& g) { g.bos = 261, g.add_bos = true; });
  refused(invalid_input, "from 1 to", [](Gguf& g) { g.texts.clear(), g.types.clear(); });
}

}  // namespace
}  // namespace quern
