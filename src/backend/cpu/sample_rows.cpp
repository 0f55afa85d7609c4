// Draws one token a row without sorting the row: the largest values of blocks of 64 logits bound where candidates can be, a radix search
// over the order of the logits finds the cut of large top_k and of top_p, and the draw is a race of exponential variables (the token
// with the smallest variable / weight wins, which is Gumbel-max without its second logarithm).
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "backend/cpu/sample_loops.h"
#include "base/thread_pool.h"

namespace quern::cpu {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr size_t kMaxCandidates = 256;  // a top_k up to here takes the short way

// Tokens in order of preference: larger logits first, lower ids first among equals.
struct Candidate {
  float logit;
  int32_t id;
  bool operator<(const Candidate& other) const { return logit != other.logit ? logit > other.logit : id < other.id; }
};

// The tokens at least as preferred as the one with this key and id.
struct Cut {
  uint32_t key = 0;
  int32_t id = std::numeric_limits<int32_t>::max();
  bool keeps(uint32_t key_of_token, int32_t id_of_token) const { return key_of_token != key ? key_of_token > key : id_of_token <= id; }
};

class Row {
 public:
  Row(const SampleArgs& args, size_t row, const SampleLoops& loops)
      : args_(args),
        row_(args.rows[row]),
        loops_(loops),
        logits_(args.logits.f32(row)),
        count_(static_cast<size_t>(args.num_tokens)),
        maxima_((count_ + kSampleBlock - 1) / kSampleBlock) {}

  // The drawn token, or -1. Logprobs go to the args' arrays at `row`.
  int32_t draw(size_t row) {
    if (!loops_.block_maxima(logits_, count_, maxima_.data())) return -1;
    const bool wants_logprobs = row_.num_logprobs >= 0 && args_.logprobs != nullptr;
    if (wants_logprobs) describe(row);
    if (modify()) loops_.block_maxima(logits_, count_, maxima_.data());
    largest_ = *std::ranges::max_element(maxima_);
    if (largest_ == kLowest) return -1;  // every token is banned
    const int32_t token = row_.temperature <= 0 ? most_preferred() : draw_by_weight();
    if (wants_logprobs) args_.logprobs[row] = original(token) - log_sum_;
    return token;
  }

 private:
  // The model's own distribution: log-sum-exp and the likeliest tokens.
  void describe(size_t row) {
    const float largest = *std::ranges::max_element(maxima_);
    log_sum_ = largest + static_cast<float>(std::log(loops_.sum_weights(logits_, count_, largest, 1.F)));
    for (int32_t i = row_.counts_begin; i < row_.counts_end; ++i) save(args_.counts[i].token);
    for (int32_t i = row_.biases_begin; i < row_.biases_end; ++i) save(args_.biases[i].token);
    const auto wanted = static_cast<size_t>(std::clamp(row_.num_logprobs, 0, kMaxLogprobs));
    if (wanted == 0 || args_.top_ids == nullptr) return;
    const std::vector<Candidate> top = most_preferred(wanted);
    for (size_t i = 0; i < top.size(); ++i) {
      args_.top_ids[row * kMaxLogprobs + i] = top[i].id;
      args_.top_logprobs[row * kMaxLogprobs + i] = top[i].logit - log_sum_;
    }
  }

  void save(int32_t token) { originals_.push_back({logits_[token], token}); }
  float original(int32_t token) const {
    const auto saved = std::ranges::find(originals_, token, &Candidate::id);
    return saved == originals_.end() ? logits_[token] : saved->logit;
  }

  // Bias and bans, mask, penalties. Whether anything may have changed.
  bool modify() {
    for (int32_t i = row_.biases_begin; i < row_.biases_end; ++i) logits_[args_.biases[i].token] += args_.biases[i].bias;
    if (row_.allowed_row >= 0) {
      const size_t words = (args_.logits.columns() + 31) / 32;
      const uint32_t* allowed = args_.allowed + static_cast<size_t>(row_.allowed_row) * words;
      for (size_t i = 0; i < count_; ++i) {
        if ((allowed[i / 32] >> (i % 32) & 1) == 0) logits_[i] = kLowest;
      }
    }
    for (int32_t i = row_.counts_begin; i < row_.counts_end; ++i) {
      const TokenCount& count = args_.counts[i];
      float logit = logits_[count.token];
      if (row_.repetition_penalty != 1 && (count.in_prompt > 0 || count.in_output > 0)) {
        logit = logit > 0 ? logit / row_.repetition_penalty : logit * row_.repetition_penalty;
      }
      if (count.in_output > 0) logit -= row_.presence_penalty + row_.frequency_penalty * static_cast<float>(count.in_output);
      logits_[count.token] = std::min(logit, std::numeric_limits<float>::max());
    }
    return row_.biases_begin != row_.biases_end || row_.counts_begin != row_.counts_end || row_.allowed_row >= 0;
  }

  std::pair<size_t, size_t> block(size_t i) const { return {i * kSampleBlock, std::min(count_, (i + 1) * kSampleBlock)}; }

  int32_t most_preferred() const {
    auto [id, end] = block(static_cast<size_t>(std::ranges::find(maxima_, largest_) - maxima_.begin()));
    while (id + 1 < end && logits_[id] != largest_) ++id;
    return static_cast<int32_t>(id);
  }

  // The `wanted` most preferred tokens in order; fewer when there are not as many.
  std::vector<Candidate> most_preferred(size_t wanted) const {
    float bound = kLowest;  // the wanted-th largest maximum: at least `wanted` logits reach it
    if (wanted <= maxima_.size()) {
      std::vector<float> maxima = maxima_;
      std::nth_element(maxima.begin(), maxima.begin() + static_cast<std::ptrdiff_t>(wanted - 1), maxima.end(), std::greater<>());
      bound = maxima[wanted - 1];
    }
    std::vector<Candidate> found;
    for (size_t b = 0; b < maxima_.size(); ++b) {
      if (maxima_[b] < bound) continue;
      const auto [begin, end] = block(b);
      for (size_t i = begin; i < end; ++i) {
        if (logits_[i] >= bound && logits_[i] != kLowest) found.push_back({logits_[i], static_cast<int32_t>(i)});
      }
    }
    const size_t kept = std::min(wanted, found.size());
    std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(kept), found.end());
    found.resize(kept);
    return found;
  }

  int32_t draw_by_weight() {
    inverse_temperature_ = 1.F / row_.temperature;
    const auto top_k = static_cast<size_t>(std::max(row_.top_k, 0));
    if (top_k > 0 && top_k <= kMaxCandidates) return draw_among(most_preferred(top_k));
    Cut cut;
    if (top_k > 0 && top_k < count_) cut = search([](float) { return 1.0; }, cut, static_cast<double>(top_k), 0);
    if (row_.top_p < 1) {
      // What top_p leaves out weighs at most (1 - top_p) of the sum, so tokens below a count-th of that are all left out.
      const double sum = sum_kept(cut), out = (1 - static_cast<double>(row_.top_p)) * sum;
      const auto least = static_cast<float>(0.999 * out / static_cast<double>(count_));
      cut = search([](float w) { return static_cast<double>(w); }, cut, static_cast<double>(row_.top_p) * sum, least);
    }
    return race(cut);
  }

  // Short way: candidates in order of preference.
  int32_t draw_among(std::vector<Candidate> candidates) const {
    std::vector<float> weights(candidates.size());
    double sum = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      weights[i] = sample_weight(candidates[i].logit, largest_, inverse_temperature_);
      sum += static_cast<double>(weights[i]);
    }
    const double target = static_cast<double>(row_.top_p) * sum;
    double mass = 0, best = std::numeric_limits<double>::infinity();
    int32_t winner = candidates.front().id;
    for (size_t i = 0; i < candidates.size() && (i == 0 || row_.top_p >= 1 || mass < target); ++i) {
      mass += static_cast<double>(weights[i]);
      if (weights[i] >= row_.min_p)
        enter(candidates[i].id, weights[i], sample_word(row_.seed, row_.position, candidates[i].id), best, winner);
    }
    return winner;
  }

  static void enter(int32_t token, float weight, uint32_t word, double& best, int32_t& winner) {
    const double time = exponential(word) / static_cast<double>(weight);
    if (time < best || (time == best && token < winner)) best = time, winner = token;
  }

  // visit(begin, end, weights) for each block that has a key of at least `least_key` and a weight of at least `least_weight`.
  template <class Visit>
  void each_block(uint32_t least_key, float least_weight, Visit&& visit) const {
    float weights[kSampleBlock];
    for (size_t b = 0; b < maxima_.size(); ++b) {
      if (order_key(maxima_[b]) < least_key || sample_weight(maxima_[b], largest_, inverse_temperature_) < least_weight) continue;
      const auto [begin, end] = block(b);
      loops_.weights(logits_ + begin, end - begin, largest_, inverse_temperature_, weights);
      visit(begin, end, static_cast<const float*>(weights));
    }
  }

  double sum_kept(const Cut& cut) const {
    if (cut.key == 0) return loops_.sum_weights(logits_, count_, largest_, inverse_temperature_);
    double sum = 0;
    each_block(cut.key, 0, [&](size_t begin, size_t end, const float* weights) {
      for (size_t i = begin; i < end; ++i) {
        if (cut.keeps(order_key(logits_[i]), static_cast<int32_t>(i))) sum += static_cast<double>(weights[i - begin]);
      }
    });
    return sum;
  }

  // The smallest cut within `outer` whose tokens' shares reach `target`, by the digits of the order key: 11, 11 and 10 bits, then by id.
  // Tokens below `least_weight` are known to be beyond it.
  template <class Share>  // share(weight)
  Cut search(const Share& share, const Cut& outer, double target, float least_weight) const {
    constexpr int kShifts[] = {21, 10, 0};
    constexpr size_t kBins = 2048;
    std::vector<double> bins(kBins);
    uint32_t prefix = 0;  // of the key, down to the last shift
    int known_shift = 32;
    double above = 0;  // shares of tokens with larger keys
    for (const int shift : kShifts) {
      std::ranges::fill(bins, 0.0);
      const uint32_t mask = (uint32_t{1} << (known_shift - shift)) - 1;
      each_block(known_shift < 32 ? prefix << known_shift : 0, least_weight, [&](size_t begin, size_t end, const float* weights) {
        size_t matching[kSampleBlock];  // listed without a branch, which would be mispredicted at every other token
        size_t num_matching = 0;
        for (size_t i = begin; i < end; ++i) {
          matching[num_matching] = i;
          const bool in_prefix = uint64_t{order_key(logits_[i])} >> known_shift == prefix;
          num_matching += static_cast<size_t>(in_prefix & (weights[i - begin] >= least_weight));
        }
        for (size_t m = 0; m < num_matching; ++m) {
          const size_t i = matching[m];
          const uint32_t key = order_key(logits_[i]);
          if (outer.keeps(key, static_cast<int32_t>(i))) bins[key >> shift & mask] += share(weights[i - begin]);
        }
      });
      size_t bin = mask;
      size_t lowest = mask;  // the last bin that holds anything, should rounding keep the target out of reach
      double reached = above;
      for (;; --bin) {
        if (bins[bin] > 0) {
          lowest = bin;
          if (reached + bins[bin] >= target) break;
          reached += bins[bin];
        }
        if (bin == 0) {
          bin = lowest;
          reached -= bins[bin];
          break;
        }
      }
      above = reached;
      prefix = known_shift < 32 ? prefix << (known_shift - shift) | static_cast<uint32_t>(bin) : static_cast<uint32_t>(bin);
      known_shift = shift;
    }
    Cut cut{prefix, std::numeric_limits<int32_t>::max()};
    for (size_t i = 0; i < count_; ++i) {
      if (order_key(logits_[i]) != prefix || !outer.keeps(prefix, static_cast<int32_t>(i))) continue;
      cut.id = static_cast<int32_t>(i);
      above += share(sample_weight(logits_[i], largest_, inverse_temperature_));
      if (above >= target) break;
    }
    return cut;
  }

  int32_t race(const Cut& cut) const {
    int32_t winner = most_preferred();
    double best = exponential(sample_word(row_.seed, row_.position, winner));  // its weight is 1
    float weights[kSampleBlock];
    uint32_t words[kSampleBlock];
    for (size_t b = 0; b < maxima_.size(); ++b) {
      // An exponential variable is at least its word's number, so at least half of 2^-32.
      const float most = sample_weight(maxima_[b], largest_, inverse_temperature_);
      if (most < row_.min_p || 0x1p-33 >= best * static_cast<double>(most) || order_key(maxima_[b]) < cut.key) continue;
      const auto [begin, end] = block(b);
      loops_.weights(logits_ + begin, end - begin, largest_, inverse_temperature_, weights);
      loops_.words(row_.seed, static_cast<uint32_t>(row_.position), static_cast<uint32_t>(begin), words);
      for (size_t i = begin; i < end; ++i) {
        const float weight = weights[i - begin];
        if (unit_interval(words[i - begin]) >= best * static_cast<double>(weight)) continue;
        if (weight < row_.min_p || !cut.keeps(order_key(logits_[i]), static_cast<int32_t>(i))) continue;
        enter(static_cast<int32_t>(i), weight, words[i - begin], best, winner);
      }
    }
    return winner;
  }

  const SampleArgs& args_;
  const SampleRow& row_;
  const SampleLoops& loops_;
  float* logits_;
  size_t count_;
  std::vector<float> maxima_;  // of blocks of 64
  float largest_ = 0, inverse_temperature_ = 1, log_sum_ = 0;
  std::vector<Candidate> originals_;
};

}  // namespace

void sample_rows(const SampleArgs& args, Stream& stream, const SampleLoops& loops) {
  const auto sample = [&](size_t begin, size_t end) {
    for (size_t row = begin; row < end; ++row) args.token_ids[row] = Row(args, row, loops).draw(row);
  };
  if (args.logits.rows() == 1) return sample(0, 1);
  stream.pool->parallel_for(args.logits.rows(), 1, sample);
}

}  // namespace quern::cpu
