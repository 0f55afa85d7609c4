// Every class F of reference/reliability.md that one safetensors file can show is refused by name; good files are read.
#include <gtest/gtest.h>

#include <cmath>

#include "files/bad_input.h"
#include "files/json_scanner.h"
#include "files/safetensors_header.h"

namespace quern {
namespace {

using sample::BadInput;
using sample::TemporaryFolder;

std::function<std::string(const TemporaryFolder&)> file_of(std::string bytes) {
  return [bytes = std::move(bytes)](const TemporaryFolder& folder) {
    sample::write_file(folder / "config.json", "{}");
    sample::write_file(folder / "model.safetensors", bytes);
    return folder.path();
  };
}

// A file with this header and `data_bytes` bytes of data.
std::function<std::string(const TemporaryFolder&)> header_of(const std::string& header, size_t data_bytes = 0) {
  return file_of(sample::safetensors(header, std::string(data_bytes, 'x')));
}

// One tensor "w" whose entry has these fields.
std::function<std::string(const TemporaryFolder&)> entry_of(const std::string& fields, size_t data_bytes) {
  return header_of("{\"w\":{" + fields + "}}", data_bytes);
}

// A file of `size` bytes of which only the first ones are written; the rest are holes.
std::function<std::string(const TemporaryFolder&)> sparse_of(const std::string& start, uint64_t size) {
  return [=](const TemporaryFolder& folder) {
    file_of(start)(folder);
    std::filesystem::resize_file(folder / "model.safetensors", size);
    return folder.path();
  };
}

std::string many_tensors(size_t count) {
  std::string header = "{";
  header.reserve(count * 60);
  for (size_t i = 0; i < count; ++i) {
    if (i > 0) header += ',';
    header += "\"t" + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  }
  return header + "}";
}

const BadInput kCases[] = {
    {"F01_Empty", file_of(""), invalid_input, "model.safetensors: file is empty"},
    {"F02_SevenBytes", file_of("1234567"), invalid_input, "want the 8 bytes of the header length, file has 7 bytes"},
    {"F02_OneByte", file_of("1"), invalid_input, "file has 1 bytes"},
    {"F03_LengthOfAllOnes", file_of(sample::bytes_of<uint64_t>(~uint64_t{0}) + "{}"), invalid_input,
     "header length at offset 0: want at most 2"},
    {"F03_LengthOfTheSignBit", file_of(sample::bytes_of<uint64_t>(uint64_t{1} << 63) + "{}"), invalid_input, "found 9223372036854775808"},
    {"F04_LengthIsFileSizePlusOne", file_of(sample::bytes_of<uint64_t>(11) + "{}"), invalid_input, "(the file has 10 bytes"},
    {"F04_LengthIsOneTooMany", file_of(sample::bytes_of<uint64_t>(3) + "{}"), invalid_input, "want at most 2"},
    {"F05_HeaderOver100MB", sparse_of(sample::bytes_of<uint64_t>(100'000'001) + "{", 100'000'100), invalid_input, "the limit is 100000000"},
    {"F05_HeaderOf100MBOfZeros", sparse_of(sample::bytes_of<uint64_t>(100'000'000) + "{", 100'000'008), invalid_input, "JSON at offset 9"},
    {"F06_NoBrace", header_of("[]"), invalid_input, "header at offset 8: want '{', found byte 0x5b"},
    {"F06_ZeroLength", header_of(""), invalid_input, "want at least 2, found 0"},
    {"F06_SpaceFirst", header_of(" {}"), invalid_input, "found byte 0x20"},
    {"F07_InvalidUtf8", header_of("{\"\xff\":1}"), invalid_input, "invalid UTF-8 at offset 10"},
    {"F07_Surrogate", header_of("{\"a\xed\xa0\x80\":1}"), invalid_input, "invalid UTF-8 at offset 11"},
    {"F07_HalfAnEscapedSurrogate", header_of("{\"a\\ud800\":1}"), invalid_input, "surrogate pair"},
    {"F08_Depth10000", header_of("{\"a\":" + std::string(10'000, '[') + std::string(10'000, ']') + "}"), invalid_input,
     "nested deeper than 64 levels"},
    {"F08_DepthOfMetadata", header_of("{\"__metadata__\":" + std::string(5'000'000, '{')), invalid_input, "nested deeper than 64 levels"},
    {"F09_DuplicateName",
     header_of(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2),
     invalid_input, "tensor w is there twice"},
    {"F09_DuplicateNameByEscape",
     header_of(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0077":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2),
     invalid_input, "tensor w is there twice"},
    {"F09_DuplicateField", entry_of(R"("dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1])", 1), invalid_input,
     "found field dtype"},
    {"F09_DuplicateMetadata", header_of(R"({"__metadata__":{},"__metadata__":{}})"), invalid_input, "__metadata__"},
    {"F10_MetadataNumber", header_of(R"({"__metadata__":{"format":1}})"), invalid_input, "__metadata__ key format"},
    {"F10_MetadataList", header_of(R"({"__metadata__":{"a":"b","c":["d"]}})"), invalid_input, "__metadata__ key c"},
    {"F10_MetadataIsAString", header_of(R"({"__metadata__":"a"})"), invalid_input, "want '{'"},
    {"F10_MetadataIsAList", header_of(R"({"__metadata__":["pt"]})"), invalid_input, "__metadata__: JSON at offset 24: want '{'"},
    {"F11_BeginAfterEnd", entry_of(R"("dtype":"U8","shape":[1],"data_offsets":[2,1])", 2), invalid_input,
     "w: data_offsets: want begin <= end, found [2,1]"},
    {"F12_EndPastTheFile", entry_of(R"("dtype":"U8","shape":[3],"data_offsets":[0,3])", 2), invalid_input,
     "want an end of at most 2 (bytes of data), found 3"},
    {"F12_EndOfAllOnes", entry_of(R"("dtype":"U8","shape":[3],"data_offsets":[0,18446744073709551615])", 2), invalid_input,
     "found 18446744073709551615"},
    {"F13_Overlap",
     header_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3),
     invalid_input, "b [1,3] overlaps a"},
    {"F13_SameRange",
     header_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2),
     invalid_input, "overlaps"},
    {"F14_Hole",
     header_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})", 3),
     invalid_input, "data bytes [1,2] before b belong to no tensor"},
    {"F14_HoleAtTheStart", entry_of(R"("dtype":"U8","shape":[1],"data_offsets":[1,2])", 2), invalid_input, "data bytes [0,1]"},
    {"F14_TrailingBytes", entry_of(R"("dtype":"U8","shape":[1],"data_offsets":[0,1])", 2), invalid_input, "data bytes [1,2] at the end"},
    {"F14_DataWithoutTensors", header_of("{}", 5), invalid_input, "data bytes [0,5] at the end"},
    {"F15_TooFewBytes", entry_of(R"("dtype":"F32","shape":[2,3],"data_offsets":[0,20])", 20), invalid_input,
     "F32 [2,3] is 24 bytes, data_offsets [0,20] are 20"},
    {"F15_HalfAByte", entry_of(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])", 1), invalid_input, "is 1 and a part bytes"},
    {"F16_ProductOverflows", entry_of(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0])", 0), invalid_input,
     "shape [4294967296,4294967296]: size overflows 64 bits"},
    {"F16_BytesOverflow", entry_of(R"("dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0])", 0), invalid_input,
     "overflows 64 bits"},
    {"F16_OverflowTimesZero", entry_of(R"("dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0])", 0), invalid_input,
     "overflows"},
    {"F17_Negative", entry_of(R"("dtype":"U8","shape":[-1],"data_offsets":[0,1])", 1), invalid_input,
     "dimension is not an unsigned integer: found -1"},
    {"F17_Fractional", entry_of(R"("dtype":"U8","shape":[1.5],"data_offsets":[0,1])", 1), invalid_input,
     "dimension is not an unsigned integer: found 1.5"},
    {"F17_Exponent", entry_of(R"("dtype":"U8","shape":[1e400],"data_offsets":[0,1])", 1), invalid_input,
     "dimension is not an unsigned integer: found 1e400"},
    {"F17_Text", entry_of(R"("dtype":"U8","shape":["1"],"data_offsets":[0,1])", 1), invalid_input, "dimension is not an unsigned integer"},
    {"F17_LeadingZero", entry_of(R"("dtype":"U8","shape":[01],"data_offsets":[0,1])", 1), invalid_input,
     "dimension is not an unsigned integer: found 01"},
    {"F17_Over64Bits", entry_of(R"("dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1])", 1), invalid_input,
     "dimension is not an unsigned integer"},
    {"F17_NegativeOffset", entry_of(R"("dtype":"U8","shape":[1],"data_offsets":[-1,0])", 1), invalid_input,
     "data_offsets is not an unsigned integer"},
    {"F17_OneOffset", entry_of(R"("dtype":"U8","shape":[1],"data_offsets":[0])", 1), invalid_input, "want ','"},
    {"F17_ThreeOffsets", entry_of(R"("dtype":"U8","shape":[1],"data_offsets":[0,1,1])", 1), invalid_input, "want ']'"},
    {"F18_Rank9", entry_of(R"("dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1])", 1), invalid_input, "at most 8 dimensions"},
    {"F19_UnknownDtype", entry_of(R"("dtype":"F7","shape":[1],"data_offsets":[0,1])", 1), invalid_input,
     "dtype: want one of F32, F16, BF16"},
    {"F19_DtypeInLowerCase", entry_of(R"("dtype":"f32","shape":[1],"data_offsets":[0,4])", 4), invalid_input, "found f32"},
    {"F18_ShapeIsANumber", entry_of(R"("dtype":"U8","shape":1,"data_offsets":[0,1])", 1), invalid_input, "w: JSON at offset"},
    {"F19_DtypeIsANumber", entry_of(R"("dtype":32,"shape":[1],"data_offsets":[0,1])", 1), invalid_input, "w: JSON at offset"},
    {"F19_NoDtype", entry_of(R"("shape":[1],"data_offsets":[0,1])", 1), invalid_input, "found no dtype"},
    {"F19_NoShape", entry_of(R"("dtype":"U8","data_offsets":[0,1])", 1), invalid_input, "found no shape"},
    {"F19_NoOffsets", entry_of(R"("dtype":"U8","shape":[1])", 1), invalid_input, "found no data_offsets"},
    {"F19_UnknownField", entry_of(R"("dtype":"U8","shape":[1],"data_offsets":[0,1],"strides":[1])", 1), invalid_input,
     "found field strides"},
    {"F20_OverAMillionTensors", [](const TemporaryFolder& folder) { return header_of(many_tensors(1'000'001))(folder); }, invalid_input,
     "at most 1000000 tensors"},
    {"F20_TenMillionTensors",
     sparse_of(sample::bytes_of<uint64_t>(540'000'000) + R"({"t0":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)", 540'000'008),
     invalid_input, "the limit is 100000000"},
    {"F21_NameOf1MiB", header_of("{\"" + std::string(1 << 20, 'n') + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
     invalid_input, "tensor name at offset 9: want at most 4096 bytes"},
    {"F21_NameWithNul", header_of(R"({"a\u0000b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1), invalid_input,
     "a\\x00b: holds the control character 0x00"},
    {"F21_NameWithEscapeCharacter", header_of(R"({"a\u001b[2Jb":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1), invalid_input,
     "a\\x1b[2Jb"},
    {"F21_NameWithRawNewline", header_of("{\"a\nb\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1), invalid_input,
     "control character \\x0a"},
    {"F21_EmptyName", header_of(R"({"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1), invalid_input, "empty name"},
    {"Json_Truncated", header_of(R"({"w":{"dtype":"U8")"), invalid_input, "found its end"},
    {"Json_TrailingText", header_of(R"({}x)"), invalid_input, "want nothing more, found x"},
    {"Json_TrailingComma", header_of(R"({"__metadata__":{},})"), invalid_input, "want a string"},
    {"Json_EmptyEntry", header_of(R"({"w":{}})"), invalid_input, "want a string"},
    {"Json_EntryIsNull", header_of(R"({"w":null})"), invalid_input, "want '{', found null"},
    {"Json_UnknownEscape", header_of(R"({"\x":1})"), invalid_input, "want an escape of JSON"},
};

class SafetensorsBadInput : public testing::TestWithParam<BadInput> {};
TEST_P(SafetensorsBadInput, IsRefused) { sample::expect_refused(GetParam()); }
INSTANTIATE_TEST_SUITE_P(All, SafetensorsBadInput, testing::ValuesIn(kCases), [](const auto& test) { return test.param.name; });

// A small file with every kind of thing in it.
std::string good_file() {
  return sample::safetensors(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},"a\u00e9":{"shape":[],"data_offsets":[0,4],"dtype":"F32"},)"
      R"("ids":{"dtype":"I32","shape":[1,2],"data_offsets":[16,24]},"none":{"dtype":"F16","shape":[0,7],"data_offsets":[24,24]},)"
      R"("deep":{"dtype":"F32","shape":[1,1,1,1,1],"data_offsets":[24,28]}}   )",
      std::string("\0\0\x80\x3f", 4) + std::string(24, '\x01'));
}

TEST(Safetensors, GoodFileIsRead) {
  const TemporaryFolder folder;
  const Checkpoint checkpoint = Checkpoint::open(file_of(good_file())(folder));
  EXPECT_EQ(checkpoint.kind(), Checkpoint::Kind::hugging_face);
  EXPECT_TRUE(checkpoint.generation_config().is_null());
  ASSERT_EQ(checkpoint.tensors().size(), 5U);
  const SourceTensor* scalar = checkpoint.find("a\xc3\xa9");
  ASSERT_NE(scalar, nullptr);
  float value;
  format_info(scalar->weight("f").format).unpack(scalar->tensor.data, 1, &value);
  EXPECT_EQ(value, 1.F);
  EXPECT_EQ(scalar->tensor.shape, Shape());
  const SourceTensor* b = checkpoint.find("b");
  EXPECT_EQ(b->tensor.format, Format::bf16);
  EXPECT_EQ(b->tensor.shape, (Shape{2, 3}));
  EXPECT_EQ(b->bytes.size(), 12U);
  EXPECT_EQ(b->bytes.data(), checkpoint.files()[b->file]->bytes().data() + b->offset);
  EXPECT_TRUE(checkpoint.find("none")->tensor);
  EXPECT_EQ(checkpoint.find("c"), nullptr);
}

TEST(Safetensors, F19OtherDtypesAreListedAndRefusedAsWeights) {
  const TemporaryFolder folder;
  const Checkpoint checkpoint = Checkpoint::open(file_of(good_file())(folder));
  const SourceTensor* ids = checkpoint.find("ids");
  EXPECT_EQ(ids->dtype, "I32");
  EXPECT_EQ(ids->dims, (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(ids->bytes.size(), 8U);
  EXPECT_FALSE(ids->tensor);
  for (const char* name : {"ids", "deep"}) {
    try {
      checkpoint.find(name)->weight("model.safetensors");
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), invalid_input);
      EXPECT_NE(error.message().find(fmt::format("model.safetensors: {}: want a weight", name)), std::string::npos) << error.message();
    }
  }
}

TEST(Safetensors, TruncatedAtEveryByteIsRefused) {
  const TemporaryFolder folder;
  const std::string whole = good_file();
  for (size_t length = 0; length < whole.size(); ++length) {
    const std::string path = file_of(whole.substr(0, length))(folder);
    try {
      Checkpoint::open(path);
      ADD_FAILURE() << length;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), invalid_input) << length << ": " << error.message();
    }
  }
}

TEST(Safetensors, AnyFlippedBitOfTheHeaderIsRefusedOrHarmless) {
  // Harmless: the ranges are still checked, so that nothing outside the file is ever named.
  const TemporaryFolder folder;
  const std::string whole = good_file();
  for (size_t bit = 0; bit < (whole.size() - 28) * 8; ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    const std::string path = file_of(bytes)(folder);
    try {
      const Checkpoint checkpoint = Checkpoint::open(path);
      for (const auto& [name, tensor] : checkpoint.tensors()) EXPECT_TRUE(tensor.offset + tensor.bytes.size() <= bytes.size()) << bit;
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == invalid_input) << bit << ": " << error.message();
    }
  }
}

TEST(JsonScanner, SkipsEveryKindOfValueAndNothingElse) {
  for (const char* good : {"1", "-0.5e3", "\"a\\n\\u00e9\\ud83d\\ude00\"", "true", "null", "[]", "{}", "[1,[2,{\"a\":[false]}]]",
                           " [ 1 , 2 ] ", "{\"a\":1,\"b\":\"\"}"}) {
    JsonScanner json(good, "t", 0);
    json.skip_value();
    EXPECT_NO_THROW(json.end()) << good;
  }
  for (const char* bad : {"", "tru", "nul", "[1,]", "{1:2}", "{\"a\"}", "[1 2]", "\"", "\"\\u12\"", "NaN", "+1", "1e999", "]", "{\"a\":1,}",
                          "\"\\ud800\"", "'a'", "inf"}) {
    EXPECT_THROW(
        {
          JsonScanner json(bad, "t", 0);
          json.skip_value();
          json.end();
        },
        Error)
        << bad;
  }
}

TEST(JsonScanner, DecodesEscapes) {
  JsonScanner json(R"("\"\\\/\b\f\n\r\t\u00e9\ud83d\uDE00\u0078" "plain")", "t", 0);
  std::string scratch;
  EXPECT_EQ(json.string(scratch, 100, "s"), "\"\\/\b\f\n\r\t\xc3\xa9\xf0\x9f\x98\x80x");
  EXPECT_EQ(json.string(scratch, 100, "s"), "plain");
  json.end();
}

}  // namespace
}  // namespace quern
