// sample against a plain implementation that sorts: the same tokens, and logprobs within f32 rounding of a log-sum-exp.
#include <algorithm>
#include <limits>
#include <numeric>

#include "backend/cuda/conformance_test.h"
#include "backend/ops/sample_random.h"

namespace quern::cuda_test {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

struct Drawn {
  int32_t id;
  double logprob;
  std::vector<int32_t> top;
};

Drawn reference(const std::vector<float>& logits, const SampleRow& row, const std::vector<TokenCount>& counts,
                const std::vector<TokenBias>& biases, const std::vector<uint32_t>& allowed, size_t words) {
  if (std::ranges::any_of(logits, [](float x) { return !std::isfinite(x); })) return {-1, 0, {}};
  const auto before = [](const std::vector<float>& l) { return [&l](int32_t a, int32_t b) { return l[a] != l[b] ? l[a] > l[b] : a < b; }; };
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit});
  Drawn drawn{-1, std::log(sum), {}};
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::ranges::sort(ids, before(logits));
  for (int32_t i = 0; i < row.num_logprobs; ++i) drawn.top.push_back(ids[static_cast<size_t>(i)]);
  std::vector<float> l = logits;
  for (int32_t i = row.biases_begin; i < row.biases_end; ++i) l[biases[i].token] += biases[i].bias;
  for (size_t i = 0; row.allowed_row >= 0 && i < l.size(); ++i) {
    if ((allowed[static_cast<size_t>(row.allowed_row) * words + i / 32] >> (i % 32) & 1) == 0) l[i] = kBanned;
  }
  for (int32_t i = row.counts_begin; i < row.counts_end; ++i) {
    float& logit = l[counts[i].token];
    if (counts[i].in_prompt > 0 || counts[i].in_output > 0) {
      logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
    }
    if (counts[i].in_output > 0) logit -= row.presence_penalty + row.frequency_penalty * static_cast<float>(counts[i].in_output);
  }
  std::erase_if(ids, [&](int32_t id) { return l[id] == kBanned; });
  std::ranges::sort(ids, before(l));
  if (ids.empty()) return drawn;
  drawn.id = ids[0];
  if (row.temperature > 0) {
    if (row.top_k > 0) ids.resize(std::min(ids.size(), static_cast<size_t>(row.top_k)));
    const float largest = l[ids[0]], inverse = 1.F / row.temperature;
    double mass = 0, total = 0, best = std::numeric_limits<double>::infinity();
    for (const int32_t id : ids) total += static_cast<double>(sample_weight(l[id], largest, inverse));
    for (size_t i = 0; i < ids.size() && (i == 0 || row.top_p >= 1 || mass < static_cast<double>(row.top_p) * total); ++i) {
      const float weight = sample_weight(l[ids[i]], largest, inverse);
      mass += static_cast<double>(weight);
      if (weight < row.min_p || weight == 0) continue;
      const double time = exponential(sample_word(row.seed, row.position, ids[i])) / static_cast<double>(weight);
      if (time < best || (time == best && ids[i] < drawn.id)) best = time, drawn.id = ids[i];
    }
  }
  drawn.logprob = double{logits[drawn.id]} - drawn.logprob;
  return drawn;
}

}  // namespace

void test_sample(TestDevice& device) {
  Rng rng(10);
  for (const size_t vocab : {131, 1000, 151936}) {
    const size_t count = vocab - vocab / 50, words = (vocab + 31) / 32, num_rows = device.is_small() ? 24 : 96;
    HostTensor logits = random_tensor({num_rows, vocab}, Format::f32, rng, 3);
    auto* values = reinterpret_cast<float*>(logits.bytes.data());
    std::vector<SampleRow> rows(num_rows);
    std::vector<TokenCount> counts;
    std::vector<TokenBias> biases;
    std::vector<uint32_t> allowed(2 * words);
    for (uint32_t& word : allowed) word = static_cast<uint32_t>(rng.bits());
    for (size_t r = 0; r < num_rows; ++r) {
      SampleRow& row = rows[r];
      row.temperature = r % 4 == 0 ? 0.F : 0.5F + static_cast<float>(r % 3);
      row.top_k = r % 5 == 1 ? 20 : r % 5 == 2 ? 400 : 0;
      row.top_p = r % 3 == 0 ? 0.8F : 1.F;
      row.min_p = r % 7 == 3 ? 0.05F : 0.F;
      row.seed = rng.bits();
      row.position = static_cast<int32_t>(rng.below(1000));
      row.num_logprobs = r % 3 == 1 ? static_cast<int32_t>(r % 6) : -1;
      row.counts_begin = static_cast<int32_t>(counts.size());
      row.biases_begin = static_cast<int32_t>(biases.size());
      if (r % 4 >= 2) {
        row.repetition_penalty = 1.3F, row.presence_penalty = 0.5F, row.frequency_penalty = 0.25F;
        for (int32_t i = 0; i < 9; ++i) counts.push_back({static_cast<int32_t>(rng.below(13)) + 13 * i, i % 2, i % 3});
        for (int32_t i = 0; i < 5; ++i) biases.push_back({i * 7 + 3, i % 2 == 0 ? kBanned : 4.F});
      }
      row.counts_end = static_cast<int32_t>(counts.size());
      row.biases_end = static_cast<int32_t>(biases.size());
      if (r % 6 == 5) row.allowed_row = static_cast<int32_t>(r % 2);
      for (size_t i = 0; r % 8 == 7 && i < vocab; ++i) values[r * vocab + i] = std::round(values[r * vocab + i]);  // many equal logits
    }
    values[3 * vocab + 17] = std::numeric_limits<float>::quiet_NaN();
    values[4 * vocab + 18] = std::numeric_limits<float>::infinity();
    values[5 * vocab + count] = std::numeric_limits<float>::quiet_NaN();  // padding
    const Tensor ids = device.allocate({num_rows}, Format::f32), logprobs = device.allocate({num_rows}, Format::f32);
    const Tensor top_ids = device.allocate({num_rows, kMaxLogprobs}, Format::f32),
                 top_logprobs = device.allocate({num_rows, kMaxLogprobs}, Format::f32);
    const SampleArgs args = {device.upload(logits),
                             static_cast<int32_t>(count),
                             device.upload(rows),
                             device.upload(counts),
                             device.upload(biases),
                             device.upload(allowed),
                             reinterpret_cast<int32_t*>(ids.data),
                             reinterpret_cast<float*>(logprobs.data),
                             reinterpret_cast<int32_t*>(top_ids.data),
                             reinterpret_cast<float*>(top_logprobs.data)};
    for (const KernelRow<SampleArgs>& kernel : device.tables().sample) {
      device.run(kernel, args);
      const auto got = device.download(args.token_ids, num_rows);
      const auto top = device.download(args.top_ids, num_rows * kMaxLogprobs);
      const std::vector<float> got_logprobs = device.download(logprobs);
      for (size_t r = 0; r < num_rows; ++r) {
        const std::vector<float> row(values + r * vocab, values + r * vocab + count);
        const Drawn want = reference(row, rows[r], counts, biases, allowed, words);
        const std::string what = fmt::format("{} vocab {} row {} temperature {} top_k {} top_p {}", kernel.name, vocab, r,
                                             rows[r].temperature, rows[r].top_k, rows[r].top_p);
        expect(got[r] == want.id, fmt::format("{}: want {}, found {}", what, want.id, got[r]));
        if (want.id < 0 || got[r] != want.id || rows[r].num_logprobs < 0) continue;
        expect(std::abs(static_cast<double>(got_logprobs[r]) - want.logprob) < 1e-5 * (1 + std::abs(want.logprob)),
               fmt::format("{}: logprob {} for {}", what, got_logprobs[r], want.logprob));
        for (size_t i = 0; i < want.top.size(); ++i)
          expect(top[r * kMaxLogprobs + i] == want.top[i],
                 fmt::format("{}: top {}: want {}, found {}", what, i, want.top[i], top[r * kMaxLogprobs + i]));
      }
    }
    device.clear();
  }
}

}  // namespace quern::cuda_test
