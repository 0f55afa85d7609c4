// quern docs DIR: the pages docs/cli/*.md, written from the parser itself. `make docs` runs it; a test fails when they are stale.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "base/error.h"
#include "cli/options.h"
#include "cli/verbs.h"

namespace quern {

extern const Verb kDocsVerb;

namespace {

std::string cell(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.replace(at, 1, "\\|");
  return text;
}

std::string option_row(const CLI::Option& option) {
  const std::string value = option.get_items_expected_max() > 0 ? " " + option.get_type_name() : "";
  const std::string names = option.nonpositional() ? option.get_name(false, true) : option.get_name(true);
  std::string spaced;
  for (const char c : names) spaced += c == ',' ? std::string("`, `") : std::string(1, c);
  const std::string standard = option.get_default_str().empty() ? "" : " (default " + option.get_default_str() + ")";
  return fmt::format("| `{}`{} | {}{} |\n", spaced, value.empty() ? "" : " `" + cell(value.substr(1)) + "`", cell(option.get_description()),
                     cell(standard));
}

std::string options_section(const std::string& heading, const CLI::App& verb) {
  std::string page = fmt::format("{}\n\n{}.\n\n", heading, verb.get_description());
  page += fmt::format("| option | meaning |\n| --- | --- |\n");
  for (const CLI::Option* option : verb.get_options()) {
    if (!option->get_group().empty()) page += option_row(*option);
  }
  if (!verb.get_footer().empty()) page += "\n" + verb.get_footer() + "\n";
  return page;
}

std::string verb_page(const CLI::App& verb) {
  std::string page = options_section("# quern " + verb.get_name(), verb);
  for (const CLI::App* part : verb.get_subcommands([](const CLI::App*) { return true; })) {
    page += options_section(fmt::format("\n## quern {} {}", verb.get_name(), part->get_name()), *part);
  }
  return page;
}

void write_page(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) raise(resource, "{}: cannot be written", escaped(path.string()));
}

int write_docs(const std::string& folder) {
  CLI::App app;
  const std::vector<VerbWork> works = declare_verbs(app);
  std::string index = fmt::format("# The command line\n\n{}\n\n| verb | what it does |\n| --- | --- |\n", app.get_description());
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (verb->get_group().empty()) continue;
    index += fmt::format("| [`quern {0}`]({0}.md) | {1} |\n", verb->get_name(), verb->get_description());
    write_page(std::filesystem::path(folder) / (verb->get_name() + ".md"), verb_page(*verb));
  }
  index += "\n" + app.get_footer() + "\n\nThese pages are written by `make docs` from the parser.\n";
  write_page(std::filesystem::path(folder) / "README.md", index);
  return 0;
}

VerbWork declare(CLI::App& app) {
  const auto folder = std::make_shared<std::string>();
  add_text(app, "DIR", *folder, "DIR", "Folder that receives the pages")->required();
  return [folder] { return write_docs(*folder); };
}

}  // namespace

const Verb kDocsVerb = {"docs", "Write the pages of this command line as Markdown", &declare, true};

}  // namespace quern
