// Which format a tensor gets, by dtype, role, source format and columns.
#include "builder/weight_policy.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/list.h"

namespace quern {
namespace {

using enum TensorRole;

struct Case {
  const char* dtype;
  size_t group_size;
  TensorRole role;
  Format source;
  size_t columns;
  const char* want;
  bool is_exception;
};

constexpr Case kCases[] = {
    {"auto", 0, matrix, Format::bf16, 896, "bf16", false},
    {"auto", 0, embedding, Format::q6_k, 4096, "q6_k", false},
    {"auto", 0, vector, Format::bf16, 896, "f32", false},
    {"f32", 0, head, Format::q4_k, 4096, "f32", false},
    {"float16", 0, matrix, Format::bf16, 896, "f16", false},
    {"bfloat16", 0, embedding, Format::f32, 896, "bf16", false},
    {"int8", 0, matrix, Format::q4_k, 4864, "i8", false},
    {"int8", 128, matrix, Format::f32, 4864, "i8g128", false},
    {"int8", 128, matrix, Format::f32, 4864 - 64, "i8g64", true},
    {"int8", 0, embedding, Format::bf16, 896, "bf16", false},
    {"int8", 0, embedding, Format::f32, 896, "f16", false},
    {"int8", 0, head, Format::i8g32, 896, "i8g32", false},  // a GGUF's own blocks
    {"int4", 0, matrix, Format::f16, 896, "i4g32", false},
    {"int4", 32, matrix, Format::f16, 896, "i4g32", false},
    {"int4", 128, matrix, Format::f16, 576, "i4g64", true},
    {"int4", 128, matrix, Format::f16, 96, "i4g32", true},
    {"int4", 128, matrix, Format::f16, 172, "i8", true},
    {"int4", 0, embedding, Format::f16, 896, "i8g32", false},
    {"int4", 0, head, Format::f32, 100, "i8", true},
    {"int4", 0, embedding, Format::q5_0, 896, "q5_0", false},
    {"int4", 0, vector, Format::f16, 896, "f32", false},
};

TEST(WeightPolicy, Choices) {
  for (const Case& c : kCases) {
    const WeightPolicy::Choice choice = WeightPolicy(parse_weight_dtype(c.dtype), c.group_size).choose(c.role, c.source, c.columns);
    EXPECT_STREQ(format_name(choice.format), c.want) << c.dtype << ' ' << c.group_size << ' ' << format_name(c.source) << ' ' << c.columns;
    EXPECT_EQ(!choice.reason.empty(), c.is_exception) << c.dtype << ' ' << c.columns << ": " << choice.reason;
  }
}

TEST(WeightPolicy, NamesOfDtypes) {
  for (const char* name : {"auto", "f32", "f16", "bf16", "int8", "int4"}) EXPECT_STREQ(weight_dtype_name(parse_weight_dtype(name)), name);
  for (const char* name : {"fp32", "float32", "float"}) EXPECT_EQ(parse_weight_dtype(name), WeightDtype::f32);
  for (const char* name : {"fp16", "float16", "half"}) EXPECT_EQ(parse_weight_dtype(name), WeightDtype::f16);
  for (const char* name : {"", "int2", "F16", "auto "}) EXPECT_THROW(parse_weight_dtype(name), Error) << name;
}

TEST(WeightPolicy, GroupSizesThatAreRefused) {
  for (const size_t size : {1, 7, 16, 96, 256}) EXPECT_THROW(WeightPolicy(WeightDtype::int4, size), Error) << size;
  EXPECT_THROW(WeightPolicy(WeightDtype::bf16, 32), Error);
  EXPECT_THROW(WeightPolicy(WeightDtype::automatic, 128), Error);
}

}  // namespace
}  // namespace quern
