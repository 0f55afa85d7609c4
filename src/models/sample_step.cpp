#include "models/sample_step.h"

#include <algorithm>
#include <cstring>

namespace quern {
namespace {

constexpr size_t kAlignment = 16;
constexpr auto kTop = static_cast<size_t>(kMaxLogprobs);

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

template <class T>
size_t bytes_of(const std::vector<T>& values) {
  return values.size() * sizeof(T);
}

}  // namespace

SampleStep::SampleStep(Backend& backend, size_t max_rows, size_t vocab_size, size_t num_tokens)
    : backend_(backend),
      max_rows_(max_rows),
      vocab_size_(vocab_size),
      num_tokens_(num_tokens),
      drawn_(backend.runtime().allocate(bytes_for(max_rows))),
      drawn_host_(drawn_.bytes()) {
  backend.require(SampleArgs{.logits = Tensor{.shape = {max_rows, vocab_size}, .device = backend.info().device},
                             .num_tokens = static_cast<int32_t>(num_tokens)});
}

size_t SampleStep::bytes_for(size_t max_rows) { return max_rows * (2 + 2 * kTop) * sizeof(int32_t); }

void SampleStep::upload_tables(const ForwardBatch& batch, SampleArgs& args) {
  CHECK(batch.allowed.size() % ((vocab_size_ + 31) / 32) == 0, "{} words of masks", batch.allowed.size());
  const size_t biases = aligned(bytes_of(batch.counts)), allowed = biases + aligned(bytes_of(batch.biases));
  const size_t end = allowed + bytes_of(batch.allowed);
  if (end == 0) return;
  if (end > tables_.bytes()) {
    tables_ = Storage();
    tables_ = backend_.runtime().allocate(std::max(end, staging_.size() * 2));
    staging_.resize(tables_.bytes());
  }
  const auto copy = [&](size_t at, const auto& values) {
    if (!values.empty()) std::memcpy(staging_.data() + at, values.data(), bytes_of(values));
  };
  copy(0, batch.counts);
  copy(biases, batch.biases);
  copy(allowed, batch.allowed);
  backend_.runtime().upload(tables_.data(), staging_.data(), end);
  args.counts = reinterpret_cast<const TokenCount*>(tables_.data());
  args.biases = reinterpret_cast<const TokenBias*>(tables_.data() + biases);
  args.allowed = reinterpret_cast<const uint32_t*>(tables_.data() + allowed);
}

std::vector<SampledRow> SampleStep::draw(const ForwardBatch& batch, const Tensor& logits, const SampleRow* rows) {
  const size_t count = batch.sample_rows.size();
  if (count == 0) return {};
  CHECK(count <= max_rows_ && logits.rows() == count, "{} rows to sample of {} logits", count, logits.rows());
  SampleArgs args{.logits = logits, .num_tokens = static_cast<int32_t>(num_tokens_), .rows = rows};
  upload_tables(batch, args);
  // Ids and logprobs of all rows stand before the tops, which are fetched only when a row asks for them.
  args.token_ids = reinterpret_cast<int32_t*>(drawn_.data());
  args.logprobs = reinterpret_cast<float*>(args.token_ids + max_rows_);
  args.top_ids = args.token_ids + 2 * max_rows_;
  args.top_logprobs = reinterpret_cast<float*>(args.top_ids + max_rows_ * kTop);
  backend_.sample(args);
  const bool wants_top = std::ranges::any_of(batch.sample_rows, [](const SampleRow& row) { return row.num_logprobs > 0; });
  backend_.runtime().download(drawn_host_.data(), drawn_.data(), wants_top ? drawn_.bytes() : 2 * max_rows_ * sizeof(int32_t));

  const auto* ids = reinterpret_cast<const int32_t*>(drawn_host_.data());
  const auto* logprobs = reinterpret_cast<const float*>(ids + max_rows_);
  const int32_t* top_ids = ids + 2 * max_rows_;
  const auto* top_logprobs = reinterpret_cast<const float*>(top_ids + max_rows_ * kTop);
  std::vector<SampledRow> sampled(count);
  for (size_t r = 0; r < count; ++r) {
    sampled[r] = {.token_id = ids[r], .logprob = logprobs[r], .top = {}};
    const int32_t wanted = ids[r] < 0 ? 0 : std::min(batch.sample_rows[r].num_logprobs, kMaxLogprobs);
    for (int32_t i = 0; i < wanted; ++i) sampled[r].top.emplace_back(top_ids[r * kTop + i], top_logprobs[r * kTop + i]);
  }
  return sampled;
}

}  // namespace quern
