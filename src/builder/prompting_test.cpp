// What goes into an engine file about talking to the model: chat or text, the union of stop ids, sampling defaults; and what is refused.
#include "builder/prompting.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "builder/source_model.h"
#include "builder/tiny_checkpoint.h"

namespace quern {
namespace {

// The template of SmolLM-Instruct and many others.
constexpr const char* kChatml =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

Prompting read(const tiny::TinyCheckpoint& checkpoint) {
  const tiny::TestFolder folder;
  checkpoint.write(folder / "m");
  return read_source_model(folder / "m").prompting;
}

Prompting read_gguf(const tiny::TinyCheckpoint& checkpoint, const std::function<void(Json&)>& change) {
  const tiny::TestFolder folder;
  tiny::write_gguf(checkpoint, folder / "m.gguf", "F16", change);
  return read_source_model(folder / "m.gguf").prompting;
}

bool has_note(const Prompting& prompting, const std::string& part) {
  return std::ranges::any_of(prompting.notes, [&](const std::string& note) { return note.find(part) != note.npos; });
}

// Ids: 256 <|endoftext|>, 257 <|im_start|>, 258 <|im_end|>.
TEST(Prompting, ChatOrTextByTheEndsOfText) {
  struct Case {
    const char* chat_template;
    int config_eos, generation_eos;
    const char* tokenizer_eos;
    Json format, ids;
    const char* note;
  };
  const Case kCases[] = {
      {"", 256, -1, "<|endoftext|>", nullptr, {256}, nullptr},                        // base, without a template
      {kChatml, 256, 256, "<|endoftext|>", nullptr, {256}, "taken as a text model"},  // base that ships one
      {kChatml, 258, -1, "<|im_end|>", "chatml", {256, 257, 258}, nullptr},           // chat
      {kChatml, 256, -1, "<|im_end|>", "chatml", {256, 257, 258}, nullptr},           // one file in three says so
      {kChatml, 256, 258, "<|endoftext|>", "chatml", {256, 257, 258}, nullptr},
      {"{{ messages[0].content }}", 256, 256, "<|endoftext|>", nullptr, {256}, "not one that Quern knows: taken as a text model"},
      {"{{ '<|im_start|>' + 'You are Qwen' }}",
       256,
       258,
       "",
       "chatml-qwen2.5",
       {256, 257, 258},
       "not one that Quern knows: chatml-qwen2.5"},
  };
  for (const Case& c : kCases) {
    tiny::TinyCheckpoint checkpoint = tiny::make("qwen2");
    checkpoint.chat_template = c.chat_template;
    checkpoint.config["eos_token_id"] = c.config_eos;
    if (c.generation_eos >= 0) checkpoint.generation_config["eos_token_id"] = {c.generation_eos};
    checkpoint.tokenizer_config["eos_token"] = c.tokenizer_eos;
    const Prompting prompting = read(checkpoint);
    EXPECT_EQ(prompting.chat.at("format"), c.format) << c.chat_template << c.config_eos;
    EXPECT_EQ(prompting.generation.at("eos_token_ids"), c.ids) << c.chat_template << c.config_eos;
    if (c.note != nullptr) {
      EXPECT_TRUE(has_note(prompting, c.note)) << c.note;
    } else {
      EXPECT_TRUE(prompting.notes.empty()) << prompting.notes[0];
    }
  }
}

TEST(Prompting, GgufIsAChatModelByItsTemplate) {
  tiny::TinyCheckpoint checkpoint = tiny::make("qwen2");
  EXPECT_TRUE(read_gguf(checkpoint, [](Json&) {}).chat.at("format").is_null());
  checkpoint.chat_template = kChatml;
  const Prompting one_id = read_gguf(checkpoint, [](Json&) {});  // its eos is <|endoftext|>
  EXPECT_EQ(one_id.chat.at("format"), "chatml");
  EXPECT_EQ(one_id.generation.at("eos_token_ids"), (Json{256, 257, 258}));
  EXPECT_TRUE(has_note(one_id, "taken as a chat model"));
  const Prompting sound = read_gguf(checkpoint, [](Json& keys) { keys["tokenizer.ggml.eos_token_id"] = 258; });
  EXPECT_TRUE(sound.notes.empty());
  EXPECT_EQ(sound.generation, (Json{{"eos_token_ids", {256, 257, 258}}}));
}

TEST(Prompting, FirstGenerationIsAChatModelByItsChatFormat) {
  tiny::TinyCheckpoint checkpoint = tiny::make("qwen1");
  checkpoint.generation_config = {{"chat_format", "raw"}, {"eos_token_id", 256}, {"stop_words_ids", {{256}}}, {"top_k", 0}, {"top_p", 0.8}};
  const Prompting base = read(checkpoint);
  EXPECT_TRUE(base.chat.at("format").is_null());
  EXPECT_EQ(base.generation, (Json{{"eos_token_ids", {256}}, {"top_p", 0.8}}));
  checkpoint.generation_config["chat_format"] = "chatml";
  checkpoint.generation_config["stop_words_ids"] = {{256}, {'H', 'u', 'm', 'a', 'n', ':'}};
  const Prompting chat = read(checkpoint);
  EXPECT_EQ(chat.chat.at("format"), "chatml-qwen1");
  EXPECT_EQ(chat.generation.at("eos_token_ids"), (Json{256, 257, 258}));
  EXPECT_EQ(chat.generation.at("stop"), Json{"Human:"});
}

TEST(Prompting, SamplingDefaults) {
  tiny::TinyCheckpoint checkpoint = tiny::make("qwen2");
  checkpoint.generation_config = {{"do_sample", true},          {"temperature", 0.7}, {"top_p", 0.8},         {"top_k", 20},
                                  {"repetition_penalty", 1.05}, {"min_p", 0},         {"stop_strings", "END"}};
  EXPECT_EQ(read(checkpoint).generation, (Json{{"temperature", 0.7},
                                               {"top_p", 0.8},
                                               {"top_k", 20},
                                               {"repetition_penalty", 1.05},
                                               {"min_p", 0.0},
                                               {"stop", {"END"}},
                                               {"eos_token_ids", {256}}}));
  checkpoint.generation_config = {{"do_sample", false}, {"top_k", -1}, {"temperature", nullptr}};
  EXPECT_EQ(read(checkpoint).generation, (Json{{"temperature", 0.0}, {"eos_token_ids", {256}}}));
  const Prompting gguf = read_gguf(checkpoint, [](Json& keys) {
    keys["general.sampling.temp"] = 0.5F;
    keys["general.sampling.top_k"] = 30;
  });
  EXPECT_EQ(gguf.generation, (Json{{"temperature", 0.5}, {"top_k", 30}, {"eos_token_ids", {256}}}));
}

TEST(Prompting, WhatIsRefused) {
  const std::tuple<const char*, Json, const char*> kBad[] = {
      {"temperature", -1, "temperature: want 0 to 2, found -1"},
      {"top_p", 0, "top_p"},
      {"top_p", 1.5, "top_p"},
      {"top_k", 2.5, "top_k: want a whole number"},
      {"repetition_penalty", 1e6, "repetition_penalty"},
      {"min_p", "x", "min_p"},
      {"eos_token_id", 259, "eos_token_id: want a token id from 0 to 258, found 259"},
      {"eos_token_id", {256, -1}, "eos_token_id"},
      {"stop_strings", Json::array({1}), "stop_strings"},
      {"stop_strings", "", "stop_strings"},
      {"stop_strings", std::string(300, 'x'), "stop_strings"},
      {"stop_words_ids", {{999}}, "stop_words_ids"},
      {"stop_words_ids", {256}, "stop_words_ids"},
      {"do_sample", "yes", "do_sample"},
  };
  for (const auto& [field, value, part] : kBad) {
    tiny::TinyCheckpoint checkpoint = tiny::make("qwen2");
    checkpoint.generation_config[field] = value;
    try {
      read(checkpoint);
      ADD_FAILURE() << field << ' ' << value;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), invalid_input) << error.message();
      EXPECT_NE(error.message().find("generation_config.json"), std::string::npos) << error.message();
      EXPECT_NE(error.message().find(part), std::string::npos) << error.message();
    }
  }
}

// T10: a template is never run; what is no template at all is refused.
TEST(Prompting, TemplateOfAnotherKindIsRefused) {
  for (const Json& value : {Json(7), Json(true), Json::object()}) {
    tiny::TinyCheckpoint checkpoint = tiny::make("qwen2");
    checkpoint.tokenizer_config["chat_template"] = value;
    EXPECT_THROW(read(checkpoint), Error) << value;
  }
  tiny::TinyCheckpoint checkpoint = tiny::make("qwen2");
  checkpoint.tokenizer_config["chat_template"] = {{{"name", "tools"}, {"template", "x"}}, {{"name", "default"}, {"template", kChatml}}};
  checkpoint.config["eos_token_id"] = 258;
  EXPECT_EQ(read(checkpoint).chat.at("format"), "chatml");
}

// G19
TEST(Prompting, GgufIdsBeyondTheVocabularyAreRefused) {
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    try {
      read_gguf(tiny::make("qwen2"), [&](Json& keys) { keys[key] = 272; });
      ADD_FAILURE() << key;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), invalid_input);
      EXPECT_NE(error.message().find(key), std::string::npos) << error.message();
    }
  }
}

}  // namespace
}  // namespace quern
