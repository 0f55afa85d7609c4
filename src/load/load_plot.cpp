#include "load/load_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace quern {
namespace {

constexpr double kPanelWidth = 300, kPanelHeight = 180, kLeft = 56, kTop = 64, kAcross = 380, kDown = 262;
constexpr size_t kMaxPoints = 400;  // of one curve

std::string xml_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

// 1, 2 or 5 times a power of ten, so that about four of them make `span`.
double tick_step(double span) {
  if (span <= 0) return 1;
  const double rough = span / 4, power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (rough <= factor * power) return factor * power;
  }
  return 10 * power;
}

// The places from 0 to `span` that get a label.
std::vector<double> ticks(double span) {
  const double step = tick_step(span);
  std::vector<double> places;
  for (size_t i = 0; static_cast<double>(i) * step <= span * 1.0001; ++i) places.push_back(static_cast<double>(i) * step);
  return places;
}

struct Point {
  double x, y;
};

// One panel with its axes; x and y run from 0 to their largest values.
class Panel {
 public:
  Panel(std::string& out, size_t index, const std::string& title, double x_max, double y_max, const std::string& x_label)
      : out_(out),
        left_(kLeft + (index % 2 == 0 ? 0 : kAcross)),
        top_(kTop + kDown * std::floor(static_cast<double>(index) / 2)),
        x_max_(x_max > 0 ? x_max : 1),
        y_max_(y_max > 0 ? y_max : 1) {
    out_ += fmt::format("<text x='{:.1f}' y='{:.1f}' class='title'>{}</text>\n", left_, top_ - 12, title);
    for (const double value : ticks(y_max_)) {
      out_ +=
          fmt::format("<path class='grid' d='M{:.1f} {:.1f}h{}'/><text class='tick' text-anchor='end' x='{:.1f}' y='{:.1f}'>{:g}</text>\n",
                      left_, y(value), kPanelWidth, left_ - 6, y(value) + 4, value);
    }
    for (const double value : ticks(x_max_)) {
      out_ += fmt::format("<text class='tick' text-anchor='middle' x='{:.1f}' y='{:.1f}'>{:g}</text>\n", x(value), top_ + kPanelHeight + 16,
                          value);
    }
    out_ += fmt::format("<text class='tick' text-anchor='end' x='{:.1f}' y='{:.1f}'>{}</text>\n", left_ + kPanelWidth,
                        top_ + kPanelHeight + 32, x_label);
  }

  void curve(const std::vector<Point>& points, const char* style) {
    if (points.empty()) return;
    out_ += fmt::format("<path class='{}' d='", style);
    for (size_t i = 0; i < points.size(); ++i) out_ += fmt::format("{}{:.1f} {:.1f}", i == 0 ? 'M' : 'L', x(points[i].x), y(points[i].y));
    out_ += "'/>\n";
  }

  // A value on the x axis, with its name.
  void mark(double value, const std::string& name, double line) {
    out_ +=
        fmt::format("<path class='mark' d='M{0:.1f} {1:.1f}V{2:.1f}'/><text class='tick' x='{3:.1f}' y='{4:.1f}'>{5}</text>\n", x(value),
                    top_, top_ + kPanelHeight, std::min(x(value) + 4, left_ + kPanelWidth - 70), top_ + kPanelHeight - 8 - 14 * line, name);
  }

 private:
  double x(double value) const { return left_ + value / x_max_ * kPanelWidth; }
  double y(double value) const { return top_ + kPanelHeight - value / y_max_ * kPanelHeight; }

  std::string& out_;
  double left_, top_, x_max_, y_max_;
};

// The share of values up to each value, in percent.
void distribution(std::string& out, size_t index, const std::string& title, const Spread& spread) {
  // A few outliers would press the rest against the axis: it ends a little behind the 99th percentile.
  const size_t count = spread.values.size();
  const double end = count == 0 ? 1 : std::min(spread.values.back(), spread.values[(count - 1) * 99 / 100] * 1.25);
  Panel panel(out, index, title, end, 100, "ms");
  std::vector<Point> points;
  for (size_t i = 0; i < count; i += std::max<size_t>(1, count / kMaxPoints)) {
    if (spread.values[i] <= end) points.push_back({spread.values[i], static_cast<double>(i + 1) / static_cast<double>(count) * 100});
  }
  panel.curve(points, "curve");
  if (count > 0) panel.mark(spread.median, fmt::format("median {:.4g}", spread.median), 1);
  if (count > 0 && !spread.percentiles.empty() && spread.percentiles.back().second <= end) {
    panel.mark(spread.percentiles.back().second,
               fmt::format("P{:g} {:.4g}", spread.percentiles.back().first, spread.percentiles.back().second), 0);
  }
}

struct Timeline {
  double step = 1;  // seconds of one point
  std::vector<Point> rate, running;
  double most_rate = 0, most_running = 0;
};

Timeline timeline_of(std::span<const RequestRecord> records) {
  Timeline timeline;
  double begin = INFINITY, end = 0;
  for (const RequestRecord& record : records) {
    if (!record.is_ok) continue;
    begin = std::min(begin, record.start);
    end = std::max(end, record.last());
  }
  if (end <= begin) return timeline;
  timeline.step = std::max((end - begin) / 100, 1e-3);
  const auto count = static_cast<size_t>((end - begin) / timeline.step) + 1;
  std::vector<double> pieces(count), running(count);
  for (const RequestRecord& record : records) {
    if (!record.is_ok) continue;
    // A piece may hold several tokens: they are spread evenly over a request's pieces.
    const double each = static_cast<double>(record.output_tokens) / static_cast<double>(std::max<size_t>(1, record.token_times.size()));
    for (const double time : record.token_times) pieces[static_cast<size_t>((time - begin) / timeline.step)] += each;
    const auto last = static_cast<size_t>((record.last() - begin) / timeline.step);
    for (auto i = static_cast<size_t>((record.start - begin) / timeline.step); i <= last; ++i) running[i] += 1;
  }
  for (size_t i = 0; i < count; ++i) {
    const double time = static_cast<double>(i) * timeline.step;
    timeline.rate.push_back({time, pieces[i] / timeline.step});
    timeline.running.push_back({time, running[i]});
    timeline.most_rate = std::max(timeline.most_rate, timeline.rate.back().y);
    timeline.most_running = std::max(timeline.most_running, running[i]);
  }
  return timeline;
}

}  // namespace

std::string load_plot(const LoadMetrics& metrics, std::span<const RequestRecord> records, const std::string& title) {
  std::string out =
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 760 850' font-family='system-ui, sans-serif'>\n<style>\n"
      ".title{font-size:14px;font-weight:600;fill:#23211e}.tick{font-size:11px;fill:#6a665f}.grid{stroke:#e3dfd7}\n"
      ".curve{fill:none;stroke:#1f6f5f;stroke-width:1.8}.mark{stroke:#c9803a;stroke-dasharray:3 3}\n</style>\n"
      "<rect width='760' height='850' fill='#fff'/>\n";
  out += fmt::format("<text x='{}' y='26' font-size='15' font-weight='600' fill='#23211e'>{}</text>\n", kLeft, xml_text(title));
  distribution(out, 0, "Time to first token: share of requests, %", metrics.first_token);
  distribution(out, 1, "Time per output token: share of requests, %", metrics.per_token);
  distribution(out, 2, "Inter-token latency: share of gaps, %", metrics.gap);
  distribution(out, 3, "End-to-end latency: share of requests, %", metrics.whole);
  const Timeline timeline = timeline_of(records);
  const double end = timeline.rate.empty() ? 1 : timeline.rate.back().x;
  Panel(out, 4, "Output tokens a second", end, timeline.most_rate, "s of the run").curve(timeline.rate, "curve");
  Panel(out, 5, "Requests under way", end, timeline.most_running, "s of the run").curve(timeline.running, "curve");
  return out + "</svg>\n";
}

}  // namespace quern
