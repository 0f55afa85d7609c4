// quern eval report: results of the other parts side by side, as a page.
#include <filesystem>
#include <fstream>
#include <memory>

#include "base/mapped_file.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "eval/report.h"

namespace quern {

extern const Verb kEvalReportVerb;

namespace {

constexpr uint64_t kMaxResultBytes = uint64_t{64} << 20;

struct Options {
  std::vector<std::string> results;
  std::string output;
};

void write_page(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) raise(resource, "{}: cannot be written", escaped(path.string()));
}

int report(const Options& options) {
  const std::filesystem::path page = options.output;
  if (page.extension() != ".html") raise(usage, "--output: want NAME.html, found '{}'", escaped(options.output, 100));
  std::vector<ReportEntry> entries;
  for (const std::string& path : options.results) {
    const std::string where = escaped(path);
    const JsonLimits limits{.max_bytes = kMaxResultBytes, .max_values = 10'000'000};
    entries.push_back(read_report_entry(std::filesystem::path(path).stem().string(),
                                        parse_json(read_text_file(path, kMaxResultBytes), where, limits), where));
  }
  std::filesystem::path twin = page;
  twin.replace_extension(".md");
  write_page(page, report_html(entries));
  write_page(twin, report_markdown(entries));
  print("{}\n{}\n", page.string(), twin.string());
  return 0;
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  app.add_option("RESULT.json", options->results, "What the other parts printed with --json, or tools/hf_baseline.py wrote")
      ->type_name("RESULT.json")
      ->required();
  add_text(app, "-o,--output", options->output, "NAME.html", "The page; a twin in Markdown, NAME.md, lies beside it")->required();
  return [options] { return report(*options); };
}

}  // namespace

const Verb kEvalReportVerb = {"report", "Results side by side: a page with tables and plots, and a twin in Markdown", &declare};

}  // namespace quern
