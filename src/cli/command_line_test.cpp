// Arguments become a verb and its values, or one usage error that says what is wrong and what was probably meant.
#include "cli/command_line.h"

#include <gtest/gtest.h>

#include <optional>

#include "base/error.h"
#include "cli/options.h"

namespace quern {
namespace {

struct Values {
  std::string prompt;
  std::vector<std::string> stops;
  std::optional<int64_t> count;
  double share = 0.5;
  std::string kind = "a";
};

// A program with one verb, "go", and one hidden one.
struct Program {
  CLI::App app;
  Values values;

  Program() {
    app.set_help_flag("-h,--help", "help");
    app.set_version_flag("--version", std::string("program 1"));
    app.require_subcommand(1);
    CLI::App* go = app.add_subcommand("go", "goes");
    add_text(*go, "-p,--prompt", values.prompt, "TEXT", "a text");
    add_texts(*go, "--stop", values.stops, "TEXT", "texts");
    add_number<int64_t>(*go, "-n,--max-tokens,--n-predict", values.count, -1, 100, "a count");
    add_number<double>(*go, "--share", values.share, 0, 1, "a share");
    add_choice(*go, "--kind", values.kind, {"a", "b"}, "a kind");
    app.add_subcommand("secret", "hidden")->group("");
    CLI::App* parts = app.add_subcommand("measure", "has parts")->require_subcommand(1);
    add_number<int64_t>(*parts->add_subcommand("length", "a part"), "--max-length", values.count, 0, 9, "a count");
  }
};

std::string message_of(const std::vector<std::string>& arguments) {
  Program program;
  try {
    parse_command_line(program.app, arguments);
    return "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), usage) << error.message();
    return error.message();
  }
}

TEST(CommandLine, ValuesArriveAsTheyWereWritten) {
  Program program;
  EXPECT_EQ(parse_command_line(program.app,
                               {"go", "-p", "--max_tokens", "--stop", "[a,b]", "--stop", " ", "-n", "-1", "--share=1e-3", "--kind", "b"}),
            "");
  EXPECT_EQ(program.values.prompt, "--max_tokens");
  EXPECT_EQ(program.values.stops, (std::vector<std::string>{"[a,b]", " "}));
  EXPECT_EQ(program.values.count, -1);
  EXPECT_EQ(program.values.share, 1e-3);
  EXPECT_EQ(program.values.kind, "b");
}

TEST(CommandLine, UnderscoresAreHyphens) {
  Program program;
  EXPECT_EQ(parse_command_line(program.app, {"go", "--max_tokens=7"}), "");
  EXPECT_EQ(program.values.count, 7);
  Program other;
  EXPECT_EQ(parse_command_line(other.app, {"go", "--n_predict", "8"}), "");
  EXPECT_EQ(other.values.count, 8);
}

TEST(CommandLine, HelpAndVersionAreTexts) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--help"}, {"go", "--help"}, {"go", "-h"}, {"--version"}}) {
    Program program;
    EXPECT_NE(parse_command_line(program.app, arguments), "");
  }
}

TEST(CommandLine, ErrorsNameWhatIsWrong) {
  const struct {
    std::vector<std::string> arguments;
    std::vector<std::string> says;
  } kCases[] = {
      {{}, {"verb"}},
      {{"goo"}, {"unknown verb 'goo'", "'go'"}},
      {{"secre"}, {"unknown verb 'secre' (quern --help"}},
      {{"go", "--promt", "x"}, {"unknown flag '--promt'", "'--prompt'"}},
      {{"go", "--sharr=1"}, {"'--sharr'", "'--share'"}},
      {{"go", "--frobnicate"}, {"unknown flag '--frobnicate' ("}},
      {{"go", "-Z"}, {"unknown flag '-Z'"}},
      {{"--frob", "go"}, {"unknown flag '--frob'"}},
      {{"go", "more"}, {"unexpected argument 'more'"}},
      {{"go", "-p"}, {"--prompt"}},
      {{"go", "-n", "0x10"}, {"--max-tokens", "from -1 to 100", "'0x10'"}},
      {{"go", "-n", "101"}, {"'101'"}},
      {{"go", "-n", " 7"}, {"' 7'"}},
      {{"go", "-n", "+7"}, {"'+7'"}},
      {{"go", "-n", "1e1"}, {"'1e1'"}},
      {{"go", "-n", "\xd9\xa7"}, {"--max-tokens"}},
      {{"go", "--share", "nan"}, {"'nan'"}},
      {{"go", "--share", "1e400"}, {"'1e400'"}},
      {{"go", "--share", "-0.1"}, {"'-0.1'"}},
      {{"go", "--kind", "c"}, {"--kind", "a, b", "'c'"}},
      {{"go", "-p", ""}, {"argument 3", "empty"}},
      {{"go", "-p", "a\xff"}, {"argument 3", "UTF-8", "0xff", "offset 1"}},
      {{"go", "-p", std::string(kMaxArgumentBytes + 1, 'a')}, {"argument 3", "131072", "131073"}},
      {{"go", "--\x1b[2J"}, {"\\x1b"}},
  };
  for (const auto& each : kCases) {
    const std::string message = message_of(each.arguments);
    for (const std::string& piece : each.says) EXPECT_NE(message.find(piece), std::string::npos) << message << " lacks " << piece;
  }
}

TEST(CommandLine, NearestToleratesAThirdOfTheLetters) {
  const std::vector<std::string> names = {"--temperature", "--top-k", "--top-p", "--seed"};
  EXPECT_EQ(nearest("--temprature", names), "--temperature");
  EXPECT_EQ(nearest("--temper", names), "--temperature");
  EXPECT_EQ(nearest("--top-l", names), "--top-k");
  EXPECT_EQ(nearest("--sede", names), "--seed");
  EXPECT_EQ(nearest("--verbose", names), "");
  EXPECT_EQ(nearest(std::string(100'000, 'x'), names), "");
}

TEST(CommandLine, PartsOfAVerb) {
  Program program;
  EXPECT_EQ(parse_command_line(program.app, {"measure", "length", "--max_length=7"}), "");
  EXPECT_EQ(program.values.count, 7);
  EXPECT_EQ(message_of({"measure", "lenght"}), "unknown verb 'measure lenght': the nearest is 'measure length'");
  EXPECT_EQ(message_of({"measure", "length", "--max-lenght", "7"}),
            "measure length: unknown flag '--max-lenght': the nearest is '--max-length'");
  EXPECT_TRUE(message_of({"measure"}).starts_with("measure: ")) << message_of({"measure"});
  EXPECT_TRUE(message_of({"measure", "length", "--max-length", "10"}).starts_with("--max-length: want an integer from 0 to 9"));
  Program other;
  EXPECT_NE(parse_command_line(other.app, {"measure", "length", "--help"}).find("quern measure length"), std::string::npos);
}

}  // namespace
}  // namespace quern
