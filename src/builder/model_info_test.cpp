// What info says of a checkpoint and of its engine file: the same model, and figures that add up.
#include "builder/model_info.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "builder/build.h"
#include "builder/tiny_checkpoint.h"

namespace quern {
namespace {

// hidden 64, intermediate 96, 2 layers, 272 rows of vocabulary: embedding, head; per layer q, out, k, v, gate, up, down; vectors.
constexpr uint64_t kMatrixWeights = 2 * (64 * 64 * 2 + 32 * 64 * 2 + 3 * 96 * 64), kTables = 2 * 272 * 64;
constexpr uint64_t kVectorWeights = 2 * (64 * 2 + 64 + 32 * 2) + 64;  // qwen2: norms, and biases of q, k, v

TEST(ModelInfo, CheckpointAndEngineAgree) {
  const tiny::TestFolder folder;
  tiny::TinyCheckpoint checkpoint = tiny::make("qwen2");
  checkpoint.dtype = "BF16";
  checkpoint.write(folder / "m");
  build_engine({.source = folder / "m", .output = folder / "e.quern", .dtype = "int8"});
  const Json source = source_info(read_source_model(folder / "m"), true);
  const Json engine = engine_info(*EngineFile::open(folder / "e.quern"), true);
  for (const char* key : {"family", "model", "chat", "generation", "num_parameters", "tokenizer"})
    EXPECT_EQ(source.at(key), engine.at(key)) << key;
  EXPECT_EQ(source.at("num_parameters"), kMatrixWeights + kTables + kVectorWeights);
  EXPECT_EQ(source.at("kind"), "hugging_face");
  EXPECT_EQ(source.at("formats").at("bf16").at("bytes"), 2 * source.at("num_parameters").get<uint64_t>());
  EXPECT_EQ(source.at("engine_bytes").at("int8"), engine.at("weight_bytes"));
  EXPECT_EQ(source.at("engine_bytes").at("auto"), 2 * (kMatrixWeights + kTables) + 4 * kVectorWeights);
  EXPECT_EQ(engine.at("kind"), "engine");
  EXPECT_EQ(engine.at("formats").at("i8").at("tensors"), 14);
  EXPECT_EQ(engine.at("formats").at("bf16").at("bytes"), 2 * kTables);
  EXPECT_EQ(engine.at("file_bytes"), std::filesystem::file_size(folder / "e.quern"));
  EXPECT_EQ(engine.at("tensors").size(), source.at("tensors").size() + 1);  // and the tokenizer
  EXPECT_EQ(engine.at("build").at("dtype"), "int8");
}

// Metadata of any kind is shown or refused, never trusted to have a field.
TEST(ModelInfo, StrangeMetadata) {
  const tiny::TestFolder folder;
  tiny::make("qwen2").write(folder / "m");
  build_engine({.source = folder / "m", .output = folder / "e.quern"});
  const auto good = EngineFile::open(folder / "e.quern");
  const auto rewritten = [&](const std::function<void(EngineMetadata&)>& change) {
    EngineMetadata metadata = good->metadata();
    change(metadata);
    EngineFileWriter writer(folder / "changed.quern", good->tensors(), {});
    for (const EngineTensorInfo& tensor : good->tensors()) writer.write(good->file().bytes().subspan(tensor.offset, tensor.bytes));
    writer.finish(metadata);
    return EngineFile::open(folder / "changed.quern");
  };
  for (const Json& value : {Json(), Json(5), Json("text"), Json::array(), Json::object()}) {
    const Json info = engine_info(*rewritten([&](EngineMetadata& m) { m.build = m.receipt = m.generation = value; }), true);
    EXPECT_EQ(info.at("build"), value);
    EXPECT_THROW(engine_info(*rewritten([&](EngineMetadata& m) { m.model = value; }), true), Error) << value;
  }
  for (const Json& value : {Json(5), Json("text"), Json::array(), Json{{"format", 1}}}) {
    EXPECT_THROW(engine_info(*rewritten([&](EngineMetadata& m) { m.chat = value; }), true), Error) << value;
  }
}

TEST(ModelInfo, TensorsOnlyWhenAskedFor) {
  const tiny::TestFolder folder;
  tiny::write_gguf(tiny::make("llama"), folder / "m.gguf", "Q8_0");
  const Json info = source_info(read_source_model(folder / "m.gguf"), false);
  EXPECT_FALSE(info.contains("tensors"));
  EXPECT_EQ(info.at("kind"), "gguf");
  EXPECT_TRUE(info.at("formats").contains("i8g32"));
}

}  // namespace
}  // namespace quern
