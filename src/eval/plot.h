// Plots as SVG: points with error bars, or lines, on axes with round ticks. Pure functions.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace quern {

struct PlotPoint {
  double x = 0, y = 0;
  double low = 0, high = 0;  // bar of y; both equal: none
};

struct PlotSeries {
  std::string label;
  std::vector<PlotPoint> points;
  bool is_line = false;
  bool shows_label = false;  // beside its first point
};

struct Plot {
  std::string title, x_label, y_label;
  std::vector<PlotSeries> series;
  bool has_diagonal = false;  // where x equals y
};

std::string html_escaped(const std::string& text);
// The colour of the i-th series, the same in every plot.
const char* plot_color(size_t i);
std::string plot_svg(const Plot& plot);

}  // namespace quern
