// MODEL names: engine files are taken as they are, checkpoints become one engine file in the cache, which follows its source.
#include "builder/model_cache.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "builder/tiny_checkpoint.h"
#include "files/engine_file.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

// Sets a variable, or unsets it, until the end of its life.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old, had_ = true;
    if (value != nullptr) {
      ::setenv(name, value, 1);
    } else {
      ::unsetenv(name);
    }
  }
  ~Variable() {
    if (had_) {
      ::setenv(name_, old_.c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::string old_;
  bool had_ = false;
};

struct Said {
  std::vector<std::string> lines;
  ResolveOptions options(const std::string& dtype = "auto") {
    return {.dtype = dtype, .say = [this](const std::string& line) { lines.push_back(line); }};
  }
};

TEST(ModelCache, EngineFileIsItself) {
  const tiny::TestFolder folder;
  const Variable no_cache("XDG_CACHE_HOME", nullptr), no_home("HOME", nullptr);
  tiny::make("qwen2").write(folder / "m");
  build_engine({.source = folder / "m", .output = folder / "e.quern"});
  EXPECT_EQ(resolve_model(folder / "e.quern"), folder / "e.quern");
}

TEST(ModelCache, BuildsOnceAndAgainWhenTheSourceChanges) {
  const tiny::TestFolder folder;
  const Variable cache("XDG_CACHE_HOME", (folder / "cache").c_str());
  tiny::TinyCheckpoint checkpoint = tiny::make("qwen2");
  checkpoint.write(folder / "model.v1");
  Said said;
  const std::string first = resolve_model(folder / "model.v1", said.options());
  EXPECT_TRUE(first.starts_with(folder / "cache/quern/model.v1-auto-")) << first;
  ASSERT_FALSE(said.lines.empty());
  EXPECT_NE(said.lines[0].find(first), std::string::npos) << said.lines[0];
  EngineFile::open(first)->verify(1);

  said.lines.clear();
  EXPECT_EQ(resolve_model(folder / "model.v1/", said.options()), first);
  EXPECT_TRUE(said.lines.empty()) << "nothing is built";

  EXPECT_NE(resolve_model(folder / "model.v1", said.options("int8")), first);
  EXPECT_EQ(resolve_model(folder / "model.v1", said.options("float16")), resolve_model(folder / "model.v1", said.options("f16")));

  checkpoint.config["rope_theta"] = 20000.0;
  checkpoint.write(folder / "model.v1");
  EXPECT_NE(resolve_model(folder / "model.v1", said.options()), first);
}

TEST(ModelCache, DamagedEntryIsBuiltAgain) {
  const tiny::TestFolder folder;
  const Variable cache("XDG_CACHE_HOME", (folder / "cache").c_str());
  tiny::write_gguf(tiny::make("qwen3"), folder / "m.gguf", "F16");
  const std::string path = resolve_model(folder / "m.gguf", Said().options());
  const std::string whole = tiny::read_file(path);
  tiny::write_file(path, whole.substr(0, 1000));
  Said said;
  EXPECT_EQ(resolve_model(folder / "m.gguf", said.options()), path);
  EXPECT_FALSE(said.lines.empty());
  EXPECT_TRUE(tiny::read_file(path) == whole);
}

// K: processes that want the same engine at once get one file, whole.
TEST(ModelCache, ProcessesShareOneBuild) {
  const tiny::TestFolder folder;
  const Variable cache("XDG_CACHE_HOME", (folder / "cache").c_str());
  tiny::make("qwen2").write(folder / "m");
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    children.push_back(::fork());
    ASSERT_GE(children.back(), 0);
    if (children.back() != 0) continue;
    try {
      EngineFile::open(resolve_model(folder / "m", {.num_threads = 1, .say = [](const std::string&) {}}))->verify(1);
      ::_exit(0);
    } catch (const Error&) {
      ::_exit(1);
    }
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  size_t engines = 0;
  for (const auto& entry : fs::directory_iterator(folder / "cache/quern")) engines += entry.path().extension() == ".quern" ? 1 : 0;
  EXPECT_EQ(engines, 1U);
}

// C08
TEST(ModelCache, FolderByTheEnvironment) {
  {
    const Variable cache("XDG_CACHE_HOME", nullptr), home("HOME", "/somewhere");
    EXPECT_EQ(cache_folder(), "/somewhere/.cache/quern");
  }
  {
    const Variable cache("XDG_CACHE_HOME", "relative"), home("HOME", "/somewhere");  // relative ones count as unset
    EXPECT_EQ(cache_folder(), "/somewhere/.cache/quern");
  }
  const Variable cache("XDG_CACHE_HOME", nullptr), home("HOME", nullptr);
  const tiny::TestFolder folder;
  tiny::make("qwen2").write(folder / "m");
  try {
    resolve_model(folder / "m", Said().options());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), resource);
    EXPECT_NE(error.message().find("XDG_CACHE_HOME"), std::string::npos) << error.message();
  }
}

TEST(ModelCache, WhatCannotBeAModelIsNamed) {
  const tiny::TestFolder folder;
  tiny::write_file(folder / "text.txt", "no model");
  const std::pair<std::string, ErrorCode> kBad[] = {{folder / "absent", resource}, {"", resource}};
  for (const auto& [path, code] : kBad) {
    try {
      resolve_model(path);
      FAIL() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.message();
    }
  }
  EXPECT_EQ(resolve_model(folder / "text.txt"), folder / "text.txt");  // EngineFile::open says what it is not
}

}  // namespace
}  // namespace quern
