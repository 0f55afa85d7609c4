// Sampling of one step: what rows need beyond their SampleRow goes up, drawn ids come back. Runs after the layers, outside of captured
// steps, since its tables grow with the requests. Owned by Transformer, used on the engine thread.
#pragma once
#include <vector>

#include "backend/backend.h"
#include "models/forward_batch.h"

namespace quern {

class SampleStep {
 public:
  // At most `max_rows` rows; ids from `num_tokens` on are never drawn.
  SampleStep(Backend& backend, size_t max_rows, size_t vocab_size, size_t num_tokens);

  // Draws from `logits` [rows to sample, vocab_size]; `rows` are the batch's sample rows on the device. Waits for the device.
  std::vector<SampledRow> draw(const ForwardBatch& batch, const Tensor& logits, const SampleRow* rows);

  size_t bytes() const { return tables_.bytes() + drawn_.bytes(); }
  static size_t bytes_for(size_t max_rows);  // as long as no tables are needed

 private:
  void upload_tables(const ForwardBatch& batch, SampleArgs& args);

  Backend& backend_;
  size_t max_rows_, vocab_size_, num_tokens_;
  Storage tables_;                  // counts, biases, allowed: grows to the largest batch so far
  std::vector<std::byte> staging_;  // the same on the host
  Storage drawn_;                   // ids, logprobs, top ids, top logprobs
  std::vector<std::byte> drawn_host_;
};

}  // namespace quern
