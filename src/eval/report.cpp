#include "eval/report.h"

#include <algorithm>

#include "eval/report_tables.h"

namespace quern {
namespace {

SummarizeReport read_summarize(const JsonFields& fields) {
  SummarizeReport report;
  for (size_t type = 0; type < kRougeTypes; ++type) report.rouge[type] = fields.number({kRougeNames[type]});
  report.rouge1_low = report.rouge1_high = report.rouge[0];
  if (const std::optional<JsonFields> intervals = fields.optional_object("intervals")) {
    const Json* ends = intervals->raw().contains("rouge1") ? &intervals->raw().at("rouge1") : nullptr;
    if (ends == nullptr || !ends->is_array() || ends->size() != 2 || !ends->at(0).is_number() || !ends->at(1).is_number()) {
      raise(invalid_input, "{}: intervals.rouge1: want two numbers", fields.where());
    }
    report.rouge1_low = ends->at(0).get<double>();
    report.rouge1_high = ends->at(1).get<double>();
  }
  report.tokens = fields.number({"tokens"});
  report.seconds = fields.number({"seconds"});
  report.ms_per_token = report.tokens > 0 ? 1000 * report.seconds / report.tokens : 0;
  report.peak_memory_bytes = fields.optional_number({"peak_memory_bytes"}).value_or(0);
  report.engine_bytes = fields.optional_number({"engine_bytes"}).value_or(0);
  report.length = fields.optional_text({"length"}).value_or("free");
  report.form = fields.optional_text({"form"}).value_or("text");
  report.device = fields.optional_text({"device"}).value_or("");
  if (!fields.has("summaries")) return report;
  const Json& list = fields.raw().at("summaries");
  if (!list.is_array()) raise(invalid_input, "{}: summaries: want a list", fields.where());
  for (size_t i = 0; i < list.size(); ++i) {
    const JsonFields entry(list.at(i), fmt::format("{}: summaries[{}]", fields.where(), i));
    ReportSummary summary{.output_ids = {}, .rouge1 = entry.number({"rouge1"})};
    for (const int64_t id : entry.optional_ids("output_ids")) summary.output_ids.push_back(static_cast<int32_t>(id));
    report.summaries.emplace(entry.text({"id"}), std::move(summary));
  }
  return report;
}

QualityReport read_quality(const JsonFields& fields) {
  return {.perplexity = fields.number({"perplexity"}),
          .tokens = fields.number({"tokens"}),
          .kl_mean = fields.optional_number({"kl_mean"}),
          .kl_p99 = fields.optional_number({"kl_p99"}),
          .top1_agreement = fields.optional_number({"top1_agreement"}),
          .perplexity_ratio = fields.optional_number({"perplexity_ratio"})};
}

std::string percent_or_dash(const std::optional<double>& value) { return value ? fmt::format("{:.2f} %", 100 * *value) : "-"; }

std::string megabytes(double bytes) { return bytes > 0 ? fmt::format("{:.0f}", bytes / 1e6) : "-"; }

ReportTable summarize_table(std::span<const ReportEntry> entries, const std::string& length) {
  ReportTable table{.title = length == "forced" ? "Summaries, every one of full length" : "Summaries, ended by the model",
                    .columns = {"run", "R1", "95 %", "R2", "RL", "RLsum", "tokens", "seconds", "ms a token", "memory MB", "file MB",
                                "equal", "first difference"},
                    .rows = {}};
  const SummarizeReport* base = nullptr;
  for (const ReportEntry& entry : entries) {
    if (!entry.summarize || entry.summarize->length != length) continue;
    const SummarizeReport& s = *entry.summarize;
    if (base == nullptr) base = &s;
    const TokenAgreement agreement = token_agreement(*base, s);
    const std::string equal = agreement.articles == 0 ? "-" : fmt::format("{} of {}", agreement.equal, agreement.articles);
    const std::string first = agreement.equal == agreement.articles ? "-" : fmt::format("after {:.0f}", agreement.mean_first_difference);
    table.rows.push_back({entry.label, fmt::format("{:.2f}", s.rouge[0]), fmt::format("{:.1f} to {:.1f}", s.rouge1_low, s.rouge1_high),
                          fmt::format("{:.2f}", s.rouge[1]), fmt::format("{:.2f}", s.rouge[2]), fmt::format("{:.2f}", s.rouge[3]),
                          fmt::format("{:.0f}", s.tokens), fmt::format("{:.2f}", s.seconds), fmt::format("{:.2f}", s.ms_per_token),
                          megabytes(s.peak_memory_bytes), megabytes(s.engine_bytes), equal, first});
  }
  return table;
}

ReportTable quality_table(std::span<const ReportEntry> entries) {
  ReportTable table{.title = "Predictions",
                    .columns = {"run", "perplexity", "of the reference's", "KL mean", "KL 99 %", "same first choice", "tokens"},
                    .rows = {}};
  for (const ReportEntry& entry : entries) {
    if (!entry.quality) continue;
    const QualityReport& q = *entry.quality;
    table.rows.push_back({entry.label, fmt::format("{:.4f}", q.perplexity),
                          q.perplexity_ratio ? fmt::format("{:+.3f} %", 100 * (*q.perplexity_ratio - 1)) : "-",
                          q.kl_mean ? fmt::format("{:.6f}", *q.kl_mean) : "-", q.kl_p99 ? fmt::format("{:.5f}", *q.kl_p99) : "-",
                          percent_or_dash(q.top1_agreement), fmt::format("{:.0f}", q.tokens)});
  }
  return table;
}

}  // namespace

ReportEntry read_report_entry(const std::string& label, const Json& object, const std::string& where) {
  const JsonFields fields(object, where);
  ReportEntry entry{.label = label, .summarize = {}, .quality = {}};
  if (fields.has("rouge1")) {
    entry.summarize = read_summarize(fields);
  } else if (fields.has("perplexity")) {
    entry.quality = read_quality(fields);
  } else {
    raise(invalid_input, "{}: want a result of quern eval summarize, perplexity or divergence", where);
  }
  return entry;
}

TokenAgreement token_agreement(const SummarizeReport& base, const SummarizeReport& entry) {
  TokenAgreement agreement;
  double differing = 0;
  for (const auto& [id, summary] : entry.summaries) {
    const auto other = base.summaries.find(id);
    if (other == base.summaries.end()) continue;
    const std::vector<int32_t>&a = other->second.output_ids, &b = summary.output_ids;
    size_t common = 0;
    while (common < std::min(a.size(), b.size()) && a[common] == b[common]) ++common;
    ++agreement.articles;
    const bool is_equal = common == a.size() && common == b.size();
    if (is_equal) {
      ++agreement.equal;
    } else {
      differing += static_cast<double>(common);
    }
    const size_t length = std::max(a.size(), b.size());
    if (agreement.share_by_position.size() < length) agreement.share_by_position.resize(length, 0);
  }
  // A summary that ended in agreement agrees at every later position.
  for (const auto& [id, summary] : entry.summaries) {
    const auto other = base.summaries.find(id);
    if (other == base.summaries.end()) continue;
    const std::vector<int32_t>&a = other->second.output_ids, &b = summary.output_ids;
    for (size_t i = 0; i < agreement.share_by_position.size(); ++i) {
      const bool ended = i >= a.size() && i >= b.size();
      if (!ended && (i >= a.size() || i >= b.size() || a[i] != b[i])) break;
      agreement.share_by_position[i] += 1 / static_cast<double>(agreement.articles);
    }
  }
  if (agreement.articles > agreement.equal)
    agreement.mean_first_difference = differing / static_cast<double>(agreement.articles - agreement.equal);
  return agreement;
}

std::vector<ReportTable> report_tables(std::span<const ReportEntry> entries) {
  std::vector<ReportTable> tables;
  for (const char* length : {"free", "forced"}) {
    ReportTable table = summarize_table(entries, length);
    if (!table.rows.empty()) tables.push_back(std::move(table));
  }
  ReportTable quality = quality_table(entries);
  if (!quality.rows.empty()) tables.push_back(std::move(quality));
  return tables;
}

std::string report_markdown(std::span<const ReportEntry> entries) {
  const auto cell = [](std::string text) {
    text = escaped(text, 1000);
    for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.replace(at, 1, "\\|");
    return text;
  };
  std::string page = "# Evaluation\n";
  for (const ReportTable& table : report_tables(entries)) {
    page += fmt::format("\n## {}\n\n|", table.title);
    for (const std::string& column : table.columns) page += fmt::format(" {} |", column);
    page += "\n|";
    for (size_t i = 0; i < table.columns.size(); ++i) page += i == 0 ? "---|" : "---:|";
    page += "\n";
    for (const std::vector<std::string>& row : table.rows) {
      page += "|";
      for (const std::string& value : row) page += fmt::format(" {} |", cell(value));
      page += "\n";
    }
  }
  return page;
}

}  // namespace quern
