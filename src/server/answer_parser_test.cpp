// An answer's parts do not depend on how its text was cut.
#include "server/answer_parser.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

struct Parts {
  std::string reasoning, content;
  std::vector<std::string> calls;  // "name(arguments)"
  bool operator==(const Parts&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Parts& parts) {
  out << "reasoning '" << parts.reasoning << "' content '" << parts.content << "'";
  for (const std::string& call : parts.calls) out << " " << call;
  return out;
}

Parts joined(const std::vector<AnswerPart>& parts) {
  Parts all;
  for (const AnswerPart& part : parts) {
    switch (part.kind) {
      case AnswerPart::Kind::reasoning: all.reasoning += part.text; break;
      case AnswerPart::Kind::content: all.content += part.text; break;
      case AnswerPart::Kind::tool_name: all.calls.push_back(part.text + " "); break;
      case AnswerPart::Kind::tool_arguments: all.calls.at(part.tool_index) += part.text; break;
    }
  }
  return all;
}

const AnswerParserOptions kAll{.parses_reasoning = true, .parses_tools = true};
const AnswerParserOptions kInside{.starts_in_reasoning = true, .parses_reasoning = true, .parses_tools = true};
const AnswerParserOptions kPlain{};
const std::shared_ptr<const CallSchemas> kSchemas = std::make_shared<CallSchemas>(CallSchemas{
    {"f",
     OrderedJson::parse(R"({"type": "object", "properties": {"s": {"type": "string"}, "i": {"type": "integer"}, "n": {"type": "number"},
        "b": {"type": "boolean"}, "o": {"type": "object"}, "l": {"type": "array"}, "u": {"type": ["string", "null"]},
        "a": {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "e": {"enum": ["x", "y"]}}})")}});
const AnswerParserOptions kXml{.parses_reasoning = true, .parses_tools = true, .dialect = CallDialect::xml, .schemas = kSchemas};
const AnswerParserOptions kXmlOne{.parses_tools = true, .one_call_at_most = true, .dialect = CallDialect::xml, .schemas = kSchemas};
const AnswerParserOptions kOne{.parses_tools = true, .one_call_at_most = true};

struct Case {
  const char* name;
  AnswerParserOptions options;
  std::string text;
  Parts want;
};

const Case kCases[] = {
    {"text", kAll, "Hello.\n", {"", "Hello.\n", {}}},
    {"no parsing", kPlain, "<think>a</think><tool_call>{}", {"", "<think>a</think><tool_call>{}", {}}},
    {"reasoning", kAll, "<think>\nI think.\n\n</think>\n\nYes.", {"I think.", "Yes.", {}}},
    {"reasoning opened by the prompt", kInside, "I think.\n</think>\n\nYes.", {"I think.", "Yes.", {}}},
    {"reasoning cut off", kInside, "I think. </thi", {"I think. </thi", "", {}}},
    {"tag in the middle is text", kAll, "a <think> b", {"", "a <think> b", {}}},
    {"empty reasoning", kAll, "<think>\n\n</think>\n\nYes.", {"", "Yes.", {}}},
    {"start of a tag at the end", kAll, "a <tool_ca", {"", "a <tool_ca", {}}},
    {"call", kAll, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>", {"", "", {"f {\"a\": 1}"}}},
    {"text, call", kAll, "Sure:\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>", {"", "Sure:", {"f {}"}}},
    {"reasoning, call",
     kAll,
     "<think>hm</think>\n<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":[1,{\"y\":\"}\"}]}}</tool_call>",
     {"hm", "", {"f {\"x\":[1,{\"y\":\"}\"}]}"}}},
    {"two calls",
     kAll,
     "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {\"s\": "
     "\"</tool_call>\"}}\n"
     "</tool_call>",
     {"", "", {"f {}", "g {\"s\": \"</tool_call>\"}"}}},
    {"one call at most",
     kOne,
     "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call><tool_call>{\"name\":\"g\",\"arguments\":{}}</tool_call>",
     {"", "", {"f {}"}}},
    {"no arguments", kAll, "<tool_call>{\"name\": \"f\"}</tool_call>", {"", "", {"f {}"}}},
    {"null arguments", kAll, "<tool_call>{\"name\": \"f\", \"arguments\": null}</tool_call>", {"", "", {"f {}"}}},
    {"arguments before the name",
     kAll,
     "<tool_call>{\"arguments\": {\"a\": \"b\"}, \"name\": \"f\"}</tool_call>",
     {"", "", {"f {\"a\": \"b\"}"}}},
    {"parameters", kAll, "<tool_call>{\"name\": \"f\", \"parameters\": {\"a\": 1}}</tool_call>", {"", "", {"f {\"a\": 1}"}}},
    {"arguments as text", kAll, "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>", {"", "", {"f {\"a\": 1}"}}},
    {"no closing tag", kAll, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}", {"", "", {"f {\"a\": 1}"}}},
    {"a brace too many", kAll, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}}\n</tool_call>", {"", "", {"f {\"a\": 1}"}}},
    {"arguments cut off", kAll, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1", {"", "", {"f {\"a\": 1"}}},
    {"cut off before arguments", kAll, "<tool_call>{\"name\": \"f\",", {"", "", {"f {}"}}},
    {"cut off before the name ends", kAll, "<tool_call>{\"name\": \"f", {"", "<tool_call>{\"name\": \"f", {}}},
    {"no call", kAll, "<tool_call>maybe</tool_call> so", {"", "<tool_call>maybe</tool_call> so", {}}},
    {"no name", kAll, "<tool_call>{\"arguments\": {}}</tool_call>", {"", "<tool_call>{\"arguments\": {}}", {}}},
    {"text after a call", kAll, "<tool_call>{\"name\": \"f\"}</tool_call>\nDone.", {"", "\nDone.", {"f {}"}}},
    {"text after a call without closing tag", kAll, "<tool_call>{\"name\": \"f\"}Done.", {"", "Done.", {"f {}"}}},
    {"escapes",
     kAll,
     "<tool_call>{\"na\\u006de\": \"f\\u00fc\", \"arguments\": {\"q\": \"\\\"}\\\\\"}}</tool_call>",
     {"", "", {"f\xc3\xbc {\"q\": \"\\\"}\\\\\"}"}}},
    {"unicode",
     kAll,
     "<tool_call>{\"name\": \"f\", \"arguments\": {\"q\": \"\xf0\x9f\x98\x80\"}}</tool_call>",
     {"", "", {"f {\"q\": \"\xf0\x9f\x98\x80\"}"}}},
    {"xml",
     kXml,
     "Sure.\n<tool_call>\n<function=f>\n<parameter=s>\nParis\n</parameter>\n<parameter=i>\n3\n</parameter>\n</function>\n</tool_call>",
     {"", "Sure.", {R"(f {"s": "Paris", "i": 3})"}}},
    {"xml without arguments", kXml, "<tool_call>\n<function=f>\n</function>\n</tool_call>", {"", "", {"f {}"}}},
    {"xml types",
     kXml,
     "<tool_call><function=f><parameter=n>1.50</parameter><parameter=b>True</parameter><parameter=o>\n{\"a\": [1]}\n</parameter>"
     "<parameter=l>[]</parameter><parameter=u>null</parameter><parameter=a>7</parameter><parameter=e>x</parameter></function></tool_call>",
     {"", "", {R"(f {"n": 1.50, "b": true, "o": {"a": [1]}, "l": [], "u": null, "a": 7, "e": "x"})"}}},
    {"xml values of another type are strings",
     kXml,
     "<tool_call><function=f><parameter=i>many</parameter><parameter=b>1</parameter><parameter=o>{</parameter><parameter=u>7</parameter>"
     "<parameter=z>1</parameter></function></tool_call>",
     {"", "", {R"(f {"i": "many", "b": "1", "o": "{", "u": "7", "z": "1"})"}}},
    {"xml text of several lines",
     kXml,
     "<tool_call>\n<function=f>\n<parameter=s>\n\nif (a < b) {\n\t\"x\\\";\n}\n\n</parameter>\n</function>\n</tool_call>",
     {"", "", {R"(f {"s": "\nif (a < b) {\n\t\"x\\\";\n}\n"})"}}},
    {"xml tags inside a text",
     kXml,
     "<tool_call><function=f><parameter=s>a </p> <b> </tool_call> </param</parameter></function></tool_call>",
     {"", "", {R"(f {"s": "a </p> <b> </tool_call> </param"})"}}},
    {"xml without the end of a parameter",
     kXml,
     "<tool_call><function=f><parameter=s>\na\n<parameter=i>\n1\n</function></tool_call>",
     {"", "", {R"(f {"s": "a", "i": 1})"}}},
    {"xml cut off", kXml, "<tool_call><function=f><parameter=s>\nabc</para", {"", "", {R"(f {"s": "abc</para"})"}}},
    {"xml cut off in a number", kXml, "<tool_call><function=f><parameter=i>\n12", {"", "", {R"(f {"i": 12})"}}},
    {"xml cut off before the name ends", kXml, "<tool_call>\n<function=f", {"", "<tool_call>\n<function=f", {}}},
    {"xml without opening tag",
     kXml,
     "So:\n\n<function=f>\n<parameter=i>\n1\n</parameter>\n</function>\n</tool_call>",
     {"", "So:", {R"(f {"i": 1})"}}},
    {"xml opening tag in a line", kXml, "Write <function=f> and <func", {"", "Write <function=f> and <func", {}}},
    {"xml two calls",
     kXml,
     "<think>\nhm\n</think>\n\n<tool_call>\n<function=f>\n</function>\n</tool_call>\n<tool_call>\n<function=g>\n<parameter=k>\n\xc3\xbc\n</"
     "parameter>\n"
     "</function>\n</tool_call>",
     {"hm", "", {"f {}", "g {\"k\": \"\xc3\xbc\"}"}}},
    {"xml one call at most",
     kXmlOne,
     "<tool_call><function=f></function></tool_call>\n<tool_call><function=g></function></tool_call>",
     {"", "", {"f {}"}}},
    {"xml that is no call", kXml, "<tool_call>maybe</tool_call> so", {"", "<tool_call>maybe</tool_call> so", {}}},
    {"json in the xml dialect is text",
     kXml,
     "<tool_call>{\"name\": \"f\"}</tool_call>",
     {"", "<tool_call>{\"name\": \"f\"}</tool_call>", {}}},
};

TEST(AnswerParser, SamePartsAtEverySplit) {
  for (const Case& each : kCases) {
    for (size_t step = 1; step <= each.text.size(); ++step) {
      AnswerParser parser(each.options);
      std::vector<AnswerPart> parts;
      for (size_t at = 0; at < each.text.size(); at += step) parser.push(std::string_view(each.text).substr(at, step), parts);
      parser.finish(parts);
      ASSERT_EQ(joined(parts), each.want) << each.name << ", " << step << " bytes at a time";
    }
    for (size_t cut = 0; cut <= each.text.size(); ++cut) {
      AnswerParser parser(each.options);
      std::vector<AnswerPart> parts;
      parser.push(std::string_view(each.text).substr(0, cut), parts);
      parser.push(std::string_view(each.text).substr(cut), parts);
      parser.finish(parts);
      ASSERT_EQ(joined(parts), each.want) << each.name << ", cut at " << cut;
    }
  }
}

TEST(AnswerParser, ArgumentsComeBeforeTheCallEnds) {
  AnswerParser parser(kAll);
  std::vector<AnswerPart> parts;
  parser.push("<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": ", parts);
  EXPECT_EQ(joined(parts).calls, std::vector<std::string>{"f {\"a\": "});
}

TEST(AnswerParser, BodyOverTheLimitIsText) {
  AnswerParser parser(kAll);
  std::vector<AnswerPart> parts;
  const std::string text = "<tool_call>{\"x\": \"" + std::string(200'000, 'a');
  parser.push(text, parts);
  parser.finish(parts);
  EXPECT_EQ(joined(parts).content.size(), text.size());
}

}  // namespace
}  // namespace quern
