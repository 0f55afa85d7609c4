// The integers of one step on the device, at fixed places: a ForwardBatch flattened, checked and uploaded in one copy.
// Owned by Transformer, used on the engine thread.
#pragma once
#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "models/forward_batch.h"
#include "models/kv_cache.h"

namespace quern {

struct StepLimits {
  size_t rows, sequences, logit_rows;  // padded ones included
  size_t context, block_tokens;
  size_t vocab_size, rope_variants;
};

class StepInput {
 public:
  StepInput(Backend& backend, const StepLimits& limits);

  // Flattens `batch`, followed by decode rows on the cache's scratch block up to `padded_sequences` sequences (each with a logits row
  // when the batch's sequences have one), and uploads it. The view is valid until the next call. A batch beyond the limits or at odds
  // with itself is a broken invariant.
  BatchView upload(const ForwardBatch& batch, const KvCache& cache, size_t padded_sequences);

  const SampleRow* sample_rows() const { return reinterpret_cast<const SampleRow*>(device_.data()); }
  size_t bytes() const { return device_.bytes(); }
  static size_t bytes_for(const StepLimits& limits) { return places_for(limits).end * sizeof(int32_t); }

 private:
  struct Places {  // of each array, in 32-bit words from the start
    size_t token_ids, positions, slots, rope_variants, query_start, context_lengths, logit_rows, block_tables, end;
  };
  static Places places_for(const StepLimits& limits);

  void check(const ForwardBatch::Sequence& sequence, const KvCache& cache) const;
  void append(const ForwardBatch::Sequence& sequence, const KvCache& cache);

  Backend& backend_;
  StepLimits limits_;
  size_t table_stride_;  // blocks a row of block_tables
  Places places_;
  Storage device_;  // first: the device says clearly when there is no room
  std::vector<int32_t> words_;
  BatchView view_;  // counts so far
};

}  // namespace quern
