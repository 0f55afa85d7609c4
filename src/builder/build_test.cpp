// What build_engine writes: every value of every family where it belongs, exact or within the format's bound; the same bytes whatever the
// threads; nothing at all when it fails or is killed.
#include "builder/build.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "builder/tiny_checkpoint.h"
#include "files/engine_file.h"
#include "formats/list.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

std::vector<float> values_of(const EngineFile& file, const std::string& name) {
  const EngineTensorInfo* info = file.find(name);
  CHECK(info != nullptr, "{} is not in the file", name);
  const Tensor tensor = file.tensor(name, info->shape);
  std::vector<float> values(tensor.rows() * tensor.columns());
  for (size_t row = 0; row < tensor.rows(); ++row) {
    format_info(tensor.format).unpack(tensor.data + row * tensor.row_bytes(), tensor.columns(), values.data() + row * tensor.columns());
  }
  return values;
}

// Engine tensor -> its values as the checkpoint means them, by names written out here once more and not by the families' rules.
std::map<std::string, std::vector<float>> expected_values(const tiny::TinyCheckpoint& c) {
  std::map<std::string, std::vector<float>> out;
  const bool is_qwen1 = c.family == "qwen1";
  const auto put = [&](const std::string& engine, const std::string& source, size_t part = 0, size_t parts = 1) {
    const auto found = c.weights.find(source);
    if (found == c.weights.end()) return;
    const std::vector<float>& all = found->second.values;
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(all.size() / parts * part);
    out[engine].assign(begin, begin + static_cast<std::ptrdiff_t>(all.size() / parts));
  };
  put("embed", is_qwen1 ? "transformer.wte.weight" : "model.embed_tokens.weight");
  put("norm", is_qwen1 ? "transformer.ln_f.weight" : "model.norm.weight");
  put("head", "lm_head.weight");
  for (int i = 0; i < 2; ++i) {
    const std::string e = fmt::format("blk.{}.", i);
    const std::string s = is_qwen1 ? fmt::format("transformer.h.{}.", i) : fmt::format("model.layers.{}.", i);
    put(e + "norm1", s + (is_qwen1 ? "ln_1.weight" : "input_layernorm.weight"));
    put(e + "norm2", s + (is_qwen1 ? "ln_2.weight" : "post_attention_layernorm.weight"));
    put(e + "out", s + (is_qwen1 ? "attn.c_proj.weight" : "self_attn.o_proj.weight"));
    put(e + "gate", s + (is_qwen1 ? "mlp.w2.weight" : "mlp.gate_proj.weight"));
    put(e + "up", s + (is_qwen1 ? "mlp.w1.weight" : "mlp.up_proj.weight"));
    put(e + "down", s + (is_qwen1 ? "mlp.c_proj.weight" : "mlp.down_proj.weight"));
    for (size_t third = 0; third < 3; ++third) {
      const std::string q(1, "qkv"[third]);
      for (const auto& [engine, ending] : {std::pair{"", "weight"}, std::pair{".bias", "bias"}}) {
        if (is_qwen1) {
          put(e + q + engine, s + "attn.c_attn." + ending, third, 3);
        } else {
          put(e + q + engine, fmt::format("{}self_attn.{}_proj.{}", s, q, ending));
        }
      }
      put(e + q + "_norm", fmt::format("{}self_attn.{}_norm.weight", s, q));
    }
  }
  return out;
}

// The largest error that rounding `value` into `format` can make, `most` being the largest magnitude of its row or group.
double rounding_bound(Format format, double value, double most) {
  const std::string name = format_name(format);
  if (name == "f32") return 0;
  if (name == "f16") return std::fabs(value) * 0x1p-11 + 0x1p-25;  // half of the last of 11 bits; half of the smallest step
  if (name == "bf16") return std::fabs(value) * 0x1p-8;            // half of the last of 8 bits
  // Half a step, and the scale's own rounding to f16 (2^-11 of it) times the largest code.
  if (name.starts_with("i8")) return most / 127 * (0.5 + 127 * 0x1p-11);
  // Half a step of most * 1.1 / 8, or the farthest that an extreme is clipped to: code 7 of 0.8 * most / 8. Then the scale's rounding.
  if (name.starts_with("i4")) return most * (1 - 7 * 0.8 / 8 + 0x1p-11);
  return std::numeric_limits<double>::quiet_NaN();
}

void expect_values(const EngineFile& file, const std::map<std::string, std::vector<float>>& expected, const std::string& label) {
  for (const auto& [name, want] : expected) {
    const EngineTensorInfo* info = file.find(name);
    ASSERT_NE(info, nullptr) << label << ' ' << name;
    const std::vector<float> got = values_of(file, name);
    ASSERT_EQ(got.size(), want.size()) << label << ' ' << name;
    const size_t columns = info->shape.columns();
    for (size_t i = 0; i < got.size(); ++i) {
      const size_t row = i / columns * columns;
      double most = 0;
      for (size_t j = row; j < row + columns; ++j) most = std::fmax(most, std::fabs(want[j]));
      ASSERT_LE(std::fabs(got[i] - want[i]), rounding_bound(info->format, want[i], most)) << label << ' ' << name << ' ' << i;
    }
  }
  size_t num_weights = 0;
  for (const EngineTensorInfo& tensor : file.tensors()) num_weights += tensor.is_raw ? 0 : 1;
  EXPECT_EQ(num_weights, expected.size()) << label;
}

struct Case {
  const char* family;
  const char* source;  // "F32", "BF16" safetensors, or a GGUF type after a slash
  const char* dtype;
  size_t group_size;
  const char* embedding;  // expected formats
  const char* q;
  const char* down;  // 96 columns
};

constexpr Case kCases[] = {
    {"qwen1", "F32", "auto", 0, "f32", "f32", "f32"},         {"qwen2", "F32", "auto", 0, "f32", "f32", "f32"},
    {"qwen3", "BF16", "auto", 0, "bf16", "bf16", "bf16"},     {"llama", "F16", "auto", 0, "f16", "f16", "f16"},
    {"qwen1", "BF16", "f32", 0, "f32", "f32", "f32"},         {"qwen2", "F32", "f16", 0, "f16", "f16", "f16"},
    {"qwen3", "F32", "bf16", 0, "bf16", "bf16", "bf16"},      {"llama", "F16", "bf16", 0, "bf16", "bf16", "bf16"},
    {"qwen1", "F32", "int8", 0, "f16", "i8", "i8"},           {"qwen2", "BF16", "int8", 0, "bf16", "i8", "i8"},
    {"qwen3", "F32", "int8", 64, "f16", "i8g64", "i8g32"},    {"llama", "F32", "int8", 32, "f16", "i8g32", "i8g32"},
    {"qwen1", "F32", "int4", 0, "i8g32", "i4g32", "i4g32"},   {"qwen2", "F32", "int4", 128, "i8g32", "i4g64", "i4g32"},
    {"qwen3", "F16", "int4", 32, "i8g32", "i4g32", "i4g32"},  {"llama", "F32", "int4", 64, "i8g32", "i4g64", "i4g32"},
    {"qwen2", "/F32", "auto", 0, "f32", "f32", "f32"},        {"llama", "/F32", "auto", 0, "f32", "f32", "f32"},
    {"llama", "/F16", "auto", 0, "f16", "f16", "f16"},        {"qwen3", "/Q8_0", "auto", 0, "i8g32", "i8g32", "i8g32"},
    {"llama", "/Q4_0", "auto", 0, "i4g32", "i4g32", "i4g32"}, {"llama", "/F32", "int8", 0, "f16", "i8", "i8"},
    {"qwen2", "/Q8_0", "int4", 0, "i8g32", "i4g32", "i4g32"}, {"qwen2", "/Q4_0", "f16", 0, "f16", "f16", "f16"},
};

std::string write_source(const tiny::TinyCheckpoint& checkpoint, const tiny::TestFolder& folder, const std::string& source) {
  if (source[0] == '/') {
    tiny::write_gguf(checkpoint, folder / "model.gguf", source.substr(1));
    return folder / "model.gguf";
  }
  tiny::TinyCheckpoint copy = checkpoint;
  copy.dtype = source;
  copy.write(folder / "model");
  return folder / "model";
}

// What the file of `source` type holds of these values: rounding there is the source's, not the builder's.
std::map<std::string, std::vector<float>> as_stored(std::map<std::string, std::vector<float>> values, const std::string& source) {
  const std::map<std::string, Format> formats = {{"F32", Format::f32},    {"F16", Format::f16},  {"BF16", Format::bf16},
                                                 {"/F32", Format::f32},   {"/F16", Format::f16}, {"/Q8_0", Format::i8g32},
                                                 {"/Q4_0", Format::i4g32}};
  const Format format = formats.at(source);
  for (auto& [name, all] : values) {
    const bool is_vector = name.find("norm") != name.npos || name.ends_with("bias");
    if (is_vector && source[0] == '/') continue;
    const size_t block = format_info(format).block_values;  // every row here is a multiple of it
    std::vector<std::byte> packed(all.size() / block * format_info(format).block_bytes);
    format_info(format).pack(all.data(), all.size(), packed.data());
    format_info(format).unpack(packed.data(), all.size(), all.data());
  }
  return values;
}

TEST(Build, EveryFamilyAndDtype) {
  for (const Case& c : kCases) {
    const std::string label = fmt::format("{} {} {} {}", c.family, c.source, c.dtype, c.group_size);
    const tiny::TestFolder folder;
    const tiny::TinyCheckpoint checkpoint = tiny::make(c.family);
    const std::string source = write_source(checkpoint, folder, c.source);
    build_engine({.source = source, .output = folder / "e.quern", .dtype = c.dtype, .group_size = c.group_size, .receipt = false});
    const auto file = EngineFile::open(folder / "e.quern");
    file->verify(1);
    EXPECT_STREQ(format_name(file->find("embed")->format), c.embedding) << label;
    EXPECT_STREQ(format_name(file->find("head")->format), c.embedding) << label;
    EXPECT_STREQ(format_name(file->find("blk.1.q")->format), c.q) << label;
    EXPECT_STREQ(format_name(file->find("blk.0.down")->format), c.down) << label;
    EXPECT_EQ(file->find("blk.0.norm1")->format, Format::f32) << label;
    expect_values(*file, as_stored(expected_values(checkpoint), c.source), label);
  }
}

// B9: other folder, other number of threads.
TEST(Build, SameBytesWhateverTheThreadsAndPaths) {
  for (const auto& [family, source, dtype] :
       {std::tuple{"qwen2", "BF16", "int4"}, std::tuple{"llama", "/F16", "int8"}, std::tuple{"qwen1", "F32", "f16"}}) {
    std::string first;
    for (const size_t num_threads : {1, 2, 3}) {
      const tiny::TestFolder folder;
      const std::string path = write_source(tiny::make(family), folder, source);
      build_engine({.source = path, .output = folder / fmt::format("{}.quern", num_threads), .dtype = dtype, .num_threads = num_threads});
      const std::string bytes = tiny::read_file(folder / fmt::format("{}.quern", num_threads));
      if (first.empty()) first = bytes;
      EXPECT_TRUE(bytes == first) << family << ' ' << num_threads << " threads";
    }
  }
}

std::string error_of(const BuildOptions& options, ErrorCode code) {
  try {
    build_engine(options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.message();
    EXPECT_FALSE(fs::exists(options.output));
    return error.message();
  }
  ADD_FAILURE() << "no error";
  return "";
}

void expect_contains(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) EXPECT_NE(text.find(part), text.npos) << "want '" << part << "' in: " << text;
}

// Q12
TEST(Build, ValueThatIsNotFiniteIsNamed) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  const std::tuple<const char*, const char*, size_t, float, const char*, const char*> kBad[] = {
      {"qwen2", "model.layers.1.mlp.up_proj.weight", 3 * 64 + 5, nan, "value 197 at [3,5]", "nan"},
      {"qwen2", "model.layers.0.self_attn.k_proj.bias", 7, infinity, "value 7:", "inf"},
      {"qwen1", "transformer.h.0.attn.c_attn.weight", 70 * 64 + 1, -infinity, "value 4481 at [70,1]", "-inf"},
      {"qwen1", "transformer.h.1.attn.c_attn.bias", 190, nan, "value 190:", "nan"},
      {"qwen3", "model.norm.weight", 63, nan, "value 63:", "nan"},
  };
  for (const auto& [family, name, index, value, shown_index, shown_value] : kBad) {
    for (const char* dtype : {"F32", "F16", "BF16"}) {
      for (const char* to : {"auto", "f32", "f16", "int8", "int4"}) {
        const tiny::TestFolder folder;
        tiny::TinyCheckpoint checkpoint = tiny::make(family);
        checkpoint.weights[name].values[index] = value;
        checkpoint.dtype = dtype;
        checkpoint.write(folder / "m");
        expect_contains(error_of({.source = folder / "m", .output = folder / "e.quern", .dtype = to, .receipt = false}, invalid_input),
                        {"model.safetensors", name, shown_index, shown_value});
        EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1) << "nothing but the source is left";
      }
    }
  }
}

TEST(Build, FirstValueInTheOrderOfTheFileIsNamed) {
  const tiny::TestFolder folder;
  tiny::TinyCheckpoint checkpoint = tiny::make("llama");
  auto& values = checkpoint.weights["model.layers.0.self_attn.q_proj.weight"].values;
  // Rows 16 + 8 and 16 + 1 of the engine are rows 16 + 1 and 16 + 2 of the file.
  values[(16 + 8) * 64] = values[(16 + 1) * 64] = std::numeric_limits<float>::quiet_NaN();
  tiny::write_gguf(checkpoint, folder / "m.gguf", "F32");
  expect_contains(error_of({.source = folder / "m.gguf", .output = folder / "e.quern"}, invalid_input), {"blk.0.attn_q.weight", "[17,0]"});
}

TEST(Build, ValueBeyondTheFormatIsNamed) {
  const tiny::TestFolder folder;
  tiny::TinyCheckpoint checkpoint = tiny::make("qwen2");
  checkpoint.weights["model.layers.1.mlp.gate_proj.weight"].values[64 * 9 + 2] = 70000;
  checkpoint.write(folder / "m");
  expect_contains(error_of({.source = folder / "m", .output = folder / "e.quern", .dtype = "f16"}, invalid_input),
                  {"model.layers.1.mlp.gate_proj.weight", "[9,2]", "f16", "70000"});
  for (const char* dtype : {"f32", "bf16", "int8", "int4"}) {
    build_engine({.source = folder / "m", .output = folder / "e.quern", .dtype = dtype, .receipt = false});
  }
  checkpoint.weights["model.layers.1.mlp.gate_proj.weight"].values[64 * 9 + 2] = 1e9F;  // a group's scale is f16
  checkpoint.write(folder / "m");
  fs::remove(folder / "e.quern");
  expect_contains(error_of({.source = folder / "m", .output = folder / "e.quern", .dtype = "int4"}, invalid_input), {"[9,2]", "i4g32"});
  build_engine({.source = folder / "m", .output = folder / "e.quern", .dtype = "int8"});  // a row's scale is f32
}

TEST(Build, OptionsAreChecked) {
  const tiny::TestFolder folder;
  tiny::make("qwen2").write(folder / "m");
  const BuildOptions base = {.source = folder / "m", .output = folder / "e.quern"};
  const auto with = [&](const char* dtype, size_t group) {
    BuildOptions options = base;
    options.dtype = dtype;
    options.group_size = group;
    return error_of(options, usage);
  };
  expect_contains(with("int3", 0), {"--dtype", "int3", "auto, f32, f16, bf16, int8 or int4"});
  expect_contains(with("f16", 32), {"--group-size", "f16"});
  expect_contains(with("int4", 48), {"--group-size", "48", "32, 64 or 128"});
  tiny::write_file(folder / "notes.txt", "mine");
  BuildOptions foreign = base;
  foreign.output = folder / "notes.txt";
  EXPECT_THROW(build_engine(foreign), Error);
  EXPECT_EQ(tiny::read_file(folder / "notes.txt"), "mine");
}

// E08
TEST(Build, OutputThatIsTheInputIsRefused) {
  const tiny::TestFolder folder;
  tiny::write_gguf(tiny::make("qwen2"), folder / "m.gguf", "F16");
  tiny::make("qwen3").write(folder / "m");
  const std::string gguf = tiny::read_file(folder / "m.gguf"), weights = tiny::read_file(folder / "m/model.safetensors");
  fs::create_symlink(folder / "m.gguf", folder / "link.quern");
  fs::create_hard_link(folder / "m.gguf", folder / "hard.quern");
  fs::create_symlink("m/model.safetensors", folder / "weights.quern");
  const std::pair<std::string, std::string> kSame[] = {
      {folder / "m.gguf", folder / "link.quern"}, {folder / "m.gguf", folder / "hard.quern"}, {folder / "m", folder / "weights.quern"}};
  for (const auto& [source, output] : kSame) {
    try {
      build_engine({.source = source, .output = output});
      ADD_FAILURE() << output;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), usage) << error.message();
      EXPECT_NE(error.message().find("same file"), std::string::npos) << error.message();
    }
  }
  EXPECT_TRUE(tiny::read_file(folder / "m.gguf") == gguf);
  EXPECT_TRUE(tiny::read_file(folder / "m/model.safetensors") == weights);
}

// E07 and B5: killed at any report, no file has the final name; the next build is not disturbed and writes the same bytes.
TEST(Build, KilledBuildLeavesNoEngine) {
  const tiny::TestFolder folder;
  tiny::make("qwen2").write(folder / "m");
  build_engine({.source = folder / "m", .output = folder / "whole.quern", .dtype = "int8"});
  const std::string whole = tiny::read_file(folder / "whole.quern");
  for (size_t at = 0; at < 30; at += 3) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      size_t reports = 0;
      build_engine({.source = folder / "m", .output = folder / "e.quern", .dtype = "int8", .progress = [&](const BuildProgress&) {
                      if (reports++ == at) ::kill(::getpid(), SIGKILL);
                    }});
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << at;
    ASSERT_FALSE(fs::exists(folder / "e.quern")) << at;
  }
  build_engine({.source = folder / "m", .output = folder / "e.quern", .dtype = "int8"});
  EXPECT_TRUE(tiny::read_file(folder / "e.quern") == whole);
}

TEST(Build, StoppedBuildLeavesTheOlderEngine) {
  const tiny::TestFolder folder;
  tiny::make("qwen3").write(folder / "m");
  build_engine({.source = folder / "m", .output = folder / "e.quern", .dtype = "f16"});
  const std::string older = tiny::read_file(folder / "e.quern");
  struct Stop {};
  const auto stop = [](const BuildProgress& progress) {
    if (progress.tensors_done == 5) throw Stop();
  };
  EXPECT_THROW(build_engine({.source = folder / "m", .output = folder / "e.quern", .dtype = "int8", .progress = stop}), Stop);
  EXPECT_TRUE(tiny::read_file(folder / "e.quern") == older);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 2) << "no temporary file is left";
}

TEST(Build, ProgressAndResultAddUp) {
  const tiny::TestFolder folder;
  tiny::make("qwen2").write(folder / "m");
  BuildProgress last;
  uint64_t before = 0;
  const BuildResult result = build_engine(
      {.source = folder / "m", .output = folder / "e.quern", .dtype = "int4", .group_size = 64, .progress = [&](const BuildProgress& now) {
         EXPECT_GE(now.bytes_done, before);
         before = now.bytes_done;
         last = now;
       }});
  EXPECT_TRUE(last.tensor.empty());
  EXPECT_EQ(last.bytes_done, last.num_bytes);
  EXPECT_EQ(last.tensors_done, last.num_tensors);
  EXPECT_EQ(result.weight_bytes, last.num_bytes);
  EXPECT_EQ(result.file_bytes, fs::file_size(folder / "e.quern"));
  EXPECT_EQ(result.policy.at("embedding"), "i8g32");
  EXPECT_EQ(result.policy.at("matrices"), (Json{{"i4g32", 2}, {"i4g64", 12}}));
  EXPECT_EQ(result.policy.at("exceptions"), (Json{{"blk.*.down: i4g32: 96 columns are no multiple of 64", 2}}));
}

TEST(Build, FileSaysHowItWasMadeAndNotWhereOrWhen) {
  const tiny::TestFolder folder;
  tiny::make("qwen2").write(folder / "m");
  build_engine({.source = folder / "m", .output = folder / "e.quern", .dtype = "fp16"});
  const auto file = EngineFile::open(folder / "e.quern");
  const Json& build = file->metadata().build;
  EXPECT_EQ(build.at("dtype"), "f16");
  EXPECT_EQ(build.at("source_xxh3").get<std::string>().size(), 16U);
  EXPECT_EQ(tiny::read_file(folder / "e.quern").find(folder.path()), std::string::npos);

  tiny::TinyCheckpoint other = tiny::make("qwen2");
  other.weights["model.norm.weight"].values[0] += 1;
  other.write(folder / "m");
  build_engine({.source = folder / "m", .output = folder / "e2.quern", .dtype = "fp16"});
  EXPECT_NE(EngineFile::open(folder / "e2.quern")->metadata().build.at("source_xxh3"), build.at("source_xxh3"));
}

}  // namespace
}  // namespace quern
