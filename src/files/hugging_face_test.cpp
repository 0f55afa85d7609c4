// Folders: what the hub and its cache lay out is read; names that lead elsewhere, missing shards, odd configs and pickles are refused.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "files/bad_input.h"

namespace quern {
namespace {

using sample::BadInput;
using sample::TemporaryFolder;

// A file of one U8 tensor of one byte for each name.
std::string shard_of(const std::vector<std::string>& names) {
  std::string header;
  for (size_t i = 0; i < names.size(); ++i) {
    header += fmt::format(R"({}"{}":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})", i == 0 ? "" : ",", names[i], i, i + 1);
  }
  return sample::safetensors("{" + header + "}", std::string(names.size(), 'x'));
}

constexpr const char* kOne = "model-00001-of-00002.safetensors";
constexpr const char* kTwo = "model-00002-of-00002.safetensors";

void write_sharded(const TemporaryFolder& folder, const std::string& index) {
  sample::write_file(folder / "config.json", "{}");
  sample::write_file(folder / kOne, shard_of({"a", "b"}));
  sample::write_file(folder / kTwo, shard_of({"c"}));
  sample::write_file(folder / "model.safetensors.index.json", index);
}

std::string index_of(const std::string& map) { return R"({"metadata":{"total_size":3,"list":[1,{"x":null}]},"weight_map":{)" + map + "}}"; }
const std::string kGoodMap = fmt::format(R"("a":"{0}","b":"{0}","c":"{1}")", kOne, kTwo);

using Make = std::function<std::string(const TemporaryFolder&)>;

Make sharded(
    const std::string& index, const std::function<void(const TemporaryFolder&)>& change = [](const TemporaryFolder&) {}) {
  return [=](const TemporaryFolder& folder) {
    write_sharded(folder, index);
    change(folder);
    return folder.path();
  };
}

// The second shard is another thing than a plain file.
Make second_shard_is(const std::function<void(const std::string& path)>& make) {
  return sharded(index_of(kGoodMap), [=](const TemporaryFolder& folder) {
    std::filesystem::remove(folder / kTwo);
    make(folder / kTwo);
  });
}

Make mapped_to(const std::string& name) { return sharded(index_of(fmt::format(R"("a":"{}","b":"{}","c":"{}")", kOne, kOne, name))); }

// A good folder but for one JSON file.
Make with_file(const std::string& name, const std::string& text, uint64_t size = 0) {
  return [=](const TemporaryFolder& folder) {
    sample::write_file(folder / "config.json", "{}");
    sample::write_file(folder / "model.safetensors", shard_of({"a"}));
    sample::write_file(folder / name, text);
    if (size != 0) std::filesystem::resize_file(folder / name, size);
    return folder.path();
  };
}

Make only(const std::vector<std::string>& names) {
  return [=](const TemporaryFolder& folder) {
    // Contents that would be noticed if they were read: none of them is.
    for (const std::string& name : names) sample::write_file(folder / name, "\x80\x02pickle");
    return folder.path();
  };
}

const BadInput kCases[] = {
    {"F22_ParentFolder", mapped_to("../model-00002-of-00002.safetensors"), invalid_input,
     "want a plain file in the folder, found another kind of name"},
    {"F22_Absolute", mapped_to("/etc/x.safetensors"), invalid_input, "/etc/x.safetensors: want a plain file in the folder"},
    {"F22_Subfolder", mapped_to("sub/x.safetensors"), invalid_input, "want a plain file in the folder"},
    {"F22_NulInName", mapped_to("x\\u0000.safetensors"), invalid_input, "x\\x00.safetensors: want a plain file in the folder"},
    {"F22_EmptyName", mapped_to(""), invalid_input, "want names of .safetensors files"},
    {"F22_NotSafetensors", mapped_to("pytorch_model.bin"), invalid_input,
     "want names of .safetensors files in the folder, found pytorch_model.bin"},
    {"F22_LongName", mapped_to(std::string(300, 'n') + ".safetensors"), invalid_input, "want a plain file in the folder"},
    {"F22_SymlinkLoop", second_shard_is([](const std::string& path) { std::filesystem::create_symlink(path, path); }), invalid_input,
     "want a plain file in the folder"},
    {"F22_Fifo", second_shard_is([](const std::string& path) { CHECK(::mkfifo(path.c_str(), 0600) == 0); }), invalid_input, "found a FIFO"},
    {"F22_LinkToFifo", second_shard_is([](const std::string& path) {
       CHECK(::mkfifo((path + ".fifo").c_str(), 0600) == 0);
       std::filesystem::create_symlink(path + ".fifo", path);
     }),
     invalid_input, "found a FIFO"},
    {"F22_Folder", second_shard_is([](const std::string& path) { std::filesystem::create_directory(path); }), invalid_input,
     "found a folder"},
    {"F22_Device", second_shard_is([](const std::string& path) { std::filesystem::create_symlink("/dev/zero", path); }), invalid_input,
     "found a special file"},
    {"F22_ConfigIsAFifo",
     [](const TemporaryFolder& folder) {
       with_file("x", "")(folder);
       std::filesystem::remove(folder / "config.json");
       CHECK(::mkfifo((folder / "config.json").c_str(), 0600) == 0);
       return folder.path();
     },
     invalid_input, "config.json: want a plain file in the folder, found a FIFO"},
    {"F23_ShardMissing", second_shard_is([](const std::string&) {}), invalid_input,
     "model-00002-of-00002.safetensors: want a plain file in the folder, it is missing; wanted by model.safetensors.index.json for 1 "
     "tensors, the first c"},
    {"F23_DanglingLink", second_shard_is([](const std::string& path) { std::filesystem::create_symlink("nothing", path); }), invalid_input,
     "it is missing"},
    {"F24_SameTensorInTwoShards",
     sharded(index_of(kGoodMap),
             [](const TemporaryFolder& folder) {
               sample::write_file(folder / kTwo, shard_of({"b", "c"}));
             }),
     invalid_input, "tensor b is also in"},
    {"F24_SameTensorTwiceInTheMap", sharded(index_of(kGoodMap + fmt::format(R"(,"a":"{}")", kTwo))), invalid_input,
     "weight_map: tensor a is there twice"},
    {"F24_OneShardUnderTwoNames",
     sharded(index_of(fmt::format(R"("a":"{}","b":"copy.safetensors")", kOne)),
             [](const TemporaryFolder& folder) { std::filesystem::create_symlink(kOne, folder / "copy.safetensors"); }),
     invalid_input, "is also in"},
    {"F25_TensorNotInShard", sharded(index_of(kGoodMap + fmt::format(R"(,"d":"{}")", kTwo))), invalid_input,
     "model-00002-of-00002.safetensors: tensor d is in model.safetensors.index.json but not in this file"},
    {"Index_NotJson", sharded("not json"), invalid_input, "model.safetensors.index.json: JSON at offset 0"},
    {"Index_Empty", sharded(""), invalid_input, "file is empty"},
    {"Index_NoMap", sharded("{}"), invalid_input, "weight_map: want an object of tensor and file names, found none"},
    {"Index_EmptyMap", sharded(R"({"weight_map":{}})"), invalid_input, "found an empty one"},
    {"Index_MapIsAList", sharded(R"({"weight_map":[]})"), invalid_input, "want '{'"},
    {"Index_TwoMaps", sharded(R"({"weight_map":{"a":"b"},"weight_map":{}})"), invalid_input, "weight_map: want one, found two"},
    {"Index_ValueIsANumber", sharded(R"({"weight_map":{"a":1}})"), invalid_input, "want a string"},
    {"Index_Deep", sharded(R"({"weight_map":)" + std::string(100, '[')), invalid_input, "nested deeper than 64 levels"},
    {"Index_Bom", sharded("\xef\xbb\xbf" + index_of(kGoodMap)), invalid_input, "byte order mark"},
    {"Q01_ConfigMissing",
     [](const TemporaryFolder& folder) {
       sample::write_file(folder / "model.safetensors", shard_of({"a"}));
       return folder.path();
     },
     invalid_input, "config.json: want a plain file in the folder, it is missing"},
    {"Q01_ConfigNotJson", with_file("config.json", "{'a': 1}"), invalid_input, "config.json: not JSON at byte 1"},
    {"Q01_ConfigEmpty", with_file("config.json", ""), invalid_input, "config.json: empty"},
    {"Q01_ConfigIsAList", with_file("config.json", "[]"), invalid_input, "config.json: want a JSON object, found array"},
    {"Q01_ConfigOf200MB", with_file("config.json", "{", 200'000'000), invalid_input, "want at most 16777216 bytes"},
    {"Q01_ConfigWithBom", with_file("config.json", "\xef\xbb\xbf{}"), invalid_input, "config.json: starts with a byte order mark"},
    {"Q01_ConfigDeep", with_file("config.json", std::string(1'000'000, '[')), invalid_input, "nested deeper than 64 levels"},
    {"Q01_ConfigOfManyArrays",
     [](const TemporaryFolder& folder) {
       std::string text = "[";
       for (int i = 0; i < 5'500'000; ++i) text += "[],";
       return with_file("config.json", text + "0]")(folder);
     },
     invalid_input, "more than 2000000 values"},
    {"Q01_ConfigTwiceTheKey", with_file("config.json", R"({"hidden_size":1,"hidden_size":2})"), invalid_input,
     "duplicate key \"hidden_size\""},
    {"Q01_GenerationConfigNotJson", with_file("generation_config.json", "x"), invalid_input, "generation_config.json: not JSON"},
    {"Q01_TokenizerConfigNotJson", with_file("tokenizer_config.json", "x"), invalid_input, "tokenizer_config.json: not JSON"},
    {"Q16_OnlyBin", only({"config.json", "pytorch_model.bin"}), incompatible, "convert to safetensors"},
    {"Q16_OnlyBinWithoutConfig", only({"pytorch_model-00001-of-00002.bin"}), incompatible, "convert to safetensors"},
    {"Q16_OnlyPt", only({"config.json", "consolidated.00.pth"}), incompatible, "convert to safetensors"},
    {"Q16_BinItself", [](const TemporaryFolder& folder) { return only({"pytorch_model.bin"})(folder) + "/pytorch_model.bin"; },
     incompatible, "convert to safetensors"},
    {"Folder_OfGguf", only({"x.gguf"}), invalid_input, "name the file itself: x.gguf"},
    {"Folder_Empty", only({}), invalid_input, "want model.safetensors or model.safetensors.index.json, found neither"},
    {"Folder_TwoFilesWithoutIndex",
     [](const TemporaryFolder& folder) {
       write_sharded(folder, "");
       std::filesystem::remove(folder / "model.safetensors.index.json");
       return folder.path();
     },
     invalid_input, "found 2 .safetensors files without it"},
    {"Path_OfOneSafetensors", [](const TemporaryFolder& folder) { return with_file("x", "")(folder) + "/model.safetensors"; },
     invalid_input, "want the folder that holds it"},
    {"Path_Missing", [](const TemporaryFolder& folder) { return folder / "nothing"; }, resource, "No such file or directory"},
    {"Path_Empty", [](const TemporaryFolder&) { return std::string(); }, invalid_input, "want the path"},
    {"Path_WithNul", [](const TemporaryFolder&) { return std::string("a\0b", 3); }, invalid_input, "a\\x00b: want the path"},
    {"Path_OfText", [](const TemporaryFolder& folder) { return with_file("readme", "hello")(folder) + "/readme"; }, invalid_input,
     "want GGUF"},
    {"Path_OfAFifo",
     [](const TemporaryFolder& folder) {
       CHECK(::mkfifo((folder / "f").c_str(), 0600) == 0);
       return folder / "f";
     },
     invalid_input, "want a regular file"},
};

class FolderBadInput : public testing::TestWithParam<BadInput> {};
TEST_P(FolderBadInput, IsRefused) { sample::expect_refused(GetParam()); }
INSTANTIATE_TEST_SUITE_P(All, FolderBadInput, testing::ValuesIn(kCases), [](const auto& test) { return test.param.name; });

TEST(HuggingFaceFolder, ShardsAreReadByTheirIndex) {
  const TemporaryFolder folder;
  write_sharded(folder, index_of(kGoodMap));
  sample::write_file(folder / "generation_config.json", R"({"eos_token_id":[1,2]})");
  sample::write_file(folder / "tokenizer_config.json", R"({"chat_template":"x"})");
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  EXPECT_EQ(checkpoint.tensors().size(), 3U);
  EXPECT_EQ(checkpoint.files().size(), 2U);
  EXPECT_EQ(checkpoint.find("c")->file, 1U);
  EXPECT_EQ(checkpoint.generation_config().at("eos_token_id").size(), 2U);
  EXPECT_EQ(checkpoint.tokenizer_config().at("chat_template"), "x");
}

TEST(HuggingFaceFolder, HubCacheOfLinksIsRead) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "blobs");
  std::filesystem::create_directories(folder / "snapshots/abc");
  write_sharded(folder, index_of(kGoodMap));
  for (const char* name : {"config.json", kOne, kTwo, "model.safetensors.index.json"}) {
    std::filesystem::rename(folder / name, folder / ("blobs/hash-of-" + std::string(name)));
    std::filesystem::create_symlink("../../blobs/hash-of-" + std::string(name), folder / ("snapshots/abc/" + std::string(name)));
  }
  EXPECT_EQ(Checkpoint::open(folder / "snapshots/abc").tensors().size(), 3U);
  std::filesystem::create_directory_symlink("snapshots/abc", folder / "main");
  EXPECT_EQ(Checkpoint::open(folder / "main").tensors().size(), 3U);
}

TEST(HuggingFaceFolder, Q16PicklesBesideSafetensorsAreNeverOpened) {
  const TemporaryFolder folder;
  with_file("x", "")(folder);
  CHECK(::mkfifo((folder / "pytorch_model.bin").c_str(), 0600) == 0);  // opening it would wait for ever
  EXPECT_EQ(Checkpoint::open(folder.path()).tensors().size(), 1U);
}

TEST(HuggingFaceFolder, OneFileOfAnotherNameIsRead) {
  const TemporaryFolder folder;
  sample::write_file(folder / "config.json", "{}");
  sample::write_file(folder / "adapter.safetensors", shard_of({"a"}));
  EXPECT_EQ(Checkpoint::open(folder.path()).tensors().size(), 1U);
}

TEST(HuggingFaceFolder, IndexTruncatedAtEveryByteIsRefused) {
  const TemporaryFolder folder;
  const std::string whole = index_of(kGoodMap);
  for (size_t length = 0; length < whole.size(); ++length) {
    write_sharded(folder, whole.substr(0, length));
    EXPECT_THROW(Checkpoint::open(folder.path()), Error) << length;
  }
}

}  // namespace
}  // namespace quern
