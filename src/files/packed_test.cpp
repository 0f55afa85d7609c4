// Checkpoints in every quantized layout (tools/make_quantized_goldens.py): each value to the last bit, in the format that was expected; and
// what does not fit together is refused by name.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <set>

#include "base/mapped_file.h"
#include "files/checkpoint.h"
#include "files/packed_layouts.h"
#include "files/xxh3.h"
#include "formats/list.h"
#include "source_dir.h"

namespace quern {
namespace {

const std::string kGoldens = source_dir() + "/tests/goldens/quantized";

TEST(Packed, EveryValueOfEveryLayout) {
  size_t matrices = 0, exact = 0, layouts = 0;
  std::set<std::string> formats;
  for (const auto& entry : std::filesystem::directory_iterator(kGoldens)) {
    SCOPED_TRACE(entry.path().filename().string());
    ++layouts;
    const Checkpoint checkpoint = Checkpoint::open(entry.path());
    EXPECT_TRUE(checkpoint.is_packed());
    const Json golden = parse_json(read_text_file(entry.path() / "golden.json", 1 << 20), "golden.json");
    for (const auto& [name, want] : golden.at("weights").items()) {
      ++matrices;
      const SourceTensor* source = checkpoint.find(name);
      ASSERT_NE(source, nullptr) << name;
      ASSERT_TRUE(source->packed) << name;
      const Tensor& tensor = source->weight("test");
      EXPECT_EQ(format_name(tensor.format), want.at("format").get<std::string>()) << name;
      EXPECT_EQ(source->packed->wider_because().empty(), tensor.format != Format::f32) << name;
      formats.insert(format_name(tensor.format));
      Xxh3 hash;
      std::vector<std::byte> made;
      std::vector<float> values(tensor.columns());
      for (size_t row = 0; row < tensor.rows(); ++row) {
        format_info(tensor.format).unpack(source->rows(row, 1, made), values.size(), values.data());
        hash.update(values.data(), values.size() * sizeof(float));
      }
      const bool is_exact = fmt::format("{:016x}", hash.digest()) == want.at("xxh3").get<std::string>();
      EXPECT_TRUE(is_exact) << name;
      exact += is_exact;
    }
  }
  printf("%zu of %zu matrices exact, in %zu layouts and %zu formats\n", exact, matrices, layouts, formats.size());
  EXPECT_GE(layouts, 18U);
}

// A source of 32 rows of 64 columns in two groups: GPTQ's layout in memory, from which a case takes something away.
struct Sample {
  std::vector<std::byte> codes = std::vector<std::byte>(8 * 32 * 4, std::byte{0x35}),
                         zeros = std::vector<std::byte>(2 * 4 * 4, std::byte{0x77}),
                         scales = std::vector<std::byte>(2 * 32 * 2, std::byte{0x2c}), index = std::vector<std::byte>(64 * 4);
  std::map<std::string, SourceTensor> tensors;

  Sample() {
    for (size_t c = 32; c < 64; ++c) index[4 * c] = std::byte{1};
    add("x.qweight", "I32", {8, 32}, codes);
    add("x.qzeros", "I32", {2, 4}, zeros);
    add("x.scales", "F16", {2, 32}, scales);
    add("x.g_idx", "I32", {64}, index);
  }
  void add(const std::string& name, std::string_view dtype, std::vector<uint64_t> dims, std::span<const std::byte> bytes) {
    SourceTensor tensor{.name = name, .dtype = dtype, .dims = std::move(dims), .bytes = bytes};
    if (dtype == "F16") {
      tensor.tensor = {
          .data = const_cast<std::byte*>(bytes.data()), .shape = Shape(std::span<const size_t>(tensor.dims)), .format = Format::f16};
    }
    tensors.insert_or_assign(name, tensor);
  }
  const PackedMatrix& join(const Json& config) {
    join_packed_weights(tensors, JsonFields(config, "config.json: quantization_config"), "folder");
    return *tensors.at("x.weight").packed;
  }
};

Json gptq(int bits = 4, int64_t group = 32) { return {{"quant_method", "gptq"}, {"bits", bits}, {"group_size", group}, {"sym", true}}; }

TEST(Packed, WhatF16CannotHoldIsWider) {
  Sample sample;
  EXPECT_EQ(sample.join(gptq()).format(), Format::i4g32);
  EXPECT_EQ(sample.tensors.size(), 1U);

  Sample small;  // a scale of 1e-10 in float32
  std::vector<float> scales(64, 1e-10F);
  const auto bytes = std::as_bytes(std::span(scales));
  small.add("x.scales", "F32", {2, 32}, bytes);
  small.tensors.at("x.scales").tensor = {.data = const_cast<std::byte*>(bytes.data()), .shape = {2, 32}, .format = Format::f32};
  const PackedMatrix& wide = small.join(gptq());
  EXPECT_EQ(wide.format(), Format::f32);
  EXPECT_EQ(wide.wider_because(), "f16 cannot hold its scales");
  float values[64];
  wide.write_rows(31, 1, reinterpret_cast<std::byte*>(values));
  EXPECT_EQ(values[0], 1e-10F * (5 - 8));
  EXPECT_EQ(values[1], 1e-10F * (3 - 8));
}

TEST(Packed, ColumnsMayChangeTheirGroupsInWholeBlocks) {
  Sample sample;  // columns 0-31 in group 1, 32-63 in group 0
  for (size_t c = 0; c < 64; ++c) sample.index[4 * c] = std::byte{c < 32};
  EXPECT_EQ(sample.join(gptq()).format(), Format::i4g32);
  Sample act_order;
  std::swap(act_order.index[4 * 3], act_order.index[4 * 40]);
  const PackedMatrix& wide = act_order.join(gptq());
  EXPECT_EQ(wide.format(), Format::f32);
  EXPECT_NE(wide.wider_because().find("act-order"), std::string::npos);
}

TEST(Packed, Refusals) {
  const std::vector<std::byte> none;
  const struct {
    const char* what;
    std::function<void(Sample&, Json&)> change;
    ErrorCode code;
    const char* says;
  } cases[] = {
      {"bits 3", [](Sample&, Json& c) { c["bits"] = 3; }, incompatible, "bits: want 4 or 8, found 3"},
      {"bits 2^40", [](Sample&, Json& c) { c["bits"] = uint64_t{1} << 40; }, invalid_input, "bits"},
      {"group 0", [](Sample&, Json& c) { c["group_size"] = 0; }, invalid_input, "group_size"},
      {"group -2", [](Sample&, Json& c) { c["group_size"] = -2; }, invalid_input, "group_size"},
      {"group 2^63", [](Sample&, Json& c) { c["group_size"] = uint64_t{1} << 63; }, invalid_input, "group_size"},
      {"group a text", [](Sample&, Json& c) { c["group_size"] = "128"; }, invalid_input, "group_size"},
      {"group too large for the scales", [](Sample&, Json& c) { c["group_size"] = 64; }, invalid_input, "x.scales: want [1,32]"},
      {"whole rows", [](Sample&, Json& c) { c["group_size"] = -1; }, invalid_input, "x.scales: want [1,32]"},
      {"8 bits on 4-bit words", [](Sample&, Json& c) { c["bits"] = 8; }, invalid_input, "x.scales: want [1,32]"},
      {"other method", [](Sample&, Json& c) { c["quant_method"] = "quip"; }, incompatible,
       "awq, compressed-tensors, fbgemm_fp8, fp8, gptq"},
      {"no method", [](Sample&, Json& c) { c.erase("quant_method"); }, invalid_input, "quant_method"},
      {"marlin", [](Sample&, Json& c) { c["checkpoint_format"] = "marlin"; }, incompatible, "checkpoint_format"},
      {"exceptions",
       [](Sample&, Json& c) {
         c["dynamic"] = {{"+:x", {{"bits", 8}}}};
       },
       incompatible, "dynamic"},
      {"AWQ config on GPTQ tensors",
       [](Sample&, Json& c) {
         c = {{"quant_method", "awq"}, {"bits", 4}, {"group_size", 32}};
       },
       invalid_input, "x.scales: want [1,256]"},
      {"AWQ gemv",
       [](Sample&, Json& c) {
         c = {{"quant_method", "awq"}, {"bits", 4}, {"group_size", 32}, {"version", "gemv"}};
       },
       incompatible, "version: want gemm"},
      {"FP8 config on GPTQ tensors",
       [](Sample&, Json& c) {
         c = {{"quant_method", "fp8"}};
       },
       invalid_input, "F8_E4M3"},
      {"no qzeros", [](Sample& s, Json&) { s.tensors.erase("x.qzeros"); }, invalid_input, "x.qzeros: want I32, found no such tensor"},
      {"no scales", [](Sample& s, Json&) { s.tensors.erase("x.scales"); }, invalid_input, "x.scales"},
      {"zeros of another shape",
       [](Sample& s, Json&) {
         s.add("x.qzeros", "I32", {4, 2}, s.zeros);
       },
       invalid_input, "x.qzeros: want [2,4]"},
      {"scales of another dtype",
       [](Sample& s, Json&) {
         s.add("x.scales", "I32", {2, 32}, s.scales);
       },
       invalid_input, "F16 or BF16 or F32"},
      {"codes without rows",
       [=](Sample& s, Json&) {
         s.add("x.qweight", "I32", {8, 0}, none);
       },
       invalid_input, "x.qweight: want a matrix"},
      {"codes of one dimension", [](Sample& s, Json&) { s.add("x.qweight", "I32", {256}, s.codes); }, invalid_input, "want a matrix"},
      {"group index beyond", [](Sample& s, Json&) { s.index[4 * 7] = std::byte{2}; }, invalid_input,
       "x.g_idx: value 7: want a group below 2, found 2"},
      {"group index negative", [](Sample& s, Json&) { s.index[4 * 7 + 3] = std::byte{0xff}; }, invalid_input, "x.g_idx: value 7"},
      {"group index too short", [](Sample& s, Json&) { s.add("x.g_idx", "I32", {32}, std::span(s.index).first(128)); }, invalid_input,
       "x.g_idx: want [64]"},
      {"infinite scale", [](Sample& s, Json&) { s.scales[0] = std::byte{0}, s.scales[1] = std::byte{0x7c}; }, invalid_input, "finite"},
      {"a plain weight as well", [](Sample& s, Json&) { s.add("x.weight", "F16", {1}, std::span(s.scales).first(2)); }, invalid_input,
       "x.weight: want one weight"},
  };
  for (const auto& c : cases) {
    Sample sample;
    Json config = gptq();
    c.change(sample, config);
    try {
      sample.join(config);
      ADD_FAILURE() << c.what << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), c.code) << c.what << ": " << error.message();
      EXPECT_NE(error.message().find(c.says), std::string::npos) << c.what << ": " << error.message();
    }
  }
}

}  // namespace
}  // namespace quern
