// JSON and floats as Python writes them; the wanted texts are Python's own output.
#include "text/json_text.h"

#include <gtest/gtest.h>

#include <limits>

namespace quern {
namespace {

TEST(JsonText, FloatsAsPython) {
  struct Case {
    double value;
    const char* want;
  };
  for (const Case& c : std::initializer_list<Case>{
           {0.0, "0.0"},
           {-0.0, "-0.0"},
           {1.0, "1.0"},
           {-2.5, "-2.5"},
           {0.1, "0.1"},
           {1e-4, "0.0001"},
           {1e-5, "1e-05"},
           {1.5e-7, "1.5e-07"},
           {123456.789, "123456.789"},
           {1e15, "1000000000000000.0"},
           {1e16, "1e+16"},
           {1.25e16, "1.25e+16"},
           {1e100, "1e+100"},
           {5e-324, "5e-324"},
           {9007199254740993.0, "9007199254740992.0"},
           {1.0 / 3, "0.3333333333333333"},
           {0.30000000000000004, "0.30000000000000004"},
           {std::numeric_limits<double>::max(), "1.7976931348623157e+308"},
       }) {
    EXPECT_EQ(python_float(c.value), c.want);
  }
}

TEST(JsonText, ObjectsKeepTheirOrder) {
  const OrderedJson value = parse_ordered_json(
      R"({"z":1,"a":[1.0,-2,true,false,null,"é\u2028\"\\\/\n\t\u0001\u007f"],"m":{},"l":[],"u":18446744073709551615})", "test");
  EXPECT_EQ(python_json(value),
            "{\"z\": 1, \"a\": [1.0, -2, true, false, null, \"é\u2028\\\"\\\\/\\n\\t\\u0001\x7f\"], \"m\": {}, \"l\": [], \"u\": "
            "18446744073709551615}");
  EXPECT_EQ(python_json(OrderedJson("x")), "\"x\"");
}

TEST(JsonText, DepthIsBounded) {
  OrderedJson deep = OrderedJson::array();
  for (int i = 0; i < 200; ++i) deep = OrderedJson::array({deep});
  EXPECT_THROW(python_json(deep), Error);
}

}  // namespace
}  // namespace quern
