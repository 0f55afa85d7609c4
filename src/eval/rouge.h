// ROUGE-1, -2, -L and -Lsum of a candidate against one reference, as the Python package rouge_score computes them (docs/quality.md).
// Pure functions, any thread.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

struct RougeScore {
  double precision = 0, recall = 0, f1 = 0;
};

inline constexpr size_t kRougeTypes = 4;
inline constexpr const char* kRougeNames[kRougeTypes] = {"rouge1", "rouge2", "rougeL", "rougeLsum"};
using RougeScores = std::array<RougeScore, kRougeTypes>;

// Lower case; everything but a-z and 0-9 separates; with `stem` words of more than 3 letters are stemmed.
std::vector<std::string> rouge_tokens(std::string_view text, bool stem);

// rougeLsum takes the lines of both texts as sentences.
RougeScores rouge(std::string_view reference, std::string_view candidate, bool stem);

struct RougeInterval {
  RougeScore low, mid, high;  // 2.5, 50 and 97.5 % of the resampled means
  RougeScore mean;            // of the articles themselves
};
using RougeIntervals = std::array<RougeInterval, kRougeTypes>;

// 1000 resamples of the articles with replacement; the draws are those of numpy.random.choice after numpy.random.seed(seed), one stream for
// all types in their order.
RougeIntervals rouge_intervals(std::span<const RougeScores> articles, uint32_t seed = 0);

}  // namespace quern
