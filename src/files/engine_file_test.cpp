// An engine file comes back as it was written, is the same bytes each time, and no damage to it goes unseen.
#include "files/engine_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>

#include "files/safetensors_header.h"
#include "files/sample_files.h"
#include "files/xxh3.h"
#include "source_dir.h"

namespace quern {
namespace {

using sample::TemporaryFolder;

void write_engine(const std::string& path, size_t piece = sample::kEngineBytes) {
  EngineFileWriter writer(path, sample::engine_layout(), {});
  const std::vector<std::byte> bytes = sample::engine_bytes();
  for (size_t i = 0; i < bytes.size(); i += piece) writer.write(std::span(bytes).subspan(i, std::min(piece, bytes.size() - i)));
  writer.finish(sample::engine_metadata());
}

// What open() and verify() say of `bytes`: "" when they find nothing, else "CODE MESSAGE".
std::string answer(const std::string& path, std::string_view bytes) {
  sample::write_file(path, bytes);
  try {
    EngineFile::open(path)->verify(1);
    return "";
  } catch (const Error& error) {
    return fmt::format("{} {}", static_cast<int>(error.code()), error.message());
  }
}

TEST(EngineFile, ComesBackAsItWasWritten) {
  const TemporaryFolder folder;
  write_engine(folder / "a.quern");
  const std::shared_ptr<EngineFile> engine = EngineFile::open(folder / "a.quern");
  engine->verify(2);
  const EngineMetadata want = sample::engine_metadata();
  EXPECT_EQ(engine->metadata().model, want.model);
  EXPECT_EQ(engine->metadata().generation, want.generation);
  EXPECT_EQ(engine->metadata().chat, want.chat);
  EXPECT_EQ(engine->metadata().build, want.build);
  EXPECT_EQ(engine->metadata().receipt, want.receipt);
  ASSERT_EQ(engine->tensors().size(), 4U);
  size_t at = 0;
  const std::vector<std::byte> bytes = sample::engine_bytes();
  for (const EngineTensorInfo& tensor : engine->tensors()) {
    EXPECT_EQ(tensor.offset % kTensorAlignment, 0U) << tensor.name;
    EXPECT_EQ(std::memcmp(engine->file().bytes().data() + tensor.offset, bytes.data() + at, tensor.bytes), 0) << tensor.name;
    at += tensor.bytes;
  }
  EXPECT_EQ(at, bytes.size());
  EXPECT_EQ(engine->tokenizer_bytes().size(), 11U);
  const Tensor q = engine->tensor("blk.0.q", Shape{3, 64});
  EXPECT_EQ(q.format, Format::i4g32);
  EXPECT_EQ(q.bytes(), 108U);
}

TEST(EngineFile, IsTheSameBytesWhateverThePieces) {
  const TemporaryFolder folder;
  write_engine(folder / "a.quern");
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{60}}) {
    write_engine(folder / "b.quern", piece);
    EXPECT_EQ(sample::read_file(folder / "a.quern"), sample::read_file(folder / "b.quern")) << piece;
  }
}

TEST(EngineFile, LargeTensorsPassThroughTheBuffer) {
  const TemporaryFolder folder;
  std::vector<EngineTensorInfo> layout = {{.name = "a", .format = Format::f32, .shape = Shape{1000, 701}},
                                          {.name = "b", .format = Format::f32, .shape = Shape{3}}};
  std::vector<std::byte> bytes(1000 * 701 * 4 + 12);
  std::mt19937 random(3);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  EngineFileWriter writer(folder / "a.quern", layout, {});
  for (size_t i = 0, piece = 1; i < bytes.size(); i += piece, piece = piece * 5 % 2'000'003) {
    piece = std::min(piece, bytes.size() - i);
    writer.write(std::span(bytes).subspan(i, piece));
  }
  writer.finish({});
  const std::shared_ptr<EngineFile> engine = EngineFile::open(folder / "a.quern");
  engine->verify(1);
  EXPECT_EQ(std::memcmp(engine->tensor("a", Shape{1000, 701}).data, bytes.data(), bytes.size() - 12), 0);
  EXPECT_EQ(std::memcmp(engine->tensor("b", Shape{3}).data, bytes.data() + bytes.size() - 12, 12), 0);
}

TEST(EngineFile, TensorSaysWhatIsWantedAndWhatIsThere) {
  const TemporaryFolder folder;
  write_engine(folder / "a.quern");
  const std::shared_ptr<EngineFile> engine = EngineFile::open(folder / "a.quern");
  const Format wide[] = {Format::f32, Format::bf16};
  struct Case {
    std::function<void()> act;
    const char* want;
  };
  const Case cases[] = {
      {[&] { engine->tensor("blk.0.k", Shape{1}); }, "blk.0.k: want [1] of any format, file has nothing of that name"},
      {[&] {
         engine->tensor("blk.0.q", Shape{64, 3});
       },
       "blk.0.q: want [64,3] of any format, file has [3,64] i4g32"},
      {[&] {
         engine->tensor("blk.0.q", Shape{3, 64}, wide);
       },
       "blk.0.q: want [3,64] f32|bf16, file has [3,64] i4g32"},
      {[&] { engine->tensor("tokenizer", Shape{11}); }, "tokenizer: want [11] of any format, file has 11 bytes without a format"},
  };
  for (const Case& c : cases) {
    try {
      c.act();
      ADD_FAILURE() << c.want;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), invalid_input);
      EXPECT_NE(error.message().find(c.want), std::string::npos) << error.message();
    }
  }
}

TEST(EngineFile, E01TruncatedAtEveryByteIsRefused) {
  const TemporaryFolder folder;
  write_engine(folder / "a.quern");
  const std::string whole = sample::read_file(folder / "a.quern");
  EXPECT_EQ(answer(folder / "b.quern", whole), "");
  size_t num_points = 0;
  for (size_t length = 0; length < whole.size(); length += length < 2000 || length + 1000 > whole.size() ? 1 : 97, ++num_points) {
    const std::string got = answer(folder / "b.quern", whole.substr(0, length));
    ASSERT_TRUE(got.starts_with("3 ")) << length << ' ' << got;
  }
  EXPECT_GE(num_points, 1000U);
  EXPECT_TRUE(answer(folder / "b.quern", "").starts_with("3 ")) << "0 bytes";
  EXPECT_NE(answer(folder / "b.quern", "").find("empty"), std::string::npos);
  EXPECT_TRUE(answer(folder / "b.quern", whole + "x").starts_with("3 ")) << "one byte more";
}

TEST(EngineFile, E01AnyFlippedBitIsSeen) {
  const TemporaryFolder folder;
  write_engine(folder / "a.quern");
  const std::string whole = sample::read_file(folder / "a.quern");
  const std::string path = folder / "b.quern";
  sample::write_file(path, whole);
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  size_t num_points = 0;
  for (size_t at = 0; at < whole.size(); at += at < 1500 || at + 600 > whole.size() ? 1 : 211, ++num_points) {
    const int bit = static_cast<int>(at % 8);
    const auto put = [&](char byte) {
      file.seekp(static_cast<std::streamoff>(at));
      file.put(byte).flush();
    };
    put(static_cast<char>(whole[at] ^ (1 << bit)));
    try {
      EngineFile::open(path)->verify(1);
      ADD_FAILURE() << "byte " << at << " bit " << bit;
    } catch (const Error& error) {
      // One bit makes version 1 a version 0, which is answered as a version.
      EXPECT_TRUE(error.code() == invalid_input || error.message().find("format version: want 1, found 0") != std::string::npos)
          << "byte " << at << " bit " << bit << ": " << error.message();
    }
    put(whole[at]);
  }
  EXPECT_GE(num_points, 2000U);
  EngineFile::open(path)->verify(1);
}

TEST(EngineFile, ExampleOfTheDocumentationIsTrue) {
  const TemporaryFolder folder;
  EngineFileWriter writer(
      folder / "a.quern",
      {{.name = "norm", .format = Format::bf16, .shape = Shape{2, 2}}, {.name = "tokenizer", .shape = Shape{3}, .is_raw = true}}, {});
  const std::string_view bytes(
      "\x80\x3f\x00\x40\x00\xc0\x00\x3f"
      "abc",
      11);
  writer.write(std::as_bytes(std::span(bytes)));
  writer.finish({.model = {{"family", "qwen2"}}});
  const std::string file = sample::read_file(folder / "a.quern"), page = sample::read_file(source_dir() + "/docs/engine_file.md");
  EXPECT_EQ(file.size(), 66'307U);
  // Every line of the dump: "00000030: 6331 3734 ...".
  size_t num_lines = 0;
  for (size_t at = page.find("00000000: "); at != page.npos && page[at] != '`'; at = page.find('\n', at) + 1, ++num_lines) {
    const std::string line = page.substr(at, page.find('\n', at) - at);
    if (line.starts_with("...")) continue;
    const auto offset = std::stoul(line.substr(0, 8), nullptr, 16);
    std::string want = fmt::format("{:08x}:", offset);
    for (size_t i = offset; i < std::min(offset + 16, file.size()); ++i) {
      want += fmt::format("{}{:02x}", i % 2 == 0 ? " " : "", static_cast<unsigned char>(file[i]));
    }
    EXPECT_TRUE(line.starts_with(want)) << line << "\nwant " << want;
  }
  EXPECT_GE(num_lines, 30U);
}

}  // namespace
}  // namespace quern
