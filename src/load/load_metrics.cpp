#include "load/load_metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace quern {
namespace {

double percentile(const std::vector<double>& sorted, double percent) {
  if (sorted.empty()) return 0;
  const double at = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  if (below + 1 >= sorted.size()) return sorted.back();
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[below + 1] - sorted[below]);
}

// Pieces and running requests in each second from the first request on; the largest of each.
void find_peaks(std::span<const RequestRecord> records, LoadMetrics& metrics) {
  double begin = 0, end = 0;
  for (const RequestRecord& record : records) {
    if (!record.is_ok) continue;
    begin = end == 0 ? record.start : std::min(begin, record.start);
    end = std::max(end, record.last());
  }
  constexpr double kMostSeconds = 1e7;
  if (end - begin > kMostSeconds) return;
  std::vector<size_t> pieces(static_cast<size_t>(end - begin) + 1), running(pieces.size());
  for (const RequestRecord& record : records) {
    if (!record.is_ok) continue;
    for (const double time : record.token_times) ++pieces[static_cast<size_t>(time - begin)];
    for (auto second = static_cast<size_t>(record.start - begin); second <= static_cast<size_t>(record.last() - begin); ++second) {
      ++running[second];
    }
  }
  metrics.peak_output_rate = *std::ranges::max_element(pieces);
  metrics.peak_running = *std::ranges::max_element(running);
}

}  // namespace

Spread spread_of(std::vector<double> milliseconds, std::span<const double> percentiles) {
  Spread spread;
  std::ranges::sort(milliseconds);
  if (!milliseconds.empty()) {
    const auto count = static_cast<double>(milliseconds.size());
    spread.mean = std::accumulate(milliseconds.begin(), milliseconds.end(), 0.0) / count;
    double squares = 0;
    for (const double value : milliseconds) squares += (value - spread.mean) * (value - spread.mean);
    spread.deviation = std::sqrt(squares / count);
  }
  spread.median = percentile(milliseconds, 50);
  for (const double which : percentiles) spread.percentiles.emplace_back(which, percentile(milliseconds, which));
  spread.values = std::move(milliseconds);
  return spread;
}

LoadMetrics load_metrics(std::span<const RequestRecord> records, double duration, std::span<const double> percentiles,
                         const GoodputLimits& limits) {
  LoadMetrics metrics;
  metrics.duration = duration;
  std::vector<double> first_token, per_token, gap, whole;
  for (const RequestRecord& record : records) {
    if (!record.is_ok) {
      ++metrics.failed;
      continue;
    }
    ++metrics.completed;
    metrics.prompt_tokens += record.prompt_tokens;
    metrics.output_tokens += record.output_tokens;
    first_token.push_back((record.first() - record.start) * 1000);
    whole.push_back((record.last() - record.start) * 1000);
    // A request of one token has no time a token; it keeps every limit on it.
    double each = 0;
    if (record.output_tokens > 1) {
      each = (whole.back() - first_token.back()) / static_cast<double>(record.output_tokens - 1);
      per_token.push_back(each);
    }
    for (size_t i = 1; i < record.token_times.size(); ++i) gap.push_back((record.token_times[i] - record.token_times[i - 1]) * 1000);
    const bool is_good = (!limits.first_token || first_token.back() <= *limits.first_token) &&
                         (!limits.per_token || each <= *limits.per_token) && (!limits.whole || whole.back() <= *limits.whole);
    metrics.good += is_good ? 1 : 0;
  }
  if (duration > 0) {
    metrics.request_rate = static_cast<double>(metrics.completed) / duration;
    metrics.good_rate = static_cast<double>(metrics.good) / duration;
    metrics.output_rate = static_cast<double>(metrics.output_tokens) / duration;
    metrics.total_rate = static_cast<double>(metrics.prompt_tokens + metrics.output_tokens) / duration;
  }
  if (metrics.completed > 0) find_peaks(records, metrics);
  metrics.first_token = spread_of(std::move(first_token), percentiles);
  metrics.per_token = spread_of(std::move(per_token), percentiles);
  metrics.gap = spread_of(std::move(gap), percentiles);
  metrics.whole = spread_of(std::move(whole), percentiles);
  return metrics;
}

}  // namespace quern
