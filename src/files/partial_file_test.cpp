// The final name never holds half an engine: a build is killed or fails at every system call it makes, and what was there stays.
#include "files/partial_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>
#include <optional>
#include <random>
#include <system_error>

#include "base/log.h"
#include "files/sample_files.h"

namespace quern {
namespace {

using sample::TemporaryFolder;

enum class Call { open, pwrite, fsync, close, rename, unlink, flock };

// Does something else instead of call number `at` (from 1) of any kind, or of one kind.
class InjectedCalls : public FileCalls {
 public:
  InjectedCalls(size_t at, std::optional<Call> kind, std::function<int()> instead) : at_(at), kind_(kind), instead_(std::move(instead)) {}

  size_t count() const { return count_; }

  int open(const char* path, int flags, mode_t mode) override {
    return is_hit(Call::open) ? instead_() : FileCalls::open(path, flags, mode);
  }
  ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) override {
    return is_hit(Call::pwrite) ? instead_() : FileCalls::pwrite(fd, bytes, count, offset);
  }
  int fsync(int) override { return is_hit(Call::fsync) ? instead_() : 0; }  // a real one takes 10 ms and proves nothing here
  int close(int fd) override {
    if (!is_hit(Call::close)) return FileCalls::close(fd);
    FileCalls::close(fd);  // the descriptor is gone whatever close returns
    return instead_();
  }
  int rename(const char* from, const char* to) override { return is_hit(Call::rename) ? instead_() : FileCalls::rename(from, to); }
  int unlink(const char* path) override { return is_hit(Call::unlink) ? instead_() : FileCalls::unlink(path); }
  int flock(int fd, int operation) override { return is_hit(Call::flock) ? instead_() : FileCalls::flock(fd, operation); }

 private:
  bool is_hit(Call call) { return (!kind_ || *kind_ == call) && ++count_ == at_; }

  size_t at_, count_ = 0;
  std::optional<Call> kind_;
  std::function<int()> instead_;
};

int failing_with(int error) {
  errno = error;
  return -1;
}

void build(const std::string& path, FileCalls& calls, const std::vector<std::string>& inputs = {}) {
  EngineFileWriter writer(path, sample::engine_layout(), inputs, calls);
  const std::vector<std::byte> bytes = sample::engine_bytes();
  for (const std::byte& byte : bytes) writer.write(std::span(&byte, 1));
  writer.finish(sample::engine_metadata());
}

std::string built_bytes() {
  const TemporaryFolder folder;
  FileCalls calls;
  build(folder / "a.quern", calls);
  return sample::read_file(folder / "a.quern");
}

bool has(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

bool loads(const std::string& path) {
  try {
    EngineFile::open(path)->verify(1);
    return true;
  } catch (const Error&) {
    return false;
  }
}

// The message of the error that `act` throws; its code must be `code`.
std::string refused(ErrorCode code, const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.message();
    return error.message();
  }
  ADD_FAILURE() << "was accepted";
  return "";
}

TEST(PartialFile, E07KilledAtEveryCallLeavesNoHalfEngine) {
  const std::string whole = built_bytes();
  const TemporaryFolder folder;
  const std::string path = folder / "a.quern";
  bool was_killed = true;
  size_t num_kills = 0, num_leftovers = 0;
  for (size_t at = 1; was_killed; ++at) {
    for (const std::string old : {"", "the older engine"}) {
      std::filesystem::remove(path);
      if (!old.empty()) sample::write_file(path, old);
      const pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        InjectedCalls calls(at, std::nullopt, [] { return ::kill(::getpid(), SIGKILL); });
        try {
          build(path, calls);
        } catch (...) {
          ::_exit(1);
        }
        ::_exit(0);
      }
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      was_killed = WIFSIGNALED(status);
      ASSERT_TRUE(was_killed || WEXITSTATUS(status) == 0) << at;
      num_kills += was_killed ? 1 : 0;
      const std::string found = has(path) ? sample::read_file(path) : "";
      ASSERT_TRUE(found == old || found == whole) << "killed at call " << at << ", " << found.size() << " bytes";
      if (has(path + ".partial")) {
        ++num_leftovers;
        // Whole, or no engine: its length is written last.
        const bool is_whole = sample::read_file(path + ".partial") == whole;
        EXPECT_TRUE(is_whole || !loads(path + ".partial")) << at;
      }
      testing::internal::CaptureStderr();
      const bool had_leftover = has(path + ".partial");
      InjectedCalls quick(0, std::nullopt, [] { return 0; });
      build(path, quick);
      EXPECT_EQ(testing::internal::GetCapturedStderr().find("which an unfinished build left") != std::string::npos, had_leftover) << at;
      ASSERT_EQ(sample::read_file(path), whole) << at;
      ASSERT_FALSE(has(path + ".partial")) << at;
    }
  }
  EXPECT_GE(num_kills, 20U);
  EXPECT_GE(num_leftovers, 15U);
}

TEST(PartialFile, E07KilledAtRandomTimesLeavesNoHalfEngine) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.quern";
  const std::string whole = built_bytes();
  std::mt19937 random(5);
  size_t num_unfinished = 0;
  for (int i = 0; i < 40; ++i) {
    std::filesystem::remove(path);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      set_log_level(LogLevel::off);
      for (;;) {
        InjectedCalls calls(0, std::nullopt, [] { return 0; });
        try {
          build(path, calls);
        } catch (...) {
          ::_exit(1);
        }
      }
    }
    ::usleep(static_cast<useconds_t>(200 + random() % 4000));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    num_unfinished += has(path + ".partial") ? 1 : 0;
    if (has(path)) {
      ASSERT_EQ(sample::read_file(path), whole);
    }
  }
  testing::Test::RecordProperty("unfinished", static_cast<int>(num_unfinished));
}

TEST(PartialFile, E09EveryFailingCallIsAResourceErrorAndDamagesNothing) {
  const std::string whole = built_bytes();
  const TemporaryFolder folder;
  const std::string path = folder / "a.quern", input = folder / "input.gguf";
  sample::write_file(input, "the input");
  size_t num_failures = 0;
  for (const Call kind : {Call::open, Call::pwrite, Call::fsync, Call::close, Call::rename, Call::flock}) {
    for (const int error : {ENOSPC, EDQUOT, EIO, EROFS}) {
      bool was_hit = true;
      for (size_t at = 1; was_hit; ++at) {
        sample::write_file(path, "the older engine");
        InjectedCalls calls(at, kind, [error] { return failing_with(error); });
        std::string message;
        try {
          build(path, calls, {input});
        } catch (const Error& e) {
          EXPECT_EQ(e.code(), resource) << e.message();
          message = e.message();
          ++num_failures;
        }
        was_hit = calls.count() >= at;
        const std::string found = sample::read_file(path);
        ASSERT_FALSE(has(path + ".partial")) << message;
        ASSERT_EQ(sample::read_file(input), "the input");
        if (message.empty()) {
          // Not reached, or a close after the file is safe.
          ASSERT_EQ(found, whole);
          ASSERT_TRUE(!was_hit || kind == Call::close) << static_cast<int>(kind) << " call " << at;
          continue;
        }
        const bool is_renamed = message.find("the file is complete") != std::string::npos;
        ASSERT_EQ(found, is_renamed ? whole : "the older engine") << message;
        EXPECT_NE(message.find(path), std::string::npos) << message;
        EXPECT_NE(message.find(std::generic_category().message(error)), std::string::npos) << message;
        if (kind == Call::pwrite) {
          EXPECT_NE(message.find(fmt::format("the file needs {} bytes", whole.size())), std::string::npos) << message;
        }
      }
    }
  }
  EXPECT_GE(num_failures, 50U);
}

TEST(PartialFile, E09ShortWritesAreContinuedAndNoProgressIsAFullDisk) {
  class ShortCalls : public FileCalls {
   public:
    explicit ShortCalls(size_t most) : most_(most) {}
    ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) override {
      if (++calls_ % 3 == 0) return failing_with(EINTR);
      return most_ == 0 ? 0 : FileCalls::pwrite(fd, bytes, std::min(count, most_), offset);
    }

   private:
    size_t most_, calls_ = 0;
  };
  const TemporaryFolder folder;
  ShortCalls by_parts(997), full(0);
  build(folder / "a.quern", by_parts);
  EXPECT_EQ(sample::read_file(folder / "a.quern"), built_bytes());
  EXPECT_NE(refused(resource, [&] { build(folder / "b.quern", full); }).find("No space left on device"), std::string::npos);
  EXPECT_FALSE(has(folder / "b.quern"));
  EXPECT_FALSE(has(folder / "b.quern.partial"));
}

TEST(PartialFile, E09TooLittleSpaceIsToldBeforeAByteIsWritten) {
  class FullDisk : public FileCalls {
   public:
    int64_t free_bytes(const char*) override { return 1000; }
  };
  const TemporaryFolder folder;
  FullDisk calls;
  const std::string message = refused(resource, [&] { build(folder / "a.quern", calls); });
  EXPECT_NE(message.find(fmt::format("want {} bytes of free space, found 1000", built_bytes().size())), std::string::npos) << message;
  EXPECT_FALSE(has(folder / "a.quern.partial"));
}

TEST(PartialFile, E06SecondBuildToOnePathIsRefusedWithThePid) {
  const TemporaryFolder folder;
  FileCalls calls;
  {
    EngineFileWriter first(folder / "a.quern", sample::engine_layout(), {});
    const std::string message = refused(resource, [&] { build(folder / "a.quern", calls); });
    EXPECT_NE(message.find(fmt::format("the lock is held by pid {}", ::getpid())), std::string::npos) << message;
    first.write(sample::engine_bytes());
    first.finish(sample::engine_metadata());
  }
  EXPECT_EQ(sample::read_file(folder / "a.quern"), built_bytes());
  build(folder / "a.quern", calls);
}

TEST(PartialFile, E06RacingBuildsEachSucceedOrNameTheLock) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.quern", whole = built_bytes();
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      set_log_level(LogLevel::off);
      for (int round = 0; round < 60; ++round) {
        InjectedCalls calls(0, std::nullopt, [] { return 0; });
        try {
          build(path, calls);
        } catch (const Error& error) {
          if (error.code() != resource) ::_exit(1);
        }
        if (has(path) && sample::read_file(path) != whole) ::_exit(2);
      }
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  EXPECT_EQ(sample::read_file(path), whole);
  EXPECT_FALSE(has(path + ".partial"));
}

TEST(PartialFile, AbandonedWriterRemovesItsFile) {
  const TemporaryFolder folder;
  {
    EngineFileWriter writer(folder / "a.quern", sample::engine_layout(), {});
    writer.write(std::vector<std::byte>(10));
    EXPECT_TRUE(has(folder / "a.quern.partial"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(PartialFile, E08OutputThatIsAnInputIsRefused) {
  const TemporaryFolder folder;
  const std::string input = folder / "model.gguf";
  sample::write_file(input, "the input");
  std::filesystem::create_symlink("model.gguf", folder / "link.quern");
  std::filesystem::create_hard_link(input, folder / "hard.quern");
  std::filesystem::create_hard_link(input, folder / "c.quern.partial");
  FileCalls calls;
  for (const std::string name : {"model.gguf", "./model.gguf", "link.quern", "hard.quern", "c.quern"}) {
    const std::string message = refused(usage, [&] { build(folder / name, calls, {folder / "other", input}); });
    EXPECT_NE(message.find("are the same file"), std::string::npos) << message;
    EXPECT_EQ(sample::read_file(input), "the input");
  }
}

TEST(PartialFile, E10FoldersThatCannotHoldTheFileAreNamed) {
  const TemporaryFolder folder;
  FileCalls calls;
  sample::write_file(folder / "file", "x");
  std::filesystem::create_directory(folder / "folder");
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  std::filesystem::create_symlink("file", folder / "d.quern.partial");
  struct Case {
    std::string path;
    ErrorCode code;
    const char* fragment;
  };
  const Case cases[] = {
      {folder / "missing/a.quern", resource, "No such file or directory"},
      {folder / "file/a.quern", resource, "Not a directory"},
      {folder / "folder", resource, "found a folder"},
      {folder / "fifo", resource, "found a special file"},
      {"/dev/null", resource, "found a special file"},
      {folder / "d.quern", resource, "which is there already"},
      {folder / "folder/", usage, "want the name of a file to write"},
      {"", usage, "want the name of a file to write"},
      {std::string("a\0b", 3), usage, "a\\x00b"},
  };
  for (const Case& c : cases) {
    const std::string message = refused(c.code, [&] { build(c.path, calls); });
    EXPECT_NE(message.find(c.fragment), std::string::npos) << message;
  }
  EXPECT_EQ(sample::read_file(folder / "file"), "x");
  if (::geteuid() != 0) {
    ASSERT_EQ(::chmod((folder / "folder").c_str(), 0555), 0);
    EXPECT_NE(refused(resource, [&] { build(folder / "folder/a.quern", calls); }).find("Permission denied"), std::string::npos);
  }
}

TEST(PartialFile, E05OpenEngineGoesOnWhenItsPathIsReplaced) {
  const TemporaryFolder folder;
  FileCalls calls;
  build(folder / "a.quern", calls);
  const std::shared_ptr<EngineFile> engine = EngineFile::open(folder / "a.quern");
  EngineFileWriter writer(folder / "a.quern", {{.name = "other", .format = Format::f32, .shape = Shape{1}}}, {});
  writer.write(std::vector<std::byte>(4));
  writer.finish({});
  EXPECT_NO_THROW(engine->verify(1));
  EXPECT_EQ(engine->tensors().size(), 4U);
  EXPECT_EQ(EngineFile::open(folder / "a.quern")->tensors().size(), 1U);
}

TEST(PartialFile, WrongUseOfTheWriterIsABrokenInvariant) {
  const TemporaryFolder folder;
  const auto writer = [&](std::vector<EngineTensorInfo> layout) { return EngineFileWriter(folder / "a.quern", std::move(layout), {}); };
  refused(internal, [&] { writer({{.name = "", .shape = Shape{1}}}); });
  refused(internal, [&] { writer({{.name = "__metadata__", .shape = Shape{1}}}); });
  refused(internal, [&] { writer({{.name = "__pad.0", .shape = Shape{1}}}); });
  refused(internal, [&] { writer({{.name = "a", .shape = Shape{1}}, {.name = "a", .shape = Shape{1}}}); });
  refused(internal, [&] { writer({{.name = "a", .format = Format::q4_k, .shape = Shape{100}}}); });
  refused(internal, [&] { writer({{.name = "a", .shape = Shape{}}}); });
  refused(internal, [&] { writer({{.name = "a", .shape = Shape{2, 0}}}); });
  refused(internal, [&] { writer({{.name = "a", .shape = Shape{2}}}).finish({}); });
  refused(internal, [&] { writer({{.name = "a", .shape = Shape{2}}}).write(std::vector<std::byte>(9)); });
  refused(internal, [&] { writer({}).finish({.model = std::string(100'000, 'x')}); });
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace quern
