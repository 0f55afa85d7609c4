// Answers that fit a schema pass, others do not, and masks say of every token what its bytes say.
#include "text/json_schema.h"

#include <gtest/gtest.h>

#include <random>

#include "text/bnf.h"
#include "text/test_vocabulary.h"
#include "text/text_grammars.h"
#include "text/token_masks.h"

namespace quern {
namespace {

std::shared_ptr<const Tokenizer> vocabulary() {
  return std::make_shared<Tokenizer>(
      small_vocabulary({"  ", "\":", "{\"", "\"}", "\",", "tr", "true", "fa", "12", "name", "\xc3\xa9", ": ", "}}", "]}"}));
}

TokenMasks masks_of(Grammar grammar, const Tokenizer& tokenizer) {
  return {std::make_shared<const Grammar>(std::move(grammar)), std::make_shared<const TokenTrie>(tokenizer)};
}

bool fits(TokenMasks& masks, std::string_view text) {
  const TokenMasks::State state = masks.after(masks.start(), text);
  return state != TokenMasks::kDead && masks.may_end(state);
}

struct Case {
  const char* schema;
  std::vector<std::string> fit, unfit;
};

const Case kCases[] = {
    {R"({"type":"integer"})", {"0", "-5", "123", " 7"}, {"", "01", "1.5", "-", "1e5", "a", "123456789012345678901"}},
    {R"({"type":"integer","minimum":1})", {"1", "10"}, {"0", "-1"}},
    {R"({"type":"number"})", {"0", "-0.5", "1e10", "1.25E-3"}, {".5", "1.", "1e", "+1"}},
    {R"({"type":"boolean"})", {"true", "false"}, {"True", "tru", "truefalse"}},
    {R"({"type":"null"})", {"null"}, {"nul", "0"}},
    {R"({"type":"string"})",
     {R"("")", R"("a b")", "\"\xc3\xa9\xf0\x9f\x98\x80\"", R"("\n\"\\A\ud7ff")"},
     {"a", R"("a)", "\"\n\"", R"("\x")", R"("\ud800")", "\"\xc3\"", "\"\xed\xa0\x80\""}},
    {R"({"type":"string","minLength":2,"maxLength":3})", {R"("ab")", R"("a\n")", "\"\xc3\xa9\xc3\xa9\xc3\xa9\""}, {R"("a")", R"("abcd")"}},
    {R"({"enum":["red","green",3,null]})", {R"("red")", "3", "null"}, {R"("blue")", "red", "33"}},
    {R"({"const":{"a":[1,2]}})", {R"({"a":[1,2]})"}, {R"({"a":[1]})"}},
    {R"({"type":["integer","null"]})", {"3", "null"}, {"true"}},
    {R"({"anyOf":[{"type":"integer"},{"type":"string"}]})", {"3", R"("3")"}, {"null"}},
    {R"({"type":"array","items":{"type":"integer"}})",
     {"[]", "[1]", "[1, 2,3]", "[\n  1,\n  2\n]"},
     {"[1,]", "[,1]", "[true]", "[1 2]", "["}},
    {R"({"oneOf":[{"type":"object","properties":{"k":{"const":"x"},"v":{"type":"integer"}},"required":["k","v"]},{"type":"null"}]})",
     {R"({"k":"x","v":1})", "null"},
     {R"({"k":"y","v":1})", "{}"}},
    {R"({"type":"array","items":{"type":"integer"},"uniqueItems":false,"x-order":1})", {"[1,1]"}, {"1"}},
    {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":2})", {"[1]", "[1,2]"}, {"[]", "[1,2,3]"}},
    {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":false,"minItems":2})",
     {R"([1,"a"])"},
     {"[1]", R"([1,"a",2])"}},
    {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a","b"]})",
     {R"({"a":1,"b":"x"})", "{\n  \"a\": 1,\n  \"b\": \"x\"\n}"},
     {R"({"b":"x","a":1})", R"({"a":1})", "{}", R"({"a":1,"b":"x","c":2})", R"({"a":1,"b":"x",})", R"({"a": 1 , "b":2})"}},
    {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"null"},"c":{"type":"boolean"}},"required":["b"]})",
     {R"({"b":null})", R"({"a":1,"b":null})", R"({"b":null,"c":true})", R"({"a":1,"b":null,"c":true})"},
     {R"({"a":1})", R"({"a":1,"c":true})", R"({,"b":null})", R"({"b":null "c":true})"}},
    {R"({"type":"object","properties":{"a":{"type":"integer"}}})", {"{}", R"({"a":1})"}, {R"({"b":1})"}},
    {R"({"type":"object","additionalProperties":{"type":"integer"}})", {"{}", R"({"x":1,"y":2})"}, {R"({"x":"a"})", R"({"x":1,})"}},
    {R"({"type":"object"})", {"{}", R"({"x":[1,{"y":null}],"z":"a"})"}, {"[]", R"({"x"})", R"({"x":})"}},
    {R"({})", {"1", "[]", R"({"a":[true]})", R"("x")"}, {"", "x"}},
    {R"({"$defs":{"tree":{"type":"object","properties":{"v":{"type":"integer"},"kids":{"type":"array","items":{"$ref":"#/$defs/tree"}}},"required":["v"]}},"$ref":"#/$defs/tree"})",
     {R"({"v":1})", R"({"v":1,"kids":[{"v":2,"kids":[]},{"v":3}]})"},
     {R"({"kids":[]})", R"({"v":1,"kids":[1]})"}},
    {R"({"type":"object","properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["next"]})",
     {R"({"next":null})", R"({"next":{"next":null}})"},
     {"{}"}},
    {R"({"type":"integer","minimum":-20,"maximum":135})",
     {"0", "-1", "-20", "135", "99", "100"},
     {"-21", "136", "1000", "200", "01", "1.0", "-0"}},
    {R"({"type":"integer","exclusiveMinimum":7})", {"8", "10", "70", "12345678901234567890"}, {"7", "0", "-8", "6"}},
    {R"({"type":"integer","maximum":-5})", {"-5", "-10", "-99999"}, {"-4", "5", "0"}},
    {R"({"type":"number","minimum":0.25,"exclusiveMaximum":1.5})",
     {"0.25", "0.3", "1", "1.0", "1.49999", "0.250"},
     {"0.2", "0.249", "1.5", "1.50", "2", "-0.3", "1e0"}},
    {R"({"type":"number","minimum":-1.5,"maximum":1e3})", {"-1.5", "-1.49", "0", "1000", "1000.0", "999.99"}, {"-1.51", "1000.1", "-2"}},
    {R"({"type":"number","multipleOf":0.01})", {"1", "-1.2", "1.23"}, {"1.234", "1e5"}},
    {R"({"type":"string","pattern":"^[a-c]{2,3}$"})", {R"("ab")", R"("abc")"}, {R"("a")", R"("abcd")", R"("abd")"}},
    {R"({"type":"string","pattern":"b+"})", {R"("abba")", R"("b")", R"("\"b\n")"}, {R"("a")", R"("")"}},
    {R"({"type":"string","pattern":"^(a|b)*$","minLength":2,"maxLength":3})", {R"("ab")", R"("bbb")"}, {R"("a")", R"("abab")"}},
    {R"({"type":"string","pattern":"^\\d+\\.\\s\"$"})", {R"("12. \"")", R"("1.\t\"")"}, {R"("1. ")"}},
    {R"({"type":"string","pattern":"^(a+)+$"})", {R"("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")"}, {R"("aaaaaaaaaaaaaaaaaaaaaaaaaaaab")"}},
    {R"({"type":"string","format":"date"})", {R"("2024-02-29")"}, {R"("2024-13-01")", R"("24-01-01")"}},
    {R"({"type":"string","format":"date-time"})",
     {R"("2024-02-29T23:59:59Z")", R"("2024-02-29T00:00:00.125+02:00")"},
     {R"("2024-02-29")", R"("2024-02-29T24:00:00Z")"}},
    {R"({"type":"string","format":"uuid"})", {R"("123e4567-e89b-12d3-a456-426614174000")"}, {R"("123e4567")"}},
    {R"({"type":"string","format":"email"})", {R"("a.b+c@mail.example.org")"}, {R"("a@b")", R"("@b.org")"}},
    {R"({"type":"string","format":"ipv4"})", {R"("127.0.0.1")", R"("255.255.255.255")"}, {R"("256.0.0.1")", R"("1.2.3")"}},
    {R"({"type":"string","maxLength":100})", {R"("")", "\"" + std::string(100, 'a') + "\""}, {"\"" + std::string(101, 'a') + "\""}},
    {R"({"type":"object","properties":{"ab":{"type":"null"},"a":{"type":"null"}},"required":["a"],"additionalProperties":{"type":"integer"}})",
     {R"({"a":null})", R"({"ab":null,"a":null,"b":1,"abc":2,"":3,"é":4})"},
     {R"({"a":null,"ab":1})", R"({"a":null,"a":1})", R"({"b":1})", R"({"a":null,"b":null})"}},
    {R"({"type":"object","additionalProperties":{"type":"integer"},"minProperties":1,"maxProperties":2})",
     {R"({"x":1})", R"({"x":1,"y":2})"},
     {"{}", R"({"x":1,"y":2,"z":3})"}},
    {R"({"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"},"c":{"type":"null"}},"minProperties":2})",
     {R"({"a":null,"c":null})", R"({"a":null,"b":null,"c":null})"},
     {"{}", R"({"b":null})"}},
    {R"({"type":"object","additionalProperties":{"type":"null"},"propertyNames":{"pattern":"^x"}})", {R"({"x1":null})"}, {R"({"y":null})"}},
    {R"({"type":"object","required":["a"]})", {R"({"a":1})", R"({"a":1,"b":2})"}, {"{}", R"({"b":1})"}},
    {R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer","minimum":3}},"required":["a"]},{"properties":{"a":{"maximum":5},"b":{"type":"null"}},"required":["b"]}]})",
     {R"({"a":4,"b":null})"},
     {R"({"a":4})", R"({"a":6,"b":null})", R"({"a":2,"b":null})"}},
    {R"({"type":"object","properties":{"k":{"enum":["x","y"]}},"required":["k"],"anyOf":[{"properties":{"v":{"type":"integer"}},"required":["v"]},{"properties":{"w":{"type":"null"}},"required":["w"]}]})",
     {R"({"k":"x","v":1})", R"({"k":"y","w":null})"},
     {R"({"k":"x"})", R"({"v":1})"}},
    {R"({"$defs":{"n":{"type":"integer"}},"type":"object","properties":{"a":{"$ref":"#/$defs/n","maximum":9},"b":{"$ref":"#/properties/a"}}})",
     {R"({"a":9,"b":1})"},
     {R"({"a":10})"}},
};

// oneOf is kept where its alternatives exclude each other, and refused by name where that cannot be shown.
TEST(JsonSchema, AlternativesOfOneOfExcludeEachOther) {
  const std::pair<const char*, bool> cases[] = {
      {R"([{"type":"integer"},{"type":"string"},{"type":["null","boolean"]}])", true},
      {R"([{"type":"integer"},{"type":"number"}])", false},
      {R"([{"type":"integer","maximum":4},{"type":"number","minimum":5}])", true},
      {R"([{"type":"integer","maximum":5},{"type":"number","minimum":5}])", false},
      {R"([{"type":"integer","exclusiveMaximum":5},{"type":"number","minimum":5}])", true},
      {R"([{"const":"a"},{"enum":["b","c"]},{"const":1}])", true},
      {R"([{"const":"a"},{"enum":["b","a"]}])", false},
      {R"([{"const":"a"},{"type":"string"}])", false},
      {R"([{"type":"string","pattern":"a"},{"type":"string","pattern":"b"}])", false},
      {R"([{"properties":{"kind":{"const":"x"}},"required":["kind"]},{"properties":{"kind":{"const":"y"}},"required":["kind"]}])", true},
      {R"([{"properties":{"kind":{"const":"x"}},"required":["kind"]},{"properties":{"kind":{"const":"y"}}}])", false},
      {R"([{"properties":{"a":{}},"required":["a"]},{"properties":{"b":{}},"required":["b"]}])", true},
      {R"([{"properties":{"a":{}},"required":["a"],"additionalProperties":true},{"properties":{"b":{}},"required":["b"]}])", false},
      {R"([{"type":"object","properties":{"a":{}}},{"type":"object","properties":{"b":{}}}])", false},
      {R"([{"type":"integer"},{"properties":{"a":{}},"required":["a"]}])", false},  // without a type the second lets an integer pass
      {R"([{"type":"integer"},{"type":"object","properties":{"a":{}},"required":["a"]}])", true},
      {R"([{"anyOf":[{"type":"null"},{"const":3}]},{"type":"string"}])", true},
      {R"([{"$ref":"#/$defs/cat"},{"$ref":"#/$defs/dog"}])", true},
      {R"([{"$ref":"#/$defs/cat"},{"$ref":"#/$defs/cat"}])", false},
      {R"([{"$ref":"#/$defs/cat","required":["name"]},{"$ref":"#/$defs/dog"}])", true},
      {R"([{"$ref":"#"},{"type":"string"}])", false},
  };
  const std::string defs =
      R"("$defs":{"cat":{"type":"object","properties":{"pet":{"const":"cat"},"name":{"type":"string"}},"required":["pet"]},)"
      R"("dog":{"type":"object","properties":{"pet":{"const":"dog"}},"required":["pet"]}})";
  for (const auto& [list, is_exact] : cases) {
    const std::string schema = "{" + defs + R"(,"discriminator":{"propertyName":"pet"},"oneOf":)" + list + "}";
    try {
      json_schema_grammar(parse_ordered_json(schema, "schema"), "format");
      EXPECT_TRUE(is_exact) << list;
    } catch (const Error& error) {
      EXPECT_FALSE(is_exact) << list << ": " << error.message();
      EXPECT_TRUE(error.message().starts_with("format: oneOf: ")) << error.message();
    }
  }
}

TEST(JsonSchema, WhatFitsPassesAndNothingElse) {
  const auto tokenizer = vocabulary();
  for (const Case& each : kCases) {
    TokenMasks masks = masks_of(json_schema_grammar(parse_ordered_json(each.schema, "schema"), "schema"), *tokenizer);
    for (const std::string& text : each.fit) EXPECT_TRUE(fits(masks, text)) << each.schema << ": " << text;
    for (const std::string& text : each.unfit) EXPECT_FALSE(fits(masks, text)) << each.schema << ": " << text;
  }
}

// A walk over random tokens that the masks allow always goes on until it may end, and gives JSON.
TEST(JsonSchema, RandomWalksGiveJson) {
  const auto tokenizer = vocabulary();
  std::mt19937 random(3);
  for (const Case& each : kCases) {
    TokenMasks masks = masks_of(json_schema_grammar(parse_ordered_json(each.schema, "schema"), "schema"), *tokenizer);
    for (int round = 0; round < 20; ++round) {
      TokenMasks::State state = masks.start();
      std::string text;
      for (int step = 0; step < 3000; ++step) {
        if (masks.may_end(state) && random() % 2 == 0) break;
        std::vector<TokenId> allowed;
        const std::span<const uint32_t> mask = masks.mask(state);
        for (size_t id = 0; id < tokenizer->num_tokens(); ++id) {
          const bool is_allowed = (mask[id / 32] >> (id % 32) & 1) != 0;
          const std::string_view bytes = tokenizer->bytes(static_cast<TokenId>(id));
          ASSERT_EQ(is_allowed, masks.after(state, bytes) != TokenMasks::kDead) << each.schema << ": token " << id << " behind " << text;
          if (is_allowed) allowed.push_back(static_cast<TokenId>(id));
        }
        if (allowed.empty()) break;
        // What closes is taken more often, so that walks end.
        TokenId next = allowed[random() % allowed.size()];
        for (const TokenId closing : {TokenId{'"'}, TokenId{']'}, TokenId{'}'}}) {
          const bool fits_here = std::ranges::find(allowed, closing) != allowed.end();
          if (fits_here && random() % 3 == 0) next = closing;
        }
        text += tokenizer->bytes(next);
        state = masks.after(state, tokenizer->bytes(next));
      }
      ASSERT_TRUE(masks.may_end(state)) << each.schema << ": " << text;
      EXPECT_NO_THROW(parse_json(text, "answer", {.max_depth = 1000})) << each.schema << ": " << text;
    }
  }
}

TEST(JsonSchema, WhatIsNotSupportedIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"x({"type":"string","pattern":"a(?=b)"})x", "pattern"},
      {R"({"type":"string","pattern":"(a)\\1"})", "pattern"},
      {R"({"type":"string","format":"iri"})", "format"},
      {R"({"type":"integer","multipleOf":7})", "multipleOf"},
      {R"({"type":"integer","minimum":5,"maximum":4})", "minimum"},
      {R"({"type":"array","uniqueItems":true})", "uniqueItems"},
      {R"({"type":"robot"})", "type"},
      {R"({"$ref":"http://example.com/x"})", "$ref"},
      {R"({"$ref":"#/$defs/none"})", "$ref"},
      {R"({"allOf":[{"type":"object"},{"type":"string"}]})", "type"},
      {R"({"enum":[]})", "enum"},
      {R"({"type":"object","properties":{"b":{}},"required":["a"]})", "required"},
      {R"({"type":"array","minItems":3,"maxItems":2})", "minItems"},
      {R"({"not":{}})", "not"},
      {R"([])", "schema"},
      {R"(false)", "schema"},
  };
  for (const auto& [schema, name] : cases) {
    try {
      json_schema_grammar(parse_ordered_json(schema, "schema"), "format");
      ADD_FAILURE() << schema;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), invalid_input);
      EXPECT_TRUE(error.message().starts_with(std::string("format: ") + name)) << error.message();
    }
  }
}

TEST(JsonSchema, LargeAndEndlessSchemasAreRefused) {
  std::string deep = R"({"type":"integer"})";
  for (int i = 0; i < 40; ++i) deep = fmt::format(R"({{"type":"array","items":{}}})", deep);
  EXPECT_THROW(json_schema_grammar(parse_ordered_json(deep, "schema", {.max_depth = 200}), "format"), Error);
  EXPECT_THROW(json_schema_grammar(parse_ordered_json(R"({"type":"array","items":{"type":"string","maxLength":4000},"prefixItems":[)" +
                                                          [] {
                                                            std::string items = R"({"type":"string","maxLength":4000})";
                                                            for (int i = 0; i < 100; ++i) items += R"(,{"type":"string","maxLength":4000})";
                                                            return items;
                                                          }() +
                                                          "]}",
                                                      "schema"),
                                   "format"),
               Error);
  // Refers to itself and reads nothing in between: no answer fits.
  const auto tokenizer = vocabulary();
  EXPECT_THROW(masks_of(json_schema_grammar(parse_ordered_json(R"({"$ref":"#"})", "schema"), "format"), *tokenizer), Error);
}

// A member that could never end is left out; nothing leads into it.
TEST(JsonSchema, EndlessMembersAreLeftOut) {
  const auto tokenizer = vocabulary();
  const char* schema = R"({"$defs":{"x":{"type":"object","properties":{"x":{"$ref":"#/$defs/x"}},"required":["x"]}},"type":"object",)"
                       R"("properties":{"a":{"$ref":"#/$defs/x"},"b":{"type":"null"}}})";
  TokenMasks masks = masks_of(json_schema_grammar(parse_ordered_json(schema, "schema"), "schema"), *tokenizer);
  EXPECT_TRUE(fits(masks, R"({"b":null})"));
  EXPECT_EQ(masks.after(masks.start(), R"({"a)"), TokenMasks::kDead);
}

TEST(JsonSchema, DeepAnswersEnd) {
  const auto tokenizer = vocabulary();
  TokenMasks masks = masks_of(json_object_grammar(), *tokenizer);
  std::string text = R"({"a":)";
  for (int i = 0; i < 60; ++i) text += '[';
  EXPECT_NE(masks.after(masks.start(), text), TokenMasks::kDead);
  for (int i = 0; i < 1000; ++i) text += '[';
  EXPECT_EQ(masks.after(masks.start(), text), TokenMasks::kDead);
}

TEST(JsonSchema, WrappedAndChoices) {
  const auto tokenizer = vocabulary();
  const std::vector<WrappedSchema> calls = {{"<f ", parse_ordered_json(R"({"type":"integer"})", "a"), ">"},
                                            {"<g ", parse_ordered_json(R"({"const":{}})", "b"), ">"}};
  TokenMasks one = masks_of(wrapped_schemas_grammar(calls, "", "tools"), *tokenizer),
             many = masks_of(wrapped_schemas_grammar(calls, "\n", "tools"), *tokenizer);
  EXPECT_TRUE(fits(one, "<f 12>") && fits(one, "<g {}>") && !fits(one, "<f 1>\n<g {}>") && !fits(one, "<g 1>"));
  EXPECT_TRUE(fits(many, "<f 12>") && fits(many, "<f 1>\n<g {}>\n<f 2>") && !fits(many, "<f 1><g {}>"));
  TokenMasks choice = masks_of(choice_grammar({"yes", "yesterday", "no"}), *tokenizer);
  EXPECT_TRUE(fits(choice, "yes") && fits(choice, "yesterday") && fits(choice, "no") && !fits(choice, "yest"));
}

struct TextCase {
  std::string expression;
  std::vector<std::string> fit, unfit;
};

TEST(RegularExpressions, WholeTexts) {
  const auto tokenizer = vocabulary();
  const TextCase cases[] = {
      {"abc", {"abc"}, {"ab", "abcd", ""}},
      {"a|bc|", {"a", "bc", ""}, {"b"}},
      {"(?:ab)+c?", {"ab", "ababc"}, {"c", "abcc"}},
      {"[^a-c]x{2}", {"dxx", "éxx", "🙂xx"}, {"axx", "dx"}},
      {R"(\d{3}-\w+\s?)", {"123-ab", "000-_ "}, {"12-a"}},
      {R"([\w.-]+@[\w-]+\.(com|org))", {"a.b@c-d.org"}, {"a@b.net"}},
      {"^a$", {"a"}, {"^a$"}},
      {R"(\u00e9\x41\u{1F600})", {"éA😀"}, {"e"}},
      {R"([\]\-\\])", {"]", "-", "\\"}, {"["}},
      {".*", {"", "anything 你好"}, {"a\nb"}},
      {R"(\p{L}+)", {"Zürich", "你"}, {"1"}},
      {"(a*)*b", {"b", "aaab"}, {"a"}},
      {"x{0}y{,2}", {"", "y", "yy"}, {"x", "yyy"}},
  };
  for (const TextCase& each : cases) {
    TokenMasks masks = masks_of(regex_grammar(each.expression), *tokenizer);
    for (const std::string& text : each.fit) EXPECT_TRUE(fits(masks, text)) << each.expression << ": " << text;
    for (const std::string& text : each.unfit) EXPECT_FALSE(fits(masks, text)) << each.expression << ": " << text;
  }
  for (const char* bad : {"(", ")", "a)", "[a", "[]", "*", "a**", "a{2,1}", "a{9999}", "\\", "\\b", "(a)\\1", "(?=a)", "(?<!a)b", "a^b",
                          "[z-a]", "\xff", "((((a{4000}){4000}){4000}){4000})"}) {
    EXPECT_THROW(regex_grammar(bad), Error) << bad;
  }
  EXPECT_THROW(regex_grammar(std::string(200, '(') + std::string(200, ')')), Error);
}

TEST(Bnf, WholeTexts) {
  const auto tokenizer = vocabulary();
  const TextCase cases[] = {
      {"root ::= \"a\" | \"b\" [0-9]+", {"a", "b12"}, {"b", "c"}},
      {"# sums\nroot ::= expr\nexpr ::= term (\"+\" term)*  # any\nterm ::= [0-9] | \"(\" expr \")\"", {"1+2", "(1+(2))+3"}, {"1+", "()"}},
      {"root ::= item{2,3} \"!\"?\nitem ::= \"x\" |\n  \"y\"\n", {"xy", "yyy!"}, {"x", "xxxx"}},
      {"root ::= (\n\"a\"\n| \"b\"\n)* .", {"x", "abab😀"}, {""}},
      {R"(root ::= "\"\\\n\x41\u00e9" [^\]a-])", {"\"\\\nA\xc3\xa9z"}, {"\"\\\nA\xc3\xa9]", "\"\\\nA\xc3\xa9-"}},
      {"root ::= list\nlist ::= \"x\" list | \"\"", {"", "xxx"}, {"y"}},
      {"root ::= \"a\"{0} \"b\"{1,} [c]{,0}", {}, {}},
  };
  for (const TextCase& each : cases) {
    if (each.fit.empty() && each.unfit.empty()) {
      EXPECT_THROW(read_bnf(each.expression), Error);
      continue;
    }
    TokenMasks masks = masks_of(read_bnf(each.expression), *tokenizer);
    for (const std::string& text : each.fit) EXPECT_TRUE(fits(masks, text)) << each.expression << ": " << text;
    for (const std::string& text : each.unfit) EXPECT_FALSE(fits(masks, text)) << each.expression << ": " << text;
  }
  for (const char* bad : {"", "start: x", "root ::= x", "root ::= \"a", "root ::= [a", "root ::= (\"a\"", "root ::= root \"a\" | \"b\"",
                          "root ::= a \"x\" | \"b\"\na ::= [y]* root", "root ::= \"a\"\nroot ::= \"b\"", "x ::= \"a\"", "root ::= \"\\q\"",
                          "root ::= \"a\"{5,2}"}) {
    EXPECT_THROW(masks_of(read_bnf(bad), *tokenizer), Error) << bad;
  }
}

}  // namespace
}  // namespace quern
