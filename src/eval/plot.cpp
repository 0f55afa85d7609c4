#include "eval/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/utf8.h"

namespace quern {
namespace {

constexpr double kWidth = 560, kHeight = 340, kLeft = 62, kRight = 20, kTop = 34, kBottom = 46;
constexpr const char* kColors[] = {"#3366cc", "#dc3912", "#109618", "#ff9900", "#990099",
                                   "#0099c6", "#dd4477", "#66aa00", "#b82e2e", "#316395"};

// A range of round numbers around [low, high].
struct Axis {
  double low = 0, high = 1, step = 0.2;
};

Axis axis_for(double low, double high) {
  if (!(high > low)) {
    const double room = low == 0 ? 1 : std::fabs(low) * 0.1;
    low -= room;
    high += room;
  }
  const double raw = (high - low) / 5, magnitude = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * magnitude;
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * magnitude >= raw) {
      step = factor * magnitude;
      break;
    }
  }
  return {std::floor(low / step) * step, std::ceil(high / step) * step, step};
}

struct Frame {
  Axis x, y;
  double at_x(double value) const { return kLeft + (value - x.low) / (x.high - x.low) * (kWidth - kLeft - kRight); }
  double at_y(double value) const { return kHeight - kBottom - (value - y.low) / (y.high - y.low) * (kHeight - kTop - kBottom); }
};

std::string axes(const Plot& plot, const Frame& frame) {
  std::string svg = fmt::format(R"(<text x="{:.0f}" y="18" class="title">{}</text>)", kLeft, html_escaped(plot.title));
  const auto ticks = [](const Axis& axis) { return static_cast<int>(std::lround((axis.high - axis.low) / axis.step)); };
  for (int i = 0; i <= ticks(frame.x); ++i) {
    const double value = frame.x.low + i * frame.x.step, x = frame.at_x(value);
    svg += fmt::format(R"(<line x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}" class="grid"/>)", x, kTop, kHeight - kBottom);
    svg += fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="middle">{:.6g}</text>)", x, kHeight - kBottom + 16, value);
  }
  for (int i = 0; i <= ticks(frame.y); ++i) {
    const double value = frame.y.low + i * frame.y.step, y = frame.at_y(value);
    svg += fmt::format(R"(<line x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}" class="grid"/>)", kLeft, kWidth - kRight, y, y);
    svg += fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="end">{:.6g}</text>)", kLeft - 6, y + 4, value);
  }
  svg += fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>)", (kLeft + kWidth - kRight) / 2, kHeight - 10,
                     html_escaped(plot.x_label));
  svg += fmt::format(R"svg(<text transform="rotate(-90)" x="{:.1f}" y="14" text-anchor="middle">{}</text>)svg",
                     -(kTop + kHeight - kBottom) / 2, html_escaped(plot.y_label));
  return svg;
}

std::string series_svg(const PlotSeries& series, size_t index, const Frame& frame) {
  std::string svg = fmt::format(R"(<g stroke="{0}" fill="{0}"><title>{1}</title>)", plot_color(index), html_escaped(series.label));
  if (series.is_line) {
    svg += R"(<polyline fill="none" stroke-width="2" points=")";
    for (const PlotPoint& point : series.points) svg += fmt::format("{:.1f},{:.1f} ", frame.at_x(point.x), frame.at_y(point.y));
    svg += "\"/>";
  } else {
    for (const PlotPoint& point : series.points) {
      const double x = frame.at_x(point.x);
      svg += fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="{}" fill-opacity="0.6"/>)", x, frame.at_y(point.y),
                         series.points.size() > 1 ? 2.5 : 5.0);
      if (point.low == point.high) continue;
      svg += fmt::format(R"(<line x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}" stroke-width="1.5"/>)", x, frame.at_y(point.low),
                         frame.at_y(point.high));
    }
  }
  if (series.shows_label && !series.points.empty()) {
    const PlotPoint& point = series.points.front();
    const bool is_right = frame.at_x(point.x) > kWidth * 0.7;
    svg += fmt::format(R"(<text x="{:.1f}" y="{:.1f}" stroke="none" text-anchor="{}">{}</text>)", frame.at_x(point.x) + (is_right ? -8 : 8),
                       frame.at_y(point.y) - 6, is_right ? "end" : "start", html_escaped(series.label));
  }
  return svg + "</g>";
}

}  // namespace

std::string html_escaped(const std::string& text) {
  std::string result;
  for (const char c : utf8_repaired(text)) {
    switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&quot;"; break;
      default: result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return result;
}

const char* plot_color(size_t i) { return kColors[i % std::size(kColors)]; }

std::string plot_svg(const Plot& plot) {
  std::vector<double> xs, ys;
  for (const PlotSeries& series : plot.series) {
    for (const PlotPoint& point : series.points) {
      xs.push_back(point.x);
      ys.insert(ys.end(), {point.y, point.low == point.high ? point.y : point.low, point.low == point.high ? point.y : point.high});
    }
  }
  if (xs.empty()) return "";
  Frame frame{axis_for(std::ranges::min(xs), std::ranges::max(xs)), axis_for(std::ranges::min(ys), std::ranges::max(ys))};
  if (plot.has_diagonal) {
    frame.x = frame.y =
        axis_for(std::min(std::ranges::min(xs), std::ranges::min(ys)), std::max(std::ranges::max(xs), std::ranges::max(ys)));
  }
  std::string svg = fmt::format(R"(<svg viewBox="0 0 {:.0f} {:.0f}" role="img">)", kWidth, kHeight) + axes(plot, frame);
  if (plot.has_diagonal) {
    svg += fmt::format(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="diagonal"/>)", frame.at_x(frame.x.low),
                       frame.at_y(frame.x.low), frame.at_x(frame.x.high), frame.at_y(frame.x.high));
  }
  for (size_t i = 0; i < plot.series.size(); ++i) svg += series_svg(plot.series[i], i, frame);
  return svg + "</svg>\n";
}

}  // namespace quern
