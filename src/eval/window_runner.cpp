#include "eval/window_runner.h"

#include <algorithm>
#include <numeric>

#include "base/thread_pool.h"
#include "engine/engine_loader.h"

namespace quern {
namespace {

constexpr size_t kCpuStep = 512, kGpuStep = 2048;

}  // namespace

std::vector<WindowStep> cut_steps(const EvalText& text, size_t max_tokens) {
  std::vector<WindowStep> steps;
  size_t tokens = max_tokens;  // of the last step; full, so that the first window opens one
  for (size_t i = 0; i < text.windows.size(); ++i) {
    const TokenWindow& window = text.windows[i];
    const size_t length = window.end - window.begin - 1;  // the last token predicts nothing that counts
    const size_t first_row = window.first_target - window.begin - 1;
    for (size_t begin = 0; begin < length;) {
      const size_t end = std::min(length, begin + max_tokens), part = end - begin;
      if (tokens + part > max_tokens || part == 1) {  // a step begins with its sequences of one token
        steps.emplace_back();
        tokens = 0;
      }
      WindowStep& step = steps.back();
      const size_t first = std::clamp(first_row, begin, end);
      step.parts.push_back({i, begin, end, end - first});
      for (size_t row = first; row < end; ++row) step.rows.push_back({i, window.begin + row + 1});
      tokens += part;
      begin = end;
    }
  }
  return steps;
}

WindowRunner::WindowRunner(const std::shared_ptr<EngineFile>& file, Backend& backend, const EvalText& text,
                           const WindowRunnerOptions& options)
    : text_(text) {
  TransformerLimits limits{.max_batch_tokens = options.step_tokens,
                           .max_context = 1,
                           .kv_format = kv_format_for(file->tensors(), {.kv_format = options.kv_format})};
  if (limits.max_batch_tokens == 0) limits.max_batch_tokens = backend.info().device.kind == Device::Kind::cpu ? kCpuStep : kGpuStep;
  steps_ = cut_steps(text, limits.max_batch_tokens);
  limits.max_sequences = limits.max_logit_rows = 1;
  for (const WindowStep& step : steps_) {
    limits.max_sequences = std::max(limits.max_sequences, step.parts.size());
    limits.max_logit_rows = std::max(limits.max_logit_rows, step.rows.size());
    for (const WindowStep::Part& part : step.parts) limits.max_context = std::max(limits.max_context, part.end);
  }
  const size_t vocab_size = ModelConfig::from_json(file->metadata().model, file->path()).vocab_size;
  model_ = std::make_unique<Transformer>(file, backend, limits, vocab_size);
  blocks_each_ = (limits.max_context + limits.block_tokens - 1) / limits.block_tokens;
  cache_ = std::make_unique<KvCache>(model_->config(), backend, blocks_each_ * limits.max_sequences, limits.block_tokens, limits.kv_format);
  model_->keep_logits(true);
}

std::span<const float> WindowRunner::run(size_t i) {
  const WindowStep& step = steps_[i];
  std::vector<std::vector<TokenId>> ids;
  std::vector<std::vector<uint32_t>> blocks;
  for (const WindowStep::Part& part : step.parts) {
    std::vector<uint32_t>& own = blocks.emplace_back(blocks_each_);
    std::iota(own.begin(), own.end(), static_cast<uint32_t>(ids.size() * blocks_each_));
    ids.push_back(text_.window_ids(text_.windows[part.window]));
  }
  ForwardBatch batch;
  for (size_t p = 0; p < step.parts.size(); ++p) {
    const WindowStep::Part& part = step.parts[p];
    batch.sequences.push_back({.token_ids = std::span(ids[p]).subspan(part.begin, part.end - part.begin),
                               .first_position = static_cast<int32_t>(part.begin),
                               .blocks = blocks[p],
                               .rope_variant = model_->rope_variant(ids[p].size()),
                               .wants_logits = part.num_logits > 0,
                               .logit_tokens = static_cast<int32_t>(std::max<size_t>(part.num_logits, 1))});
  }
  model_->forward(batch, *cache_);
  const std::vector<float>& logits = model_->kept_logits();
  CHECK(logits.size() == step.rows.size() * vocab_size(), "{} logits of {} rows", logits.size(), step.rows.size());
  return logits;
}

void for_each_row(Backend& backend, size_t num_rows, const std::function<void(size_t row)>& work) {
  backend.runtime().stream().pool->parallel_for(num_rows, 1, [&](size_t begin, size_t end) {
    for (size_t row = begin; row < end; ++row) work(row);
  });
}

}  // namespace quern
