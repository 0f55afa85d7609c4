// Windows of a text through a Transformer, some at a time, and the logits that predict their targets.
// One owner, on the engine thread.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "eval/windows.h"
#include "files/engine_file.h"
#include "models/transformer.h"

namespace quern {

// One forward pass: whole windows, or a part of one that is longer than a step.
struct WindowStep {
  struct Part {
    size_t window;      // index
    size_t begin, end;  // of its tokens
    size_t num_logits;  // its last so many tokens predict targets
  };
  struct Row {
    size_t window;
    size_t target;  // index of the id that the row predicts
  };
  std::vector<Part> parts;
  std::vector<Row> rows;  // of the logits, in order
};

// Steps of at most `max_tokens` tokens over all windows of `text`.
std::vector<WindowStep> cut_steps(const EvalText& text, size_t max_tokens);

struct WindowRunnerOptions {
  size_t step_tokens = 0;           // 0: 512 on the CPU, 2048 on a GPU
  std::optional<Format> kv_format;  // absent: f32 for weights in f32, f16 otherwise
};

class WindowRunner {
 public:
  // `text` must outlive this.
  WindowRunner(const std::shared_ptr<EngineFile>& file, Backend& backend, const EvalText& text, const WindowRunnerOptions& options);

  const std::vector<WindowStep>& steps() const { return steps_; }
  // Logits [rows, vocab_size] of steps()[i], valid until the next call. Steps of one window must come in their order.
  std::span<const float> run(size_t i);

  size_t vocab_size() const { return model_->config().vocab_size; }
  size_t weight_bytes() const { return model_->weight_bytes(); }
  Format kv_format() const { return cache_->format(); }

 private:
  const EvalText& text_;
  std::vector<WindowStep> steps_;
  size_t blocks_each_ = 0;
  std::unique_ptr<Transformer> model_;
  std::unique_ptr<KvCache> cache_;
};

// Calls work(row) for each of `num_rows` rows on the backend's threads.
void for_each_row(Backend& backend, size_t num_rows, const std::function<void(size_t row)>& work);

}  // namespace quern
