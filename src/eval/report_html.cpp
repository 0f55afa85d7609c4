#include <algorithm>

#include "eval/plot.h"
#include "eval/report_tables.h"

namespace quern {
namespace {

constexpr const char* kHead = R"html(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Evaluation</title>
<style>
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #ffffff; --line: #d8dbe0; --soft: #f3f4f6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #16181b; --line: #3a3e44; --soft: #22252a; } }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; font-weight: 600; }
thead th { background: var(--soft); } tbody tr:hover { background: var(--soft); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1.5rem; margin-top: 1.5rem; }
svg { width: 100%; height: auto; background: var(--paper); } svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .title { font-weight: 600; font-size: 13px; } svg .grid { stroke: var(--line); } svg .diagonal { stroke: var(--line); stroke-width: 2; stroke-dasharray: 5 4; }
.key span { display: inline-block; margin-right: 1.2rem; } .key i { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; border-radius: 50%; }
</style></head><body>
<h1>Evaluation</h1>
)html";

std::string table_html(const ReportTable& table) {
  std::string html = fmt::format("<h2>{}</h2>\n<div class=\"wide\"><table><thead><tr>", html_escaped(table.title));
  for (const std::string& column : table.columns) html += "<th>" + html_escaped(column) + "</th>";
  html += "</tr></thead><tbody>\n";
  for (const std::vector<std::string>& row : table.rows) {
    html += "<tr>";
    for (const std::string& value : row) html += "<td>" + html_escaped(value) + "</td>";
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

using Runs = std::vector<const ReportEntry*>;

// One point a run.
template <class Place>
Plot run_plot(const Runs& runs, const std::string& title, const std::string& x_label, const std::string& y_label, Place&& place) {
  Plot plot{.title = title, .x_label = x_label, .y_label = y_label, .series = {}};
  for (const ReportEntry* run : runs) {
    PlotSeries series{.label = run->label, .points = {}, .shows_label = true};
    const PlotPoint point = place(*run);
    if (point.x > 0) series.points.push_back(point);
    plot.series.push_back(std::move(series));
  }
  return plot;
}

std::string summary_plots(const Runs& runs) {
  const SummarizeReport& base = *runs.front()->summarize;
  const auto rouge_at = [](const ReportEntry& run, double x) {
    return PlotPoint{x, run.summarize->rouge[0], run.summarize->rouge1_low, run.summarize->rouge1_high};
  };
  std::string html = plot_svg(run_plot(runs, "Quality against size", "engine file, MB", "ROUGE-1",
                                       [&](const ReportEntry& run) { return rouge_at(run, run.summarize->engine_bytes / 1e6); }));
  html += plot_svg(run_plot(runs, "Speed against quality", "ms a token", "ROUGE-1",
                            [&](const ReportEntry& run) { return rouge_at(run, run.summarize->ms_per_token); }));
  Plot scatter{.title = "Each article: ROUGE-1 of a run against " + runs.front()->label,
               .x_label = runs.front()->label,
               .y_label = "run",
               .series = {},
               .has_diagonal = true};
  Plot agreement{.title = "Summaries that agree with " + runs.front()->label + " up to a token",
                 .x_label = "token",
                 .y_label = "share of summaries, %",
                 .series = {}};
  for (const ReportEntry* run : runs) {
    PlotSeries points{.label = run->label, .points = {}}, line{.label = run->label, .points = {}, .is_line = true};
    if (run != runs.front()) {
      for (const auto& [id, summary] : run->summarize->summaries) {
        const auto other = base.summaries.find(id);
        if (other != base.summaries.end()) points.points.push_back({other->second.rouge1, summary.rouge1});
      }
      const std::vector<double> shares = token_agreement(base, *run->summarize).share_by_position;
      for (size_t i = 0; i < shares.size(); ++i) line.points.push_back({static_cast<double>(i + 1), 100 * shares[i]});
    }
    scatter.series.push_back(std::move(points));
    agreement.series.push_back(std::move(line));
  }
  return html + plot_svg(scatter) + plot_svg(agreement);
}

std::string key(const Runs& runs) {
  std::string html = "<p class=\"key\">";
  for (size_t i = 0; i < runs.size(); ++i) {
    html += fmt::format(R"(<span><i style="background:{}"></i>{}</span>)", plot_color(i), html_escaped(runs[i]->label));
  }
  return html + "</p>\n";
}

std::string quality_plots(std::span<const ReportEntry> entries) {
  Runs runs;
  for (const ReportEntry& entry : entries) {
    if (entry.quality && entry.quality->kl_mean && entry.quality->perplexity_ratio) runs.push_back(&entry);
  }
  if (runs.empty()) return "";
  return key(runs) + "<div class=\"plots\">" +
         plot_svg(run_plot(runs, "Divergence from the reference", "mean KL, nats", "perplexity above the reference's, %",
                           [](const ReportEntry& run) {
                             return PlotPoint{*run.quality->kl_mean, 100 * (*run.quality->perplexity_ratio - 1)};
                           })) +
         "</div>\n";
}

}  // namespace

std::string report_html(std::span<const ReportEntry> entries) {
  std::string page = kHead;
  for (const ReportTable& table : report_tables(entries)) page += table_html(table);
  for (const char* length : {"free", "forced"}) {
    Runs runs;
    for (const ReportEntry& entry : entries) {
      if (entry.summarize && entry.summarize->length == length) runs.push_back(&entry);
    }
    if (runs.empty()) continue;
    page += fmt::format("<h2>{}</h2>\n", std::string_view(length) == "free" ? "Plots: ended by the model" : "Plots: full length");
    page += key(runs) + "<div class=\"plots\">" + summary_plots(runs) + "</div>\n";
  }
  return page + quality_plots(entries) + "</body></html>\n";
}

}  // namespace quern
