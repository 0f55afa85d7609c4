// Engine files that are damaged, foreign or hostile (their checksum repaired) are refused by name; what the system allows is only warned
// of.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "files/engine_file.h"
#include "files/gguf_sample.h"
#include "files/sample_files.h"
#include "files/xxh3.h"

namespace quern {
namespace {

using sample::TemporaryFolder;

constexpr size_t kChecksumAt = 8 + 38;

std::string good_engine() {
  const TemporaryFolder folder;
  EngineFileWriter writer(folder / "a.quern", sample::engine_layout(), {});
  writer.write(sample::engine_bytes());
  writer.finish(sample::engine_metadata());
  return sample::read_file(folder / "a.quern");
}

// The checksum made right again, as a hostile writer would.
std::string sealed(std::string bytes) {
  uint64_t length;
  std::memcpy(&length, bytes.data(), sizeof(length));
  bytes.replace(kChecksumAt, 16, std::string(16, '0'));
  bytes.replace(kChecksumAt, 16, fmt::format("{:016x}", xxh3_of(std::string_view(bytes).substr(0, 8 + length))));
  return bytes;
}

// `from` in the header replaced by `to`; the padding of the header takes up the difference.
std::string with(const std::string& engine, const std::string& from, const std::string& to) {
  std::string bytes = engine;
  const size_t at = bytes.find(from);
  CHECK(at != bytes.npos, "{}", from);
  bytes.replace(at, from.size(), to);
  uint64_t length;
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (to.size() > from.size()) bytes.erase(8 + length, to.size() - from.size());
  if (to.size() < from.size()) bytes.insert(8 + length - (from.size() - to.size()), from.size() - to.size(), ' ');
  return bytes;
}

struct Case {
  std::string name;
  std::function<std::string(const std::string& engine)> change;
  ErrorCode code;
  std::string fragment;
  friend std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }
};

std::function<std::string(const std::string&)> replaced(const std::string& from, const std::string& to) {
  return [=](const std::string& engine) { return sealed(with(engine, from, to)); };
}
std::function<std::string(const std::string&)> version(const std::string& text, bool is_sealed) {
  return [=](const std::string& engine) {
    const std::string bytes = with(engine, R"("quern.format_version":"1")", fmt::format(R"("quern.format_version":"{}")", text));
    return is_sealed ? sealed(bytes) : bytes;
  };
}
std::function<std::string(const std::string&)> instead(const std::string& bytes) {
  return [=](const std::string&) { return bytes; };
}

const Case kCases[] = {
    {"E01_Empty", instead(""), invalid_input, "file is empty"},
    {"E01_LengthStillZero", [](std::string engine) { return engine.replace(0, 8, 8, '\0'); }, invalid_input, "the file was never finished"},
    {"E01_HeaderChecksum", [](std::string engine) { return engine.replace(kChecksumAt, 1, engine[kChecksumAt] == 'a' ? "b" : "a"); },
     invalid_input, "header checksum"},
    {"E01_TensorChecksum", [](std::string engine) { return engine.replace(engine.size() - 1, 1, "?"); }, invalid_input,
     "tokenizer at offset"},
    {"E01_PaddingNotZero", [](std::string engine) { return engine.replace(engine.size() - 12, 1, "?"); }, invalid_input,
     "padding before tokenizer"},
    {"E02_Gguf", instead(sample::Gguf().bytes()), incompatible, "want an engine file of format version 1, found a GGUF file"},
    {"E02_Text", instead("#!/bin/sh\necho this is no engine, but a script\n"), incompatible, "found another kind of file"},
    {"E02_Safetensors", instead(sample::safetensors(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x")), incompatible,
     "found safetensors of another kind; build one with quern build"},
    {"E02_NewerVersion", version("2", true), incompatible,
     "engine format version: want 1, found 2; build the engine again with this version of quern, or use the version that wrote it"},
    {"E02_NewerVersionWithAnotherChecksum", version("2", false), incompatible, "want 1, found 2"},
    {"E02_MuchNewerVersion", version("999", false), incompatible, "want 1, found 999"},
    {"E02_OlderVersionWithAnotherChecksum", version("0", false), incompatible, "want 1, found 0"},
    {"E02_VersionOfOneWrongBit", version("3", false), invalid_input, "header checksum"},
    {"E02_VersionThree", version("3", true), incompatible, "want 1, found 3"},
    {"E02_OlderVersion", version("0", true), incompatible, "want 1, found 0; build the engine again with this version of quern"},
    {"E02_VersionIsNoNumber", version("x", true), invalid_input, "quern.format_version"},
    {"E02_RewrittenByAnotherTool",
     [](const std::string&) {
       return sample::safetensors(
           R"({"__metadata__":{"quern.chat":"null","quern.format_version":"1"},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x");
     },
     invalid_input, "or another tool wrote it"},
    {"E02_NewerAndRewritten",
     [](const std::string&) {
       return sample::safetensors(
           R"({"__metadata__":{"a":"b","quern.format_version":"7"},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x");
     },
     incompatible, "want 1, found 7"},
    {"E03_UnknownFormat", replaced("i4g32 [3,64]", "i3g77 [3,64]"), incompatible, "blk.0.q: weight format i3g77 is not known here"},
    {"E04_EndPastTheFile", replaced(R"("data_offsets":[0,60])", R"("data_offsets":[0,99999999])"), invalid_input,
     "embed: data_offsets: want an end of at most"},
    {"E04_EndOfAllOnes", replaced(R"("data_offsets":[0,60])", R"("data_offsets":[0,18446744073709551615])"), invalid_input,
     "embed: data_offsets"},
    {"E04_Overlap", replaced(R"("data_offsets":[60,256])", R"("data_offsets":[59,255])"), invalid_input, "overlaps embed"},
    {"E04_Unaligned",
     [](const std::string& engine) {
       return sealed(with(with(with(engine, R"([60,256])", R"([60,255])"), R"("shape":[196])", R"("shape":[195])"),
                          R"("data_offsets":[256,364])", R"("data_offsets":[255,363])"));
     },
     invalid_input, ""},
    {"E04_ShapeOverflows", replaced("bf16 [5,6]", "bf16 [4398046511104,4398046511104]"), invalid_input,
     "embed: [4398046511104,4398046511104] bf16: want a size of whole blocks"},
    {"E04_AnotherShape", replaced("bf16 [5,6]", "bf16 [6,5]"), invalid_input, "embed: want BF16 [6,5], found BF16 [5,6]"},
    {"E04_AnotherFormat", replaced("bf16 [5,6]", "f32 [5,6]"), invalid_input, "embed: [5,6] f32: want 120 bytes, found 60"},
    {"E04_SameSizeFormat", replaced("bf16 [5,6]", "f16 [5,6]"), invalid_input, "embed: want F16 [5,6], found BF16 [5,6]"},
    {"E04_PartOfABlock", replaced("i4g32 [3,64]", "i4g32 [3,33]"), invalid_input, "blk.0.q: [3,33] i4g32"},
    {"E04_ZeroDimension", replaced("bf16 [5,6]", "bf16 [0,6]"), invalid_input, "embed: want up to 4 dimensions from 1 on"},
    {"E04_FiveDimensions", replaced("bf16 [5,6]", "bf16 [1,1,1,5,6]"), invalid_input, "embed: want up to 4 dimensions"},
    {"E04_NoDimension", replaced("raw [11]", "raw []"), invalid_input, "tokenizer: [] raw"},
    {"E04_NegativeDimension", replaced("bf16 [5,6]", "bf16 [-5,6]"), invalid_input, "embed: want up to 4 dimensions"},
    {"E04_TextWithoutChecksum", replaced("raw [11] ", "raw [11]"), invalid_input, "tokenizer: want FORMAT [SHAPE] CHECKSUM"},
    {"E04_NoTextForATensor", replaced("quern.tensor.embed", "quern.tensor.embef"), invalid_input,
     "embed: want quern.tensor.NAME in the metadata"},
    {"E04_TextWithoutATensor", replaced(R"("quern.receipt":"null")", R"("quern.receipt":"null","quern.tensor.more":"x")"), invalid_input,
     "quern.tensor.more: want a tensor of that name"},
    {"E04_DuplicateMetadata", replaced(R"("quern.receipt":"null")", R"("quern.receipt":"null","quern.receipt":"1")"), invalid_input,
     "__metadata__ key quern.receipt is there twice"},
    {"E04_NoModelText", replaced("quern.model", "quern.moded"), invalid_input, "quern.model: want JSON, found nothing"},
    {"E04_ModelTextIsNotJson", replaced(R"("quern.receipt":"null")", R"("quern.receipt":"nul")"), invalid_input, "quern.receipt: not JSON"},
    {"E04_ModelTextIsDeep", replaced(R"("quern.receipt":"null")", fmt::format(R"("quern.receipt":"{}")", std::string(1000, '['))),
     invalid_input, "nested deeper than 64 levels"},
};

class EngineBadInput : public testing::TestWithParam<Case> {};

TEST_P(EngineBadInput, IsRefused) {
  const TemporaryFolder folder;
  const Case& c = GetParam();
  sample::write_file(folder / "b.quern", c.change(good_engine()));
  try {
    EngineFile::open(folder / "b.quern")->verify(1);
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), c.code) << error.message();
    EXPECT_NE(error.message().find(c.fragment), std::string::npos) << error.message();
    EXPECT_NE(error.message().find("b.quern"), std::string::npos) << error.message();
  }
}
INSTANTIATE_TEST_SUITE_P(All, EngineBadInput, testing::ValuesIn(kCases), [](const auto& test) { return test.param.name; });

TEST(EngineAccess, E03SealedCopyLoads) {
  const TemporaryFolder folder;
  sample::write_file(folder / "b.quern", sealed(good_engine()));
  EXPECT_NO_THROW(EngineFile::open(folder / "b.quern")->verify(1));
}

TEST(EngineAccess, E11MissingAndUnreadableAreResources) {
  const TemporaryFolder folder;
  sample::write_file(folder / "b.quern", good_engine());
  ASSERT_EQ(::chmod((folder / "b.quern").c_str(), 0), 0);
  for (const std::string name : {"nothing.quern", "b.quern"}) {
    if (name == "b.quern" && ::geteuid() == 0) continue;  // root reads all
    try {
      EngineFile::open(folder / name);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), resource) << error.message();
    }
  }
}

TEST(EngineAccess, E11OthersWhoCanWriteAreWarnedOf) {
  const TemporaryFolder folder;
  sample::write_file(folder / "b.quern", good_engine());
  ASSERT_EQ(::chmod((folder / "b.quern").c_str(), 0664), 0);
  testing::internal::CaptureStderr();
  EngineFile::open(folder / "b.quern");
  EXPECT_NE(testing::internal::GetCapturedStderr().find("others than its owner can change it (mode 664)"), std::string::npos);
  ASSERT_EQ(::chmod((folder / "b.quern").c_str(), 0644), 0);
  testing::internal::CaptureStderr();
  EngineFile::open(folder / "b.quern");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace quern
