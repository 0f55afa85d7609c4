// Results of `quern eval` and tools/hf_baseline.py, read from their JSON and set side by side: one page of HTML, one of Markdown.
// Plain functions, any thread.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "eval/rouge.h"

namespace quern {

struct ReportSummary {
  std::vector<int32_t> output_ids;
  double rouge1 = 0;
};

// `quern eval summarize` or the baseline.
struct SummarizeReport {
  std::array<double, kRougeTypes> rouge = {};  // percent
  double rouge1_low = 0, rouge1_high = 0;
  double tokens = 0, seconds = 0, ms_per_token = 0, peak_memory_bytes = 0, engine_bytes = 0;
  std::string length, form, device;
  std::map<std::string, ReportSummary> summaries;  // by article id
};

// `quern eval perplexity` or `divergence`.
struct QualityReport {
  double perplexity = 0, tokens = 0;
  std::optional<double> kl_mean, kl_p99, top1_agreement, perplexity_ratio;
};

struct ReportEntry {
  std::string label;  // the file's name without folder and ending
  std::optional<SummarizeReport> summarize;
  std::optional<QualityReport> quality;
};

// Throws invalid_input, opened by `where`, when the object is none of these.
ReportEntry read_report_entry(const std::string& label, const Json& object, const std::string& where);

// How far the tokens of `entry` are those of `base`, over the articles that both have.
struct TokenAgreement {
  size_t articles = 0, equal = 0;
  double mean_first_difference = 0;       // tokens before it, over the articles that differ
  std::vector<double> share_by_position;  // of the articles whose tokens agree up to and with each position
};
TokenAgreement token_agreement(const SummarizeReport& base, const SummarizeReport& entry);

// The first entry with summaries of a length rule is what the others of that rule are compared with.
std::string report_markdown(std::span<const ReportEntry> entries);
// The same tables with plots; needs nothing from elsewhere.
std::string report_html(std::span<const ReportEntry> entries);

}  // namespace quern
