#include "engine/engine_loader.h"

#include <algorithm>

#include "base/checked.h"
#include "base/log.h"

namespace quern {
namespace {

// Bytes that the KV cache may take. A GPU is used up to `share` of its memory, everything that others and this process hold already counted
// (free_bytes is read anew with each allocation). Of main memory it is `share` of what was free at the start and the model did not take.
uint64_t kv_room(const DeviceInfo& device, uint64_t loaded, double share) {
  if (device.device.kind == Device::Kind::cuda) {
    const auto allowed = static_cast<uint64_t>(static_cast<double>(device.memory_bytes) * share);
    const uint64_t used = device.memory_bytes - device.free_bytes;
    return allowed > used ? allowed - used : 0;
  }
  return device.free_bytes > loaded ? static_cast<uint64_t>(static_cast<double>(device.free_bytes - loaded) * share) : 0;
}

// Blocks of KV memory, and a context that they can hold.
size_t settle_kv_memory(const ModelConfig& config, const Transformer& transformer, const DeviceInfo& device, EngineOptions& options,
                        bool context_was_asked_for) {
  const uint64_t block_bytes = KvCache::bytes_per_block(config, options.block_tokens, *options.kv_format);
  const auto blocks_for = [&](uint64_t tokens) { return (tokens + options.block_tokens - 1) / options.block_tokens; };
  const uint64_t context_blocks = blocks_for(options.max_model_len);
  uint64_t blocks = 0;
  if (options.kv_cache_bytes != 0) {
    blocks = options.kv_cache_bytes / block_bytes;
  } else {
    const uint64_t loaded = transformer.weight_bytes() + transformer.activation_bytes();
    const uint64_t wanted = (Checked(context_blocks) * options.max_num_seqs).or_throw("KV cache of {} contexts", options.max_num_seqs);
    blocks = std::min(wanted, kv_room(device, loaded, options.memory_share) / block_bytes);
    if (blocks > 0 && device.device.kind == Device::Kind::cuda) blocks -= 1;  // KvCache adds its scratch block
  }
  if (blocks >= context_blocks) return blocks;
  if (blocks == 0 || context_was_asked_for) {
    raise(resource, "KV cache: a context of {} tokens needs {} bytes, {} are available", options.max_model_len,
          context_blocks * block_bytes, blocks * block_bytes);
  }
  options.max_model_len = blocks * options.block_tokens;
  log_info("the context is {} tokens: that is what fits the KV memory", options.max_model_len);
  return blocks;
}

}  // namespace

Format kv_format_for(const std::vector<EngineTensorInfo>& tensors, const EngineOptions& options) {
  if (options.kv_format) return *options.kv_format;
  const auto is_narrow = [](const EngineTensorInfo& t) { return !t.is_raw && t.shape.rank() == 2 && t.format != Format::f32; };
  return std::ranges::any_of(tensors, is_narrow) ? Format::f16 : Format::f32;
}

size_t step_tokens_for(const Device& device, const EngineOptions& options) {
  if (options.max_num_batched_tokens != 0) return options.max_num_batched_tokens;
  return std::max<size_t>(device.kind == Device::Kind::cpu ? 512 : 2048, options.max_num_seqs);
}

LoadedModel load_model(std::shared_ptr<EngineFile> file, Backend& backend, EngineOptions& options) {
  LoadedModel model;
  model.file = std::move(file);
  const std::string& path = model.file->path();
  model.tokenizer = std::make_shared<Tokenizer>(Tokenizer::unpack(model.file->tokenizer_bytes(), path));
  model.num_tokens = model.tokenizer->num_tokens();
  model.defaults = read_generation_defaults(*model.file, *model.tokenizer);
  const ModelConfig config = ModelConfig::from_json(model.file->metadata().model, fmt::format("{}: model", path));

  if (options.max_num_seqs == 0) raise(usage, "max_num_seqs: want at least 1, found 0");
  if (options.block_tokens == 0) raise(usage, "block_tokens: want at least 1, found 0");
  if (!(options.memory_share > 0 && options.memory_share <= 1)) {
    raise(usage, "memory_share: want more than 0, at most 1, found {}", options.memory_share);
  }
  if (options.max_model_len > config.max_position_embeddings) {
    raise(usage, "context: want at most the model's {} tokens, found {}", config.max_position_embeddings, options.max_model_len);
  }
  const bool context_was_asked_for = options.max_model_len != 0;
  if (!context_was_asked_for) options.max_model_len = config.max_position_embeddings;
  options.max_num_batched_tokens = step_tokens_for(backend.info().device, options);
  options.kv_format = kv_format_for(model.file->tensors(), options);

  const TransformerLimits limits{.max_batch_tokens = options.max_num_batched_tokens,
                                 .max_sequences = options.max_num_seqs,
                                 .max_context = options.max_model_len,
                                 .block_tokens = options.block_tokens,
                                 .kv_format = *options.kv_format};
  auto transformer = std::make_unique<Transformer>(model.file, backend, limits, model.num_tokens);
  const size_t blocks = settle_kv_memory(config, *transformer, backend.info(), options, context_was_asked_for);
  auto cache = std::make_unique<KvCache>(config, backend, blocks, options.block_tokens, *options.kv_format);
  model.transformer = transformer.get();
  model.runner = std::make_unique<TransformerRunner>(std::move(transformer), std::move(cache));
  return model;
}

}  // namespace quern
