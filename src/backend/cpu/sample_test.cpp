// Every sampling row of the CPU draws exactly what a plain sort-based implementation draws, and draws follow the weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "backend/backend.h"
#include "backend/ops/sample_random.h"
#include "base/thread_pool.h"

namespace quern {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

struct Case {
  std::vector<std::vector<float>> logits;
  std::vector<SampleRow> rows;
  std::vector<TokenCount> counts;
  std::vector<TokenBias> biases;
  std::vector<uint32_t> allowed;
  int32_t num_tokens = 0;
};

struct Drawn {
  std::vector<int32_t> ids;
  std::vector<float> logprobs, top_logprobs;
  std::vector<int32_t> top_ids;
};

std::vector<KernelRow<SampleArgs>> supported_rows(DeviceRuntime& runtime) {
  std::vector<KernelRow<SampleArgs>> rows;
  for (const auto& row : runtime.tables().sample) {
    if (row.supports(SampleArgs{}, runtime.info())) rows.push_back(row);
  }
  return rows;
}

Drawn run(const KernelRow<SampleArgs>& kernel, DeviceRuntime& runtime, const Case& c) {
  std::vector<float> flat;
  for (const auto& row : c.logits) flat.insert(flat.end(), row.begin(), row.end());
  const size_t rows = c.rows.size();
  Drawn drawn{std::vector<int32_t>(rows), std::vector<float>(rows), std::vector<float>(rows * kMaxLogprobs),
              std::vector<int32_t>(rows * kMaxLogprobs)};
  kernel.run({.logits = {reinterpret_cast<std::byte*>(flat.data()), {rows, c.logits[0].size()}},
              .num_tokens = c.num_tokens,
              .rows = c.rows.data(),
              .counts = c.counts.data(),
              .biases = c.biases.data(),
              .allowed = c.allowed.data(),
              .token_ids = drawn.ids.data(),
              .logprobs = drawn.logprobs.data(),
              .top_ids = drawn.top_ids.data(),
              .top_logprobs = drawn.top_logprobs.data()},
             runtime.stream());
  return drawn;
}

// The meaning of the operation, step by step.
int32_t reference(const Case& c, size_t r) {
  const SampleRow& row = c.rows[r];
  std::vector<float> logits(c.logits[r].begin(), c.logits[r].begin() + c.num_tokens);
  if (std::ranges::any_of(logits, [](float x) { return !std::isfinite(x); })) return -1;
  for (int32_t i = row.biases_begin; i < row.biases_end; ++i) logits[c.biases[i].token] += c.biases[i].bias;
  if (row.allowed_row >= 0) {
    const size_t words = (c.logits[r].size() + 31) / 32;
    for (size_t i = 0; i < logits.size(); ++i) {
      if ((c.allowed[row.allowed_row * words + i / 32] & (1U << (i % 32))) == 0) logits[i] = kBanned;
    }
  }
  for (int32_t i = row.counts_begin; i < row.counts_end; ++i) {
    float& logit = logits[c.counts[i].token];
    logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
    if (c.counts[i].in_output > 0) logit -= row.presence_penalty + row.frequency_penalty * static_cast<float>(c.counts[i].in_output);
  }
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < c.num_tokens; ++i) {
    if (logits[i] != kBanned) ids.push_back(i);
  }
  if (ids.empty()) return -1;
  std::ranges::stable_sort(ids, [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (row.temperature == 0) return ids[0];
  if (row.top_k > 0) ids.resize(std::min<size_t>(ids.size(), row.top_k));
  std::vector<float> weights(logits.size());
  double sum = 0, mass = 0, best = std::numeric_limits<double>::infinity();
  for (const int32_t id : ids) sum += weights[id] = sample_weight(logits[id], logits[ids[0]], 1.F / row.temperature);
  if (row.top_p < 1) {
    size_t kept = 0;
    while (kept < ids.size() && (kept == 0 || mass < row.top_p * sum)) mass += weights[ids[kept++]];
    ids.resize(kept);
  }
  int32_t winner = -1;
  std::ranges::sort(ids);
  for (const int32_t id : ids) {
    if (weights[id] < row.min_p || weights[id] == 0) continue;
    const double time = exponential(sample_word(row.seed, row.position, id)) / weights[id];
    if (time < best) best = time, winner = id;
  }
  return winner;
}

class CaseMaker {
 public:
  explicit CaseMaker(uint64_t seed) : random_(seed) {}

  Case make(size_t num_rows, int32_t num_tokens) {
    Case c;
    c.num_tokens = num_tokens;
    const size_t padding = pick(0, 70), columns = num_tokens + padding;
    for (size_t r = 0; r < num_rows; ++r) {
      SampleRow row;
      row.temperature = pick(0, 4) == 0 ? 0 : std::uniform_real_distribution<float>(0.05F, 2)(random_);
      if (pick(0, 1)) row.top_p = std::uniform_real_distribution<float>(0.01F, 1)(random_);
      if (pick(0, 1)) row.top_k = static_cast<int32_t>(pick(0, 2) == 0 ? pick(1, num_tokens + 5) : pick(1, 40));
      if (pick(0, 2) == 0) row.min_p = std::uniform_real_distribution<float>(0, 0.5F)(random_);
      row.seed = random_();
      row.position = static_cast<int32_t>(pick(0, 100'000));
      row.num_logprobs = static_cast<int32_t>(pick(0, 21)) - 1;
      if (pick(0, 1)) add_counts(c, row);
      if (pick(0, 1)) add_biases(c, row);
      if (pick(0, 3) == 0) add_mask(c, row, columns);
      c.rows.push_back(row);
      c.logits.push_back(logits(num_tokens, columns));
    }
    return c;
  }

 private:
  size_t pick(size_t low, size_t high) { return std::uniform_int_distribution<size_t>(low, high)(random_); }

  std::vector<float> logits(int32_t num_tokens, size_t columns) {
    std::vector<float> values(columns, 1e30F);  // padding is never drawn, however large
    const float scale = std::uniform_real_distribution<float>(0.1F, 12)(random_);
    std::normal_distribution<float> normal;
    const size_t kind = pick(0, 5);
    for (int32_t i = 0; i < num_tokens; ++i) {
      values[i] = normal(random_) * scale;
      if (kind == 0) values[i] = std::round(values[i]);  // many ties, zeros of both signs
      if (kind == 1) values[i] = 3.25F;
    }
    return values;
  }

  void add_counts(Case& c, SampleRow& row) {
    row.repetition_penalty = std::uniform_real_distribution<float>(0.5F, 2)(random_);
    row.presence_penalty = std::uniform_real_distribution<float>(-2, 2)(random_);
    row.frequency_penalty = std::uniform_real_distribution<float>(-2, 2)(random_);
    row.counts_begin = static_cast<int32_t>(c.counts.size());
    for (const int32_t token : some(c.num_tokens)) {
      c.counts.push_back({token, static_cast<int32_t>(pick(1, 3)), static_cast<int32_t>(pick(0, 3))});
    }
    row.counts_end = static_cast<int32_t>(c.counts.size());
  }

  void add_biases(Case& c, SampleRow& row) {
    row.biases_begin = static_cast<int32_t>(c.biases.size());
    for (const int32_t token : some(c.num_tokens)) {
      c.biases.push_back({token, pick(0, 2) == 0 ? kBanned : std::uniform_real_distribution<float>(-5, 5)(random_)});
    }
    row.biases_end = static_cast<int32_t>(c.biases.size());
  }

  void add_mask(Case& c, SampleRow& row, size_t columns) {
    const size_t words = (columns + 31) / 32;
    row.allowed_row = static_cast<int32_t>(c.allowed.size() / words);
    for (size_t i = 0; i < words; ++i) c.allowed.push_back(pick(0, 3) == 0 ? 0 : static_cast<uint32_t>(random_()));
  }

  std::vector<int32_t> some(int32_t num_tokens) {
    std::vector<int32_t> tokens(static_cast<size_t>(num_tokens));
    std::iota(tokens.begin(), tokens.end(), 0);
    std::ranges::shuffle(tokens, random_);
    tokens.resize(pick(0, std::min<size_t>(tokens.size(), 40)));
    return tokens;
  }

  std::mt19937_64 random_;
};

TEST(Sample, EveryRowDrawsWhatThePlainImplementationDraws) {
  const auto runtime = open_cpu({.num_threads = 2});
  const auto kernels = supported_rows(*runtime);
  ASSERT_FALSE(kernels.empty());
  struct Size {
    int32_t num_tokens;
    uint64_t cases;
  };
  for (const auto& [num_tokens, cases] :
       {Size{1, 20}, Size{5, 100}, Size{63, 60}, Size{64, 60}, Size{65, 60}, Size{1000, 60}, Size{4999, 20}, Size{151'665, 2}}) {
    for (uint64_t seed = 1; seed <= cases; ++seed) {
      const Case c = CaseMaker(seed).make(4, num_tokens);
      for (const auto& kernel : kernels) {
        const Drawn drawn = run(kernel, *runtime, c);
        for (size_t r = 0; r < c.rows.size(); ++r) {
          ASSERT_EQ(drawn.ids[r], reference(c, r))
              << kernel.name << ", " << num_tokens << " tokens, seed " << seed << ", row " << r << ", temperature " << c.rows[r].temperature
              << ", top_k " << c.rows[r].top_k << ", top_p " << c.rows[r].top_p;
        }
      }
    }
  }
}

// The sum of n weights in f64 errs by n * 2^-53, each f32 weight by 2e-7 of itself, the logarithm and the difference are rounded to f32:
// |log sum| and |logit| below 100 give 2e-7 + 3 * 100 * 2^-24 < 2e-5.
TEST(Sample, LogprobsAreOfTheModelsOwnDistribution) {
  const auto runtime = open_cpu({.num_threads = 1});
  for (const auto& kernel : supported_rows(*runtime)) {
    for (uint64_t seed = 1; seed <= 30; ++seed) {
      const Case c = CaseMaker(seed).make(3, 700);
      const Drawn drawn = run(kernel, *runtime, c);
      for (size_t r = 0; r < c.rows.size(); ++r) {
        if (c.rows[r].num_logprobs < 0 || drawn.ids[r] < 0) continue;
        double sum = 0;
        for (int32_t i = 0; i < c.num_tokens; ++i) sum += std::exp(static_cast<double>(c.logits[r][i]));
        const auto logprob = [&](int32_t id) { return c.logits[r][id] - std::log(sum); };
        ASSERT_NEAR(drawn.logprobs[r], logprob(drawn.ids[r]), 2e-5) << kernel.name << " seed " << seed;
        std::vector<int32_t> ids(c.num_tokens);
        std::iota(ids.begin(), ids.end(), 0);
        std::ranges::stable_sort(ids, [&](int32_t a, int32_t b) { return c.logits[r][a] > c.logits[r][b]; });
        for (int32_t i = 0; i < c.rows[r].num_logprobs; ++i) {
          ASSERT_EQ(drawn.top_ids[r * kMaxLogprobs + i], ids[i]);
          ASSERT_NEAR(drawn.top_logprobs[r * kMaxLogprobs + i], logprob(ids[i]), 2e-5);
        }
      }
    }
  }
}

TEST(Sample, ALogitThatIsNotFiniteGivesNoToken) {
  const auto runtime = open_cpu({.num_threads = 1});
  for (const auto& kernel : supported_rows(*runtime)) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), kBanned}) {
      for (const size_t at : {0, 15, 16, 63, 64, 99}) {
        for (const float temperature : {0.F, 1.F}) {
          Case c;
          c.num_tokens = 100;
          c.logits = {std::vector<float>(120, 1.F), std::vector<float>(120, 1.F)};
          c.logits[0][at] = bad;
          c.logits[1][110] = bad;  // padding
          c.rows.assign(2, {.temperature = temperature});
          const Drawn drawn = run(kernel, *runtime, c);
          EXPECT_EQ(drawn.ids[0], -1) << kernel.name << ' ' << bad << " at " << at;
          EXPECT_GE(drawn.ids[1], 0);
        }
      }
    }
  }
}

TEST(Sample, NothingIsDrawnWhenEveryTokenIsBanned) {
  const auto runtime = open_cpu({.num_threads = 1});
  for (const auto& kernel : supported_rows(*runtime)) {
    Case c;
    c.num_tokens = 2;
    c.logits = {{1, 2}};
    c.biases = {{0, kBanned}, {1, kBanned}};
    c.rows = {{.biases_end = 2}};
    EXPECT_EQ(run(kernel, *runtime, c).ids[0], -1);
  }
}

TEST(Sample, ADrawDependsOnItsOwnRowOnly) {
  const auto runtime = open_cpu({.num_threads = 2});
  for (const auto& kernel : supported_rows(*runtime)) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      const Case together = CaseMaker(seed).make(7, 500);
      const Drawn drawn = run(kernel, *runtime, together);
      for (size_t r = 0; r < together.rows.size(); ++r) {
        Case alone = together;
        alone.logits = {together.logits[r]};
        alone.rows = {together.rows[r]};
        ASSERT_EQ(run(kernel, *runtime, alone).ids[0], drawn.ids[r]) << kernel.name << " seed " << seed << " row " << r;
      }
    }
  }
}

// Pearson's statistic of 40,000 draws over n tokens has n - 1 degrees of freedom. Fixed seeds: the bound, 6 standard deviations above
// the mean (n - 1 + 6 * sqrt(2 (n - 1))), is passed or not once and for all.
void check_distribution(const SampleRow& settings, const std::vector<float>& logits, const std::vector<double>& probabilities,
                        bool by_position) {
  const auto runtime = open_cpu({.num_threads = 1});
  for (const auto& kernel : supported_rows(*runtime)) {
    constexpr size_t kDraws = 40'000, kRows = 1000;
    std::vector<double> times(logits.size());
    for (size_t first = 0; first < kDraws; first += kRows) {
      Case c;
      c.num_tokens = static_cast<int32_t>(logits.size());
      for (size_t i = 0; i < kRows; ++i) {
        SampleRow row = settings;
        row.seed = by_position ? 5 : first + i;
        row.position = by_position ? static_cast<int32_t>(first + i) : 17;
        c.rows.push_back(row);
        c.logits.push_back(logits);
      }
      for (const int32_t id : run(kernel, *runtime, c).ids) ++times[id];
    }
    double statistic = 0, freedom = -1;
    for (size_t i = 0; i < logits.size(); ++i) {
      const double expected = probabilities[i] * kDraws;
      if (expected == 0) {
        EXPECT_EQ(times[i], 0) << "token " << i;
        continue;
      }
      statistic += (times[i] - expected) * (times[i] - expected) / expected;
      ++freedom;
    }
    EXPECT_LT(statistic, freedom + 6 * std::sqrt(2 * freedom)) << kernel.name;
  }
}

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> p;
  p.reserve(logits.size());
  for (const float logit : logits) p.push_back(std::exp(logit / temperature));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

TEST(Sample, DrawsFollowTheWeights) {
  const std::vector<float> logits = {2, 1, 0, -1, 0.5, 1.5, -0.5, 2, 0.25, 1, -2};
  for (const bool by_position : {false, true}) {
    check_distribution({.temperature = 1}, logits, softmax(logits, 1), by_position);
    check_distribution({.temperature = 0.7F}, logits, softmax(logits, 0.7), by_position);
    check_distribution({.temperature = 1, .top_k = 11}, logits, softmax(logits, 1), by_position);
    std::vector<float> first_four = {2, kBanned, kBanned, kBanned, kBanned, 1.5, kBanned, 2, kBanned, kBanned, kBanned};
    first_four[1] = 1;  // of the two equal tokens the lower id
    check_distribution({.temperature = 1, .top_k = 4}, logits, softmax(first_four, 1), by_position);
  }
}

TEST(SampleRandom, PhiloxGivesTheKnownAnswer) {  // Random123's kat_vectors, counter and key zero
  const PhiloxWords words = sample_words(0, 0, 0);
  EXPECT_EQ(words.word[0], 0x6627e8d5U);
  EXPECT_EQ(words.word[1], 0xe169c58dU);
  EXPECT_EQ(words.word[2], 0xbc57ac4cU);
  EXPECT_EQ(words.word[3], 0x9b00dbd8U);
}

TEST(SampleRandom, FunctionsAreAsAccurateAsTheySay) {
  for (int i = 0; i <= 62'000; ++i) {
    const double x = std::exp2(-33 + i * (33 / 62e3));
    ASSERT_NEAR(portable_log(x), std::log(x), 1e-13 * std::fabs(std::log(x)) + 1e-16) << x;
  }
  for (int i = 0; i < 12'000; ++i) {
    const float x = static_cast<float>(i) * -0.00725F;
    ASSERT_NEAR(portable_exp(x), std::exp(static_cast<double>(x)), 2e-7 * std::exp(static_cast<double>(x))) << x;
  }
  EXPECT_EQ(portable_exp(0), 1.F);
  EXPECT_EQ(portable_exp(-100), 0.F);
  EXPECT_EQ(portable_exp(kBanned), 0.F);
  EXPECT_EQ(order_key(-0.F), order_key(0.F));
  EXPECT_LT(order_key(-1), order_key(-0.5F));
  EXPECT_LT(order_key(kBanned), order_key(std::numeric_limits<float>::lowest()));
}

}  // namespace
}  // namespace quern
