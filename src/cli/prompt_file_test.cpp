// Prompt files are read whole and refused by line; result files go on after any end.
#include "cli/prompt_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace quern {
namespace {

class PromptFileTest : public testing::Test {
 protected:
  PromptFileTest() : folder_(testing::TempDir() + "prompt_file_test_" + std::to_string(::getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~PromptFileTest() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }
  std::string read(const std::string& name) {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

 private:
  std::string folder_;
};

constexpr const char* kThree =
    "{\"id\": \"a\", \"prompt\": \"x\"}\r\n\n{\"id\": 1, \"prompt_ids\": [5]}\n{\"id\": \"1\", \"messages\": [{\"role\": \"user\", "
    "\"content\": \"y\"}]}";

OrderedJson line(const OrderedJson& id) { return {{"id", id}, {"text", "t"}}; }

TEST_F(PromptFileTest, ReadsEveryKindOfPrompt) {
  const PromptFile prompts(write("in", kThree));
  ASSERT_EQ(prompts.size(), 3u);
  EXPECT_EQ(prompts.id(1), "1");
  EXPECT_EQ(prompts.id(2), "\"1\"");
  EXPECT_TRUE(prompts.where(2).ends_with("in:4")) << prompts.where(2);
  EXPECT_EQ(prompts.object(0).at("prompt"), "x");
}

TEST_F(PromptFileTest, ResultsGoOnAfterAnyEnd) {
  const PromptFile prompts(write("in", kThree));
  {
    ResultFile results(path("out"), prompts);
    EXPECT_EQ(results.num_finished(), 0u);
    results.append(line("a"));  // and the process is gone without close()
  }
  std::ofstream(path("out"), std::ios::app) << "{\"id\": 1, \"te";
  {
    ResultFile results(path("out"), prompts);
    EXPECT_TRUE(results.has("\"a\""));
    EXPECT_FALSE(results.has("1"));
    EXPECT_EQ(read("out"), line("a").dump() + "\n");
    results.append(line(1));
    results.append(line("1"));
    results.close();
  }
  EXPECT_EQ(read("out"), line("a").dump() + "\n" + line(1).dump() + "\n" + line("1").dump() + "\n");
  EXPECT_EQ(ResultFile(path("out"), prompts).num_finished(), 3u);
}

TEST_F(PromptFileTest, OneRunWritesAResultFile) {
  const PromptFile prompts(write("in", kThree));
  const ResultFile first(path("out"), prompts);
  try {
    const ResultFile second(path("out"), prompts);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), resource);
  }
}

TEST_F(PromptFileTest, WhatIsNoResultIsNotTouched) {
  const PromptFile prompts(write("in", kThree));
  for (const std::string text : {"a diary\n", "{\"id\": \"other\"}\n", "a diary", "{\"text\": 1}\n"}) {
    write("out", text);
    EXPECT_THROW(ResultFile(path("out"), prompts), Error) << text;
    EXPECT_EQ(read("out"), text);
  }
}

}  // namespace
}  // namespace quern
