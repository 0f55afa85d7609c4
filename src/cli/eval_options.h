// What the parts of `quern eval` share: the text that is measured on, and how far they are.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

#include "cli/model_options.h"
#include "eval/window_runner.h"

namespace quern {

struct EvalOptions {
  ModelOptions model;
  std::string data;
  size_t context = 512, max_windows = 0;
  std::optional<size_t> stride;
  bool json = false;

  WindowRule rule() const { return {.context = context, .stride = stride, .max_windows = max_windows}; }
  WindowRunnerOptions runner() const;
  std::string rule_name() const;  // "512 tokens, second half counts"
};

// -m, --data, --ctx, --stride, --chunks, --kv-cache-dtype, --json, and the device's options.
void add_eval_options(CLI::App& app, EvalOptions& options);
// The text of --data as windows of `file`'s tokens.
EvalText read_eval_text(const EvalOptions& options, const EngineFile& file);

// One line on stderr that tells how far a measurement is: redrawn on a terminal, a new line now and then elsewhere.
class EvalProgress {
 public:
  EvalProgress();
  ~EvalProgress();
  EvalProgress(const EvalProgress&) = delete;
  EvalProgress& operator=(const EvalProgress&) = delete;

  void show(size_t done, size_t total, const std::string& figures);
  double seconds() const;

 private:
  bool is_terminal_, is_drawn_ = false;
  double start_, last_;
};

}  // namespace quern
