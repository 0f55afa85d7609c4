// Proves that hostile JSON is refused with its reason and that fields are read by name with clear errors.
#include "base/json.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

std::string error_of(const std::string& text, JsonLimits limits = {}) {
  try {
    parse_json(text, "f.json", limits);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), invalid_input);
    return e.message();
  }
  return "";
}

TEST(Json, RefusesHostileText) {
  EXPECT_EQ(error_of(""), "f.json: empty; want JSON");
  EXPECT_EQ(error_of("{\"a\":1,\"a\":2}"), "f.json: duplicate key \"a\"");
  EXPECT_EQ(error_of("[1,2"), "f.json: not JSON at byte 4");
  EXPECT_EQ(error_of("{} x"), "f.json: not JSON at byte 3");
  EXPECT_EQ(error_of("[NaN]"), "f.json: not JSON at byte 1");
  EXPECT_EQ(error_of("\xef\xbb\xbf{}"), "f.json: starts with a byte order mark; want plain UTF-8");
  EXPECT_EQ(error_of("[\"\xff\"]"), "f.json: invalid UTF-8 at byte 2");
  EXPECT_NE(error_of("[1e400]"), "");
  EXPECT_EQ(error_of(std::string(10000, '[')), "f.json: nested deeper than 64 levels");
  EXPECT_EQ(error_of("[1]", {.max_bytes = 2}), "f.json: want at most 2 bytes of JSON, found 3");
  EXPECT_EQ(error_of("{\"a\":{\"a\":1},\"b\":[{\"a\":2},{\"a\":3}]}"), "");
}

TEST(Json, FieldsHaveAliasesAndRanges) {
  const Json j = parse_json(R"({"n_embd":64,"hidden_size":64,"n_layer":3,"num_layers":4,"x":-1,"s":"t"})", "c");
  const JsonFields f(j, "config.json");
  EXPECT_EQ(f.size({"hidden_size", "n_embd"}, 1, 100), 64U);
  EXPECT_THROW(f.size({"num_layers", "n_layer"}, 1, 100), Error);  // both present and different
  EXPECT_THROW(f.size({"x"}, 0, 100), Error);
  EXPECT_THROW(f.size({"hidden_size"}, 65, 100), Error);
  EXPECT_FALSE(f.optional_size({"absent"}, 0, 1));
  EXPECT_EQ(f.text({"s"}), "t");
  try {
    f.number({"s"});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.message(), "config.json: s: want a number, found \"t\"");
  }
}

}  // namespace
}  // namespace quern
