// The paged device memory of keys and values, and its layout. Knows nothing of sequences; BlockPool says who holds which block.
#pragma once

#include "backend/backend.h"
#include "models/model_config.h"

namespace quern {

class KvCache {
 public:
  // `num_blocks` blocks of `block_tokens` tokens for every layer, in `format` (f32, f16, bf16, and i8 on the CPU). One block more is kept
  // for padded rows.
  KvCache(const ModelConfig& config, Backend& backend, size_t num_blocks, size_t block_tokens, Format format);

  KvView layer(size_t i) const;
  size_t num_blocks() const { return num_blocks_; }
  size_t block_tokens() const { return block_tokens_; }
  size_t scratch_block() const { return num_blocks_; }
  Format format() const { return format_; }
  void clear_block(size_t block);  // zeros, in every layer

  // Throws incompatible when the device has no attention over such a cache.
  static void require_format(Format format, const DeviceInfo& device);
  static size_t bytes_per_block(const ModelConfig& config, size_t block_tokens, Format format);  // all layers, K and V

 private:
  Backend* backend_;
  size_t num_blocks_, block_tokens_, num_kv_heads_, head_dim_, num_layers_;
  size_t half_bytes_;  // K, or V, of one layer
  Format format_;
  Storage storage_;  // [layers][K, V][blocks]
};

}  // namespace quern
