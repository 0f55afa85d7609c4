#include "models/step_input.h"

#include <algorithm>
#include <cstring>

namespace quern {
namespace {

constexpr size_t kWord = sizeof(int32_t);
static_assert(sizeof(SampleRow) % kWord == 0);

}  // namespace

StepInput::Places StepInput::places_for(const StepLimits& limits) {
  Places p{};
  size_t next = limits.logit_rows * sizeof(SampleRow) / kWord;  // sample rows come first: they want 8-byte alignment
  const auto place = [&](size_t count) {
    const size_t at = next;
    next += count;
    return at;
  };
  p.token_ids = place(limits.rows);
  p.positions = place(limits.rows);
  p.slots = place(limits.rows);
  p.rope_variants = place(limits.rows);
  p.query_start = place(limits.sequences + 1);
  p.context_lengths = place(limits.sequences);
  p.logit_rows = place(limits.logit_rows);
  p.block_tables = next;  // last, so that unused rows need no copy
  p.end = next + limits.sequences * ((limits.context + limits.block_tokens - 1) / limits.block_tokens);
  return p;
}

StepInput::StepInput(Backend& backend, const StepLimits& limits)
    : backend_(backend),
      limits_(limits),
      table_stride_((limits.context + limits.block_tokens - 1) / limits.block_tokens),
      places_(places_for(limits)),
      device_(backend.runtime().allocate(places_.end * kWord)),
      words_(places_.end, 0) {}

void StepInput::check(const ForwardBatch::Sequence& s, const KvCache& cache) const {
  const size_t tokens = s.token_ids.size();
  CHECK(tokens > 0 && tokens <= limits_.rows - static_cast<size_t>(view_.num_tokens), "{} tokens after {} of {}", tokens, view_.num_tokens,
        limits_.rows);
  CHECK(static_cast<size_t>(view_.num_sequences) < limits_.sequences, "more than {} sequences", limits_.sequences);
  CHECK(s.first_position >= 0 && tokens <= limits_.context && static_cast<size_t>(s.first_position) <= limits_.context - tokens,
        "{} tokens at position {} of {}", tokens, s.first_position, limits_.context);
  const size_t end = static_cast<size_t>(s.first_position) + tokens;
  CHECK(s.blocks.size() >= (end + limits_.block_tokens - 1) / limits_.block_tokens, "{} blocks for {} tokens", s.blocks.size(), end);
  CHECK(std::ranges::all_of(s.blocks, [&](uint32_t block) { return block <= cache.num_blocks(); }), "a block beyond {}",
        cache.num_blocks());
  CHECK(s.rope_variant >= 0 && static_cast<size_t>(s.rope_variant) < limits_.rope_variants, "rope variant {} of {}", s.rope_variant,
        limits_.rope_variants);
  for (const int32_t id : s.token_ids)
    CHECK(id >= 0 && static_cast<size_t>(id) < limits_.vocab_size, "token {} of {}", id, limits_.vocab_size);
}

void StepInput::append(const ForwardBatch::Sequence& s, const KvCache& cache) {
  check(s, cache);
  const auto block_tokens = static_cast<int32_t>(limits_.block_tokens);
  const auto tokens = static_cast<int32_t>(s.token_ids.size());
  int32_t* words = words_.data();
  for (int32_t i = 0; i < tokens; ++i) {
    const int32_t position = s.first_position + i, row = view_.num_tokens + i;
    words[places_.token_ids + row] = s.token_ids[i];
    words[places_.positions + row] = position;
    words[places_.slots + row] = static_cast<int32_t>(s.blocks[position / block_tokens]) * block_tokens + position % block_tokens;
    words[places_.rope_variants + row] = s.rope_variant;
  }
  const size_t used_blocks = static_cast<size_t>(s.first_position + tokens + block_tokens - 1) / limits_.block_tokens;
  int32_t* table = words + places_.block_tables + static_cast<size_t>(view_.num_sequences) * table_stride_;
  for (size_t i = 0; i < used_blocks; ++i) table[i] = static_cast<int32_t>(s.blocks[i]);
  words[places_.context_lengths + view_.num_sequences] = s.first_position + tokens;
  words[places_.query_start + view_.num_sequences] = view_.num_tokens;
  if (s.wants_logits) {
    CHECK(s.logit_tokens >= 1 && s.logit_tokens <= tokens, "logits of {} tokens of {}", s.logit_tokens, tokens);
    CHECK(static_cast<size_t>(s.logit_tokens) <= limits_.logit_rows - static_cast<size_t>(view_.num_sample_rows),
          "more than {} rows of logits", limits_.logit_rows);
    for (int32_t i = tokens - s.logit_tokens; i < tokens; ++i) words[places_.logit_rows + view_.num_sample_rows++] = view_.num_tokens + i;
  }
  view_.num_tokens += tokens;
  view_.num_sequences += 1;
  words[places_.query_start + view_.num_sequences] = view_.num_tokens;
  view_.max_query_tokens = std::max(view_.max_query_tokens, tokens);
  view_.max_context = std::max(view_.max_context, s.first_position + tokens);
  if (tokens == 1) {
    CHECK(view_.num_decode == view_.num_sequences - 1, "a decode row after a prompt chunk");
    view_.num_decode += 1;
  }
}

BatchView StepInput::upload(const ForwardBatch& batch, const KvCache& cache, size_t padded_sequences) {
  CHECK(!batch.sequences.empty(), "a step without sequences");
  CHECK(cache.block_tokens() == limits_.block_tokens, "blocks of {} tokens, want {}", cache.block_tokens(), limits_.block_tokens);
  view_ = BatchView{};
  view_.block_table_stride = static_cast<int32_t>(table_stride_);
  for (const ForwardBatch::Sequence& sequence : batch.sequences) append(sequence, cache);
  const auto wanted_rows = static_cast<size_t>(view_.num_sample_rows);
  CHECK(batch.sample_rows.empty() || batch.sample_rows.size() == wanted_rows, "{} rows to sample, {} want logits", batch.sample_rows.size(),
        wanted_rows);
  for (const SampleRow& row : batch.sample_rows) {
    CHECK(0 <= row.counts_begin && row.counts_begin <= row.counts_end && static_cast<size_t>(row.counts_end) <= batch.counts.size(),
          "counts");
    CHECK(0 <= row.biases_begin && row.biases_begin <= row.biases_end && static_cast<size_t>(row.biases_end) <= batch.biases.size(),
          "biases");
  }
  if (!batch.sample_rows.empty()) std::memcpy(words_.data(), batch.sample_rows.data(), batch.sample_rows.size() * sizeof(SampleRow));
  static constexpr int32_t kPaddingToken[] = {0};
  const uint32_t scratch[] = {static_cast<uint32_t>(cache.scratch_block())};
  while (static_cast<size_t>(view_.num_sequences) < padded_sequences) {
    append({.token_ids = kPaddingToken, .first_position = 0, .blocks = scratch, .wants_logits = wanted_rows != 0}, cache);
  }
  const size_t used = places_.block_tables + static_cast<size_t>(view_.num_sequences) * table_stride_;
  backend_.runtime().upload(device_.data(), words_.data(), used * kWord);
  const auto* words = reinterpret_cast<const int32_t*>(device_.data());
  view_.token_ids = words + places_.token_ids;
  view_.positions = words + places_.positions;
  view_.slots = words + places_.slots;
  view_.rope_variants = words + places_.rope_variants;
  view_.query_start = words + places_.query_start;
  view_.context_lengths = words + places_.context_lengths;
  view_.block_tables = words + places_.block_tables;
  view_.sample_rows = words + places_.logit_rows;
  return view_;
}

}  // namespace quern
