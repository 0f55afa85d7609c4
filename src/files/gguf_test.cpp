// Every class G of reference/reliability.md is refused by name; good GGUF files, whole and split, are read.
#include <gtest/gtest.h>

#include <limits>

#include "files/bad_input.h"
#include "files/gguf_sample.h"
#include "files/gguf_types.h"

namespace quern {
namespace {

using namespace sample;

std::function<std::string(const TemporaryFolder&)> file_of(std::string bytes) {
  return [bytes = std::move(bytes)](const TemporaryFolder& folder) {
    write_file(folder / "x.gguf", bytes);
    return folder / "x.gguf";
  };
}
std::function<std::string(const TemporaryFolder&)> file_of(const Gguf& gguf) { return file_of(gguf.bytes()); }
std::function<std::string(const TemporaryFolder&)> with_key(const std::string& key) { return file_of(Gguf().with(key)); }
std::function<std::string(const TemporaryFolder&)> with_tensor(const std::string& tensor) { return file_of(Gguf().with_tensor(tensor)); }

Gguf with_tokenizer(const std::vector<std::string>& more = {}) {
  Gguf gguf;
  gguf.keys.insert(gguf.keys.end(), {gguf_text("tokenizer.ggml.model", "gpt2"), gguf_text("tokenizer.ggml.pre", "qwen2"),
                                     gguf_strings_array("tokenizer.ggml.tokens", {"a", "b", "ab"})});
  gguf.keys.insert(gguf.keys.end(), more.begin(), more.end());
  return gguf;
}
std::function<std::string(const TemporaryFolder&)> tokenizer_with(const std::string& key) { return file_of(with_tokenizer({key})); }

Gguf split_part(uint16_t number, uint16_t count, std::vector<std::string> tensors) {
  Gguf gguf;
  if (number > 0) gguf.keys.clear();
  for (const std::string& key :
       {gguf_u16("split.no", number), gguf_u16("split.count", count), gguf_key("split.tensors.count", 5, bytes_of<int32_t>(2))}) {
    gguf.keys.push_back(key);
  }
  gguf.tensors = std::move(tensors);
  gguf.data_bytes = gguf.tensors.empty() ? 0 : 64;
  return gguf;
}
std::string part_name(int number, int count) { return fmt::format("m-{:05}-of-{:05}.gguf", number, count); }

// Two parts, the second one changed.
std::function<std::string(const TemporaryFolder&)> split_with(const std::function<void(const TemporaryFolder&)>& change) {
  return [=](const TemporaryFolder& folder) {
    write_file(folder / part_name(1, 2), split_part(0, 2, {gguf_tensor("a", {16}, 0, 0)}).bytes());
    write_file(folder / part_name(2, 2), split_part(1, 2, {gguf_tensor("b", {16}, 0, 0)}).bytes());
    change(folder);
    return folder / part_name(1, 2);
  };
}
std::function<std::string(const TemporaryFolder&)> second_part_is(const Gguf& part) {
  return split_with([=](const TemporaryFolder& folder) { write_file(folder / part_name(2, 2), part.bytes()); });
}

Gguf aligned_to(uint64_t alignment, const std::string& key) {
  Gguf gguf = Gguf().with(key);
  gguf.alignment = alignment;
  return gguf;
}

constexpr uint64_t kAllOnes = ~uint64_t{0};
constexpr const char* kAlignment = "general.alignment";

Gguf of_version(uint32_t version) {
  Gguf gguf;
  gguf.version = version;
  return gguf;
}
Gguf of_magic(const std::string& magic) {
  Gguf gguf;
  gguf.magic = magic;
  return gguf;
}
Gguf of_data(uint64_t bytes) {
  Gguf gguf;
  gguf.data_bytes = bytes;
  return gguf;
}

const BadInput kCases[] = {
    {"G01_MagicOnly", file_of("GGUF"), invalid_input, "version in the header at offset 4: truncated"},
    {"G01_ThreeBytes", file_of("GGU"), invalid_input, "want GGUF"},
    {"G01_Empty", file_of(""), invalid_input, "file is empty"},
    {"G02_OtherEndianMagic", file_of(of_magic("FUGG")), incompatible, "big-endian GGUF"},
    {"G02_BigEndianVersion", file_of(of_version(0x03000000)), incompatible, "big-endian GGUF of version 3"},
    {"G02_Version0", file_of(of_version(0)), incompatible, "GGUF version: want 2 or 3, found 0"},
    {"G02_Version1", file_of(of_version(1)), incompatible, "found 1"},
    {"G02_Version4", file_of(of_version(4)), incompatible, "found 4"},
    {"G02_Version99", file_of(of_version(99)), incompatible, "found 99"},
    {"G02_VersionOfAllOnes", file_of(of_version(0xffffffff)), incompatible, "found 4294967295"},
    {"G03_TensorsOfAllOnes", file_of(Gguf().bytes(kAllOnes, 2)), invalid_input, "number of tensors at offset 8"},
    {"G03_KeysOfAllOnes", file_of(Gguf().bytes(3, kAllOnes)), invalid_input, "number of metadata keys at offset 16"},
    {"G03_TensorsOneTooMany", file_of(Gguf().bytes(4, 2)), invalid_input, "x.gguf: tensor 3"},
    {"G03_KeysOneTooMany", file_of(Gguf().bytes(3, 3)), invalid_input, "x.gguf: "},
    {"G04_KeyLength2To63", with_key(bytes_of(uint64_t{1} << 63)), invalid_input, "metadata key 2 at offset"},
    {"G04_ValueLength2To63", with_key(gguf_key("k", 8, bytes_of(uint64_t{1} << 63))), invalid_input, "k at offset"},
    {"G04_ValueLengthOfAllOnes", with_key(gguf_key("k", 8, bytes_of(kAllOnes))), invalid_input, "truncated: want 18446744073709551615 bytes"},
    {"G05_Array2To60", with_key(gguf_array("k", 4, uint64_t{1} << 60, "")), invalid_input, "k: count of u32 elements"},
    {"G05_ArrayOfStringsOfAllOnes", with_key(gguf_array("k", 8, kAllOnes, "")), invalid_input, "k: count of string elements"},
    {"G05_UnknownElementType", with_key(gguf_array("k", 13, 1, "xxxxxxxx")), invalid_input, "k: value type at offset"},
    {"G05_UnknownType", with_key(gguf_key("k", 0xffffffff, "x")), invalid_input, "want 0 to 12, found 4294967295"},
    {"G05_BoolOf2", with_key(gguf_key("k", 7, "\x02")), invalid_input, "k: want a bool of 0 or 1, found 2"},
    {"G05_NotANumber", with_key(gguf_key("k", 6, bytes_of(std::numeric_limits<float>::quiet_NaN()))), invalid_input, "k: want a finite number"},
    {"G05_TextNotUtf8", with_key(gguf_text("k", "a\xff")), invalid_input, "k: invalid UTF-8 at its byte 1"},
    {"G06_NestedArray", with_key(gguf_array("k", 9, 1, bytes_of<uint32_t>(4) + bytes_of<uint64_t>(0))), invalid_input, "k: an array of arrays is not supported"},
    {"G07_EmptyKey", with_key(gguf_u32("", 1)), invalid_input, "metadata key 2 at offset"},
    {"G07_KeyOf64KiB", with_key(gguf_u32(std::string(65536, 'k'), 1)), invalid_input, "found 65536: kkkk"},
    {"G07_DuplicateKey", with_key(gguf_u32("qwen2.block_count", 1)), invalid_input, "metadata key qwen2.block_count is there twice"},
    {"G07_DuplicateArray", file_of(Gguf().with(gguf_array("k", 4, 0, "")).with(gguf_array("k", 4, 0, ""))), invalid_input, "metadata key k is there twice"},
    {"G07_KeyWithControlCharacter", with_key(gguf_u32("a\x1b[2J", 1)), invalid_input, "holds a control character: a\\x1b[2J"},
    {"G07_KeyNotUtf8", with_key(gguf_u32("a\xc3", 1)), invalid_input, "invalid UTF-8"},
    {"G07_TooManyKeys",
     [](const TemporaryFolder& folder) {
       Gguf gguf;
       for (int i = 0; i < 1100; ++i) gguf.keys.push_back(gguf_u32(fmt::format("k{}", i), 1));
       return file_of(gguf)(folder);
     },
     invalid_input, "number of metadata keys at offset 16: want at most 1024"},
    {"G08_Alignment0", with_key(gguf_u32(kAlignment, 0)), invalid_input, "want a power of two from 8 to 65536 as u32, found 0"},
    {"G08_Alignment3", with_key(gguf_u32(kAlignment, 3)), invalid_input, "found 3"},
    {"G08_Alignment4", with_key(gguf_u32(kAlignment, 4)), invalid_input, "found 4"},
    {"G08_Alignment2To31", with_key(gguf_u32(kAlignment, uint32_t{1} << 31)), invalid_input, "found 2147483648"},
    {"G08_AlignmentAsU64", with_key(gguf_key(kAlignment, 10, bytes_of<uint64_t>(32))), invalid_input, "as u32, found u64"},
    {"G08_AlignmentAsI32", with_key(gguf_key(kAlignment, 5, bytes_of<int32_t>(32))), invalid_input, "as u32, found i32"},
    {"G08_AlignmentAsText", with_key(gguf_text(kAlignment, "32")), invalid_input, "as u32, found string"},
    {"G08_AlignmentAsArray", with_key(gguf_array(kAlignment, 4, 1, bytes_of<uint32_t>(32))), invalid_input, "as u32, found array"},
    {"G09_Dims0", with_tensor(gguf_tensor("a", {}, 0, 0)), invalid_input, "a: want 1 to 4 dimensions, found 0"},
    {"G09_Dims5", with_tensor(gguf_tensor("a", {1, 1, 1, 1, 1}, 0, 0)), invalid_input, "found 5"},
    {"G09_DimsOfAllOnes", with_tensor(gguf_string("a") + bytes_of<uint32_t>(0xffffffff) + std::string(64, '\1')), invalid_input, "found 4294967295"},
    {"G10_Dimension0", with_tensor(gguf_tensor("a", {0, 4}, 0, 0)), invalid_input, "a: dimension 0: want 1 to 4398046511104, found 0"},
    {"G10_LastDimension0", with_tensor(gguf_tensor("a", {4, 0}, 0, 0)), invalid_input, "a: dimension 1"},
    {"G10_Negative", with_tensor(gguf_tensor("a", {kAllOnes}, 0, 0)), invalid_input, "found 18446744073709551615"},
    {"G10_2To42Plus1", with_tensor(gguf_tensor("a", {(uint64_t{1} << 42) + 1}, 0, 0)), invalid_input, "found 4398046511105"},
    {"G11_SizeWraps", with_tensor(gguf_tensor("a", {uint64_t{1} << 42, uint64_t{1} << 21, 2}, 0, 0)), invalid_input, "a: number of values: overflows 64 bits"},
    {"G11_BytesWrap", with_tensor(gguf_tensor("a", {uint64_t{1} << 42, uint64_t{1} << 20}, 0, 0)), invalid_input, "a: size: overflows 64 bits"},
    {"G11_EndWraps", with_tensor(gguf_tensor("a", {8}, 0, kAllOnes - 31)), invalid_input, "a: end: overflows 64 bits"},
    {"G12_PaddingWraps", with_tensor(gguf_tensor("a", {7}, 0, kAllOnes - 31)), invalid_input, "a: padded end: overflows 64 bits"},
    {"G13_PartOfABlock", with_tensor(gguf_tensor("a", {33}, 2, 0)), invalid_input, "a: dimension 0: want a multiple of the block of Q4_0 (32 values), found 33"},
    {"G13_PartOfASuperBlock", with_tensor(gguf_tensor("a", {128}, 12, 0)), invalid_input, "Q4_K (256 values), found 128"},
    {"G14_Unknown41", with_tensor(gguf_tensor("a", {32}, 41, 0)), incompatible, "a: type 41 (unknown) is not supported; want one of F32 (0), F16 (1)"},
    {"G14_UnknownOfAllOnes", with_tensor(gguf_tensor("a", {32}, 0xffffffff, 0)), incompatible, "type 4294967295 (unknown)"},
    {"G14_Removed4", with_tensor(gguf_tensor("a", {32}, 4, 0)), incompatible, "type 4 (Q4_2, removed)"},
    {"G14_Removed31", with_tensor(gguf_tensor("a", {32}, 31, 0)), incompatible, "type 31 (Q4_0_4_4, removed)"},
    {"G14_Removed36", with_tensor(gguf_tensor("a", {32}, 36, 0)), incompatible, "type 36"},
    {"G14_Iq4Nl", with_tensor(gguf_tensor("a", {32}, 20, 0)), incompatible, "type 20 (IQ4_NL)"},
    {"G14_Q8K", with_tensor(gguf_tensor("a", {256}, 15, 0)), incompatible, "type 15 (Q8_K)"},
    {"G14_Mxfp4", with_tensor(gguf_tensor("a", {32}, 39, 0)), incompatible, "type 39 (MXFP4)"},
    {"G15_Unaligned", with_tensor(gguf_tensor("a", {8}, 0, 1)), invalid_input, "a: offset 1: want a multiple of 32"},
    {"G15_PastTheEnd", with_tensor(gguf_tensor("a", {8}, 0, 160)), invalid_input, "a: offset 160: truncated"},
    {"G15_EndPastTheEnd", with_tensor(gguf_tensor("a", {41}, 0, 0)), invalid_input, "a: offset 0: truncated: want 192 bytes of data"},
    {"G15_Overlap",
     [](const TemporaryFolder& folder) {
       Gguf gguf;
       gguf.tensors = {gguf_tensor("a", {16}, 0, 0), gguf_tensor("b", {16}, 0, 32)};
       return file_of(gguf)(folder);
     },
     invalid_input, "overlaps a at offset"},
    {"G15_SameOffset",
     [](const TemporaryFolder& folder) {
       Gguf gguf;
       gguf.tensors = {gguf_tensor("a", {8}, 0, 0), gguf_tensor("b", {8}, 0, 0)};
       return file_of(gguf)(folder);
     },
     invalid_input, "overlaps"},
    {"G15_InconsistentAlignment", file_of(aligned_to(64, gguf_u32(kAlignment, 64)).with_tensor(gguf_tensor("a", {8}, 0, 32))), invalid_input,
     "want a multiple of 64"},
    {"G15_BytesOfNoTensor", file_of(of_data(192)), invalid_input, "data: want 160 bytes"},
    {"G15_OneByteMore", file_of(of_data(161)), invalid_input, "as the tensors say, the file has 161"},
    {"G16_NoData", file_of(of_data(0)), invalid_input, "truncated"},
    {"G16_OneByteShort", file_of(of_data(159)), invalid_input, "truncated"},
    {"G17_Blocks0", file_of([] {
       Gguf gguf;
       gguf.keys[1] = gguf_u32("qwen2.block_count", 0);
       return gguf;
     }()),
     invalid_input, "block_count: want an integer from 1 to 512, found 0"},
    {"G17_Blocks513", file_of([] {
       Gguf gguf;
       gguf.keys[1] = gguf_u32("qwen2.block_count", 513);
       return gguf;
     }()),
     invalid_input, "found 513"},
    {"G17_BlocksOfAllOnes", file_of([] {
       Gguf gguf;
       gguf.keys[1] = gguf_u32("qwen2.block_count", 0xffffffff);
       return gguf;
     }()),
     invalid_input, "found 4294967295"},
    {"G18_TokensAreNumbers", file_of(Gguf().with(gguf_numbers_array<uint32_t>("tokenizer.ggml.tokens", 4, {1, 2}))), invalid_input,
     "tokenizer.ggml.tokens: want an array of string, found one of u32"},
    {"G18_TokensAreOneText", file_of(Gguf().with(gguf_text("tokenizer.ggml.tokens", "a"))), invalid_input, "tokenizer.ggml.tokens: want an array, found string"},
    {"G18_TypesShorter", tokenizer_with(gguf_numbers_array<int32_t>("tokenizer.ggml.token_type", 5, {1, 1})), invalid_input,
     "tokenizer.ggml.token_type: want 3 elements as tokenizer.ggml.tokens has, found 2"},
    {"G18_ScoresLonger", tokenizer_with(gguf_numbers_array<float>("tokenizer.ggml.scores", 6, {1, 1, 1, 1})), invalid_input, "tokenizer.ggml.scores: want 3 elements"},
    {"G18_TypesAreFloats", tokenizer_with(gguf_numbers_array<float>("tokenizer.ggml.token_type", 6, {1, 1, 1})), invalid_input, "want an array of i32, found one of f32"},
    {"G18_ScoreIsNan", tokenizer_with(gguf_numbers_array<float>("tokenizer.ggml.scores", 6, {1, std::numeric_limits<float>::quiet_NaN(), 1})), invalid_input,
     "tokenizer.ggml.scores: token 1: want a finite number"},
    {"G18_MergesAreNumbers", tokenizer_with(gguf_numbers_array<uint32_t>("tokenizer.ggml.merges", 4, {1})), invalid_input, "tokenizer.ggml.merges: want an array of string"},
    {"G18_MergesWithoutTokens", file_of(Gguf().with(gguf_strings_array("tokenizer.ggml.merges", {"a b"}))), invalid_input, "want tokenizer.ggml.tokens too"},
    {"G18_TypesWithoutTokens", file_of(Gguf().with(gguf_numbers_array<int32_t>("tokenizer.ggml.token_type", 5, {1}))), invalid_input, "want 0 elements"},
    {"G18_TwoMillionTokens",
     [](const TemporaryFolder& folder) {
       return file_of(Gguf().with(gguf_text("tokenizer.ggml.model", "gpt2")).with(gguf_array("tokenizer.ggml.tokens", 8, 2'000'000, std::string().append(16'000'000, '\0'))))(folder);
     },
     invalid_input, "tokenizer.ggml.tokens: want at most 1048576 elements, found 2000000"},
    {"G18_NoModel", file_of(Gguf().with(gguf_strings_array("tokenizer.ggml.tokens", {"a"}))), invalid_input, "tokenizer.ggml.model: want a string, found nothing"},
    {"G19_Eos", tokenizer_with(gguf_u32("tokenizer.ggml.eos_token_id", 3)), invalid_input,
     "tokenizer.ggml.eos_token_id: want an id below 3 (the number of tokens), found 3"},
    {"G19_Bos", tokenizer_with(gguf_u32("tokenizer.ggml.bos_token_id", 0xffffffff)), invalid_input, "tokenizer.ggml.bos_token_id"},
    {"G19_Padding", tokenizer_with(gguf_u32("tokenizer.ggml.padding_token_id", 4)), invalid_input, "tokenizer.ggml.padding_token_id"},
    {"G19_Negative", tokenizer_with(gguf_key("tokenizer.ggml.eos_token_id", 5, bytes_of<int32_t>(-1))), invalid_input, "found -1"},
    {"G19_Fraction", tokenizer_with(gguf_key("tokenizer.ggml.eos_token_id", 6, bytes_of<float>(0.5F))), invalid_input, "found 0.5"},
    {"G20_NoArchitecture", file_of([] {
       Gguf gguf;
       gguf.keys.erase(gguf.keys.begin());
       return gguf;
     }()),
     invalid_input, "general.architecture: want a string, found nothing"},
    {"G20_PartMissing", split_with([](const TemporaryFolder& folder) { std::filesystem::remove(folder / part_name(2, 2)); }), invalid_input,
     "m-00002-of-00002.gguf: want a plain file in the folder, it is missing; wanted by the split GGUF as part 2 of 2"},
    {"G20_PartIsAFolder", split_with([](const TemporaryFolder& folder) {
       std::filesystem::remove(folder / part_name(2, 2));
       std::filesystem::create_directory(folder / part_name(2, 2));
     }),
     invalid_input, "found a folder"},
    {"G20_SecondPartNamed", [](const TemporaryFolder& folder) {
       split_with([](const TemporaryFolder&) {})(folder);
       return folder / part_name(2, 2);
     },
     invalid_input, "part 2 of 2 of a split GGUF: name the first part, m-00001-of-00002.gguf"},
    {"G20_PartWithAnotherName", [](const TemporaryFolder& folder) {
       split_with([](const TemporaryFolder&) {})(folder);
       std::filesystem::rename(folder / part_name(1, 2), folder / "other.gguf");
       return folder / "other.gguf";
     },
     invalid_input, "want a name that ends in -00001-of-00002.gguf"},
    {"G20_PartOfAnotherNumber", second_part_is(split_part(0, 2, {gguf_tensor("b", {16}, 0, 0)})), invalid_input, "want split.no 1 of split.count 2, found 0 of 2"},
    {"G20_PartOfAnotherCount", second_part_is(split_part(1, 3, {gguf_tensor("b", {16}, 0, 0)})), invalid_input, "found 1 of 3"},
    {"G20_PartWithoutSplitKeys", second_part_is(Gguf()), invalid_input, "found none of none"},
    {"G20_SameTensorInTwoParts", second_part_is(split_part(1, 2, {gguf_tensor("a", {16}, 0, 0)})), invalid_input, "tensor a is also in"},
    {"G20_AnotherTensorCount", second_part_is(split_part(1, 2, {})), invalid_input, "split.tensors.count: want 2 tensors in 2 parts, found 1"},
    {"G20_CountOfAllOnes", with_key(gguf_u16("split.count", 0xffff)), invalid_input, "split.count: want an integer from 0 to 1024, found 65535"},
    {"G21_EmptyFileOfGoodForm", file_of([] {
       Gguf gguf;
       gguf.keys.clear();
       gguf.tensors.clear();
       return gguf;
     }()),
     invalid_input, "general.architecture"},
    {"G21_NoTensors", file_of([] {
       Gguf gguf;
       gguf.tensors.clear();
       return gguf;
     }()),
     invalid_input, "want tensors, found none"},
    {"G21_NameOf64Bytes", with_tensor(gguf_tensor(std::string(64, 'n'), {8}, 0, 0)), invalid_input, "name: want 1 to 63 bytes, found 64"},
    {"G21_EmptyName", with_tensor(gguf_tensor("", {8}, 0, 0)), invalid_input, "name: want 1 to 63 bytes, found 0"},
    {"G21_NameWithNewline", with_tensor(gguf_tensor("a\nb", {8}, 0, 0)), invalid_input, "a\\x0ab: holds the control character 0x0a"},
    {"G21_DuplicateName",
     [](const TemporaryFolder& folder) {
       Gguf gguf;
       gguf.tensors = {gguf_tensor("a", {8}, 0, 0), gguf_tensor("a", {8}, 0, 32)};
       return file_of(gguf)(folder);
     },
     invalid_input, "tensor a is there twice"},
    {"G21_MetadataOver64MiB",
     [](const TemporaryFolder& folder) { return file_of(Gguf().with(gguf_text("k", std::string(65 << 20, 'x'))))(folder); }, invalid_input, "k at offset"},
    {"G21_LargeKeptArrays",
     [](const TemporaryFolder& folder) {
       Gguf gguf;
       for (int i = 0; i < 1020; ++i) gguf.keys.push_back(gguf_array(fmt::format("k{}", i), 8, 1024, std::string(8 * 1024, '\0')));
       gguf.keys[1] = gguf_u32("qwen2.block_count", 0);
       return file_of(gguf)(folder);
     },
     invalid_input, "block_count"},
};

class GgufBadInput : public testing::TestWithParam<BadInput> {};
TEST_P(GgufBadInput, IsRefused) { expect_refused(GetParam()); }
INSTANTIATE_TEST_SUITE_P(All, GgufBadInput, testing::ValuesIn(kCases), [](const auto& test) { return test.param.name; });

TEST(GgufFile, GoodFileIsRead) {
  for (const uint32_t version : {2U, 3U}) {
    const TemporaryFolder folder;
    Gguf gguf =
        with_tokenizer({gguf_numbers_array<int32_t>("tokenizer.ggml.token_type", 5, {1, 3, 1}),
                        gguf_strings_array("tokenizer.ggml.merges", {"a b"}), gguf_u32("tokenizer.ggml.eos_token_id", 2),
                        gguf_key("k.bool", 7, "\x01"), gguf_key("k.f32", 6, bytes_of(0.5F)), gguf_key("k.i64", 11, bytes_of<int64_t>(-7)),
                        gguf_numbers_array<uint8_t>("k.list", 0, {1, 2}), gguf_array("k.long", 0, 2000, std::string(2000, 'x'))});
    gguf.version = version;
    const Checkpoint checkpoint = Checkpoint::open(file_of(gguf)(folder));
    EXPECT_EQ(checkpoint.kind(), Checkpoint::Kind::gguf);
    const Json& config = checkpoint.config();
    EXPECT_EQ(config.at("general.architecture"), "qwen2");
    EXPECT_EQ(config.at("k.bool"), true);
    EXPECT_EQ(config.at("k.f32"), 0.5);
    EXPECT_EQ(config.at("k.i64"), -7);
    EXPECT_EQ(config.at("k.list"), (Json{1, 2}));
    EXPECT_FALSE(config.contains("k.long"));
    EXPECT_FALSE(config.contains("tokenizer.ggml.tokens"));
    ASSERT_TRUE(checkpoint.gguf_tokenizer());
    EXPECT_EQ(checkpoint.gguf_tokenizer()->tokens, (std::vector<std::string_view>{"a", "b", "ab"}));
    EXPECT_EQ(checkpoint.gguf_tokenizer()->token_types, (std::vector<int32_t>{1, 3, 1}));
    EXPECT_EQ(checkpoint.gguf_tokenizer()->merges, (std::vector<std::string_view>{"a b"}));
    EXPECT_EQ(checkpoint.gguf_tokenizer()->pre, "qwen2");
    ASSERT_EQ(checkpoint.tensors().size(), 3U);
    const SourceTensor* b = checkpoint.find("b.weight");
    EXPECT_EQ(b->weight("x").format, Format::i4g32);
    EXPECT_EQ(b->tensor.shape, (Shape{2, 32}));
    EXPECT_EQ(b->dtype, "Q4_0");
    EXPECT_EQ(static_cast<unsigned>(b->bytes[0]), 64U);
    EXPECT_EQ(b->bytes.size(), 36U);
  }
}

TEST(GgufFile, G14PlainNumbersAreListedAndRefusedAsWeights) {
  const TemporaryFolder folder;
  Gguf gguf = Gguf().with_tensor(gguf_tensor("ids", {5, 2}, 26, 0));
  gguf.data_bytes = 64;
  const Checkpoint checkpoint = Checkpoint::open(file_of(gguf)(folder));
  const SourceTensor* ids = checkpoint.find("ids");
  EXPECT_EQ(ids->bytes.size(), 40U);
  EXPECT_EQ(ids->dims, (std::vector<uint64_t>{2, 5}));
  EXPECT_FALSE(ids->tensor);
  try {
    ids->weight("x.gguf");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), invalid_input);
    EXPECT_NE(error.message().find("x.gguf: ids: want a weight"), std::string::npos) << error.message();
    EXPECT_NE(error.message().find("file has I32 [2,5]"), std::string::npos) << error.message();
  }
}

TEST(GgufFile, SplitFilesAreRead) {
  const TemporaryFolder folder;
  const std::string path = split_with([](const TemporaryFolder&) {})(folder);
  const Checkpoint checkpoint = Checkpoint::open(path);
  EXPECT_EQ(checkpoint.tensors().size(), 2U);
  EXPECT_EQ(checkpoint.files().size(), 2U);
  EXPECT_EQ(checkpoint.find("b")->file, 1U);
  // A first part of metadata alone.
  write_file(folder / part_name(1, 2), split_part(0, 2, {}).bytes());
  Gguf second = split_part(1, 2, {gguf_tensor("a", {8}, 0, 0), gguf_tensor("b", {8}, 0, 32)});
  write_file(folder / part_name(2, 2), second.bytes());
  EXPECT_EQ(Checkpoint::open(path).tensors().size(), 2U);
}

TEST(GgufFile, EveryTypeOfTheListHasGgufsBlock) {
  // Elements and bytes of a block as reference/qwen.md section 7 lists them.
  struct Block {
    uint32_t id;
    size_t values, bytes;
  };
  for (const Block& block :
       {Block{0, 1, 4}, Block{1, 1, 2}, Block{2, 32, 18}, Block{3, 32, 20}, Block{6, 32, 22}, Block{7, 32, 24}, Block{8, 32, 34},
        Block{10, 256, 84}, Block{11, 256, 110}, Block{12, 256, 144}, Block{13, 256, 176}, Block{14, 256, 210}, Block{30, 1, 2}}) {
    const GgufTensorType* type = find_gguf_tensor_type(block.id);
    ASSERT_TRUE(type != nullptr && type->format) << block.id;
    EXPECT_EQ(format_info(*type->format).block_values, block.values) << block.id;
    EXPECT_EQ(format_info(*type->format).block_bytes, block.bytes) << block.id;
    EXPECT_EQ(type->id, block.id);
  }
}

TEST(GgufFile, G16TruncatedAtEveryByteIsRefused) {
  const TemporaryFolder folder;
  const std::string whole = with_tokenizer({gguf_numbers_array<int32_t>("tokenizer.ggml.token_type", 5, {1, 3, 1})}).bytes();
  EXPECT_NO_THROW(Checkpoint::open(file_of(whole)(folder)));
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

TEST(GgufFile, AnyFlippedBitOfTheHeaderIsRefusedOrHarmless) {
  const TemporaryFolder folder;
  const std::string whole = with_tokenizer().bytes();
  for (size_t bit = 0; bit < (whole.size() - 160) * 8; ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    const std::string path = file_of(bytes)(folder);
    try {
      const Checkpoint checkpoint = Checkpoint::open(path);
      for (const auto& [name, tensor] : checkpoint.tensors()) EXPECT_LE(tensor.offset + tensor.bytes.size(), bytes.size()) << bit;
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == invalid_input || error.code() == incompatible) << bit << ": " << error.message();
    }
  }
}

}  // namespace
}  // namespace quern
