// What the engine asks of a model: run one step, name a prompt's rope table, clear a block. Owned by Engine, used on its thread.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "models/forward_batch.h"
#include "models/kv_cache.h"
#include "models/transformer.h"

namespace quern {

class ModelRunner {
 public:
  virtual ~ModelRunner() = default;
  virtual size_t num_blocks() const = 0;
  virtual size_t block_tokens() const = 0;
  // Rows of logits of one step; at least one a sequence.
  virtual size_t max_logit_rows() const = 0;
  virtual int32_t rope_variant(size_t prompt_tokens) const = 0;
  // One result a row of batch.sample_rows, in order.
  virtual std::vector<SampledRow> forward(const ForwardBatch& batch) = 0;
  virtual void clear_block(size_t block) = 0;
};

// A Transformer and its KvCache.
class TransformerRunner : public ModelRunner {
 public:
  TransformerRunner(std::unique_ptr<Transformer> transformer, std::unique_ptr<KvCache> cache)
      : transformer_(std::move(transformer)), cache_(std::move(cache)) {}
  size_t num_blocks() const override { return cache_->num_blocks(); }
  size_t block_tokens() const override { return cache_->block_tokens(); }
  size_t max_logit_rows() const override { return transformer_->limits().max_logit_rows; }
  int32_t rope_variant(size_t prompt_tokens) const override { return transformer_->rope_variant(prompt_tokens); }
  std::vector<SampledRow> forward(const ForwardBatch& batch) override { return transformer_->forward(batch, *cache_); }
  void clear_block(size_t block) override { cache_->clear_block(block); }
  Transformer& transformer() { return *transformer_; }

 private:
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<KvCache> cache_;
};

}  // namespace quern
