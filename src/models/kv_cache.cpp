#include "models/kv_cache.h"

#include "base/checked.h"

namespace quern {
namespace {

// K, or V, of one block in one layer: [num_kv_heads, block_tokens, head_dim].
Checked half_block_bytes(const ModelConfig& config, size_t block_tokens, Format format) {
  return Checked(config.num_kv_heads) * block_tokens * row_bytes(format, config.head_dim);
}

}  // namespace

KvCache::KvCache(const ModelConfig& config, Backend& backend, size_t num_blocks, size_t block_tokens, Format format)
    : backend_(&backend),
      num_blocks_(num_blocks),
      block_tokens_(block_tokens),
      num_kv_heads_(config.num_kv_heads),
      head_dim_(config.head_dim),
      num_layers_(config.num_layers),
      format_(format) {
  require_format(format, backend.info());
  CHECK(block_tokens > 0, "blocks of no tokens");
  constexpr uint64_t kMostSlots = INT32_MAX;  // kernels count slots in 32 bits
  const uint64_t slots = ((Checked(num_blocks) + 1) * block_tokens).or_throw("KV cache: {} blocks of {} tokens", num_blocks, block_tokens);
  if (slots > kMostSlots) {
    raise(resource, "KV cache: want at most {} tokens, found {} blocks of {}", kMostSlots, num_blocks, block_tokens);
  }
  half_bytes_ = ((Checked(num_blocks) + 1) * half_block_bytes(config, block_tokens, format)).or_throw("KV cache: {} blocks", num_blocks);
  // One piece for all layers: the CPU has large pages for it, where a layer of a short context would be too small for one.
  storage_ = backend.runtime().allocate((Checked(half_bytes_) * 2 * num_layers_).or_throw("KV cache: {} blocks", num_blocks));
  clear_block(scratch_block());
}

KvView KvCache::layer(size_t i) const {
  std::byte* data = storage_.data() + i * 2 * half_bytes_;
  return {.k = data,
          .v = data + half_bytes_,
          .format = format_,
          .num_blocks = static_cast<int32_t>(num_blocks_ + 1),
          .num_kv_heads = static_cast<int32_t>(num_kv_heads_),
          .block_tokens = static_cast<int32_t>(block_tokens_),
          .head_dim = static_cast<int32_t>(head_dim_)};
}

void KvCache::clear_block(size_t block) {
  CHECK(block <= num_blocks_, "block {} of {}", block, num_blocks_);
  const size_t bytes = half_bytes_ / (num_blocks_ + 1);
  for (size_t half = 0; half < 2 * num_layers_; ++half)
    backend_->runtime().clear(storage_.data() + half * half_bytes_ + block * bytes, bytes);
}

void KvCache::require_format(Format format, const DeviceInfo& device) {
  CHECK(format == Format::f32 || format == Format::f16 || format == Format::bf16 || format == Format::i8, "KV cache in {}",
        format_name(format));
  if (format == Format::i8 && device.device.kind != Device::Kind::cpu) {
    raise(incompatible, "--kv-cache-dtype int8: want the CPU (--device cpu), found a GPU: its attention reads f32, f16 and bf16");
  }
}

size_t KvCache::bytes_per_block(const ModelConfig& config, size_t block_tokens, Format format) {
  return (half_block_bytes(config, block_tokens, format) * 2 * config.num_layers).or_throw("KV block of {} tokens", block_tokens);
}

}  // namespace quern
