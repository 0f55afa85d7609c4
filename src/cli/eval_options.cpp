#include "cli/eval_options.h"

#include <unistd.h>

#include "base/clock.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/prompting.h"

namespace quern {
namespace {

constexpr double kTerminalSeconds = 0.2, kLineSeconds = 10;  // least time between two reports

}  // namespace

WindowRunnerOptions EvalOptions::runner() const {
  WindowRunnerOptions options{.step_tokens = model.engine.max_num_batched_tokens, .kv_format = kv_format_named(model.kv_dtype)};
  return options;
}

std::string EvalOptions::rule_name() const {
  return stride ? fmt::format("strided, {} tokens every {}", context, *stride)
                : fmt::format("chunks of {} tokens, second half counts", context);
}

void add_eval_options(CLI::App& app, EvalOptions& options) {
  add_model_option(app, options.model);
  add_text(app, "-f,--data,--file", options.data, "FILE", "Text to measure on; - is standard input")->required();
  add_number<size_t>(app, "-c,--ctx,--ctx-size", options.context, 4, 1 << 20, "Tokens of a window");
  add_number<size_t>(app, "--stride", options.stride, 1, 1 << 20,
                     "Hugging Face's strided rule: a window every N tokens, tokens of earlier windows do not count (default: llama.cpp's "
                     "rule, windows side by side of which the second half counts)");
  add_number<size_t>(app, "--chunks", options.max_windows, 0, 1 << 30, "The first N windows; 0: all");
  add_choice(app, "--kv-cache-dtype", options.model.kv_dtype, kv_dtypes(),
             "Type of the KV cache; auto is f32 for f32 weights, f16 otherwise; int8 on the CPU only");
  add_number<size_t>(app, "--max-num-batched-tokens,--batch-size", options.model.engine.max_num_batched_tokens, 0, 1 << 20,
                     "Tokens of one step; 0: 512 on the CPU, 2048 on a GPU");
  app.add_flag("--json", options.json, "Print one JSON object");
  add_device_options(app, options.model);
}

EvalText read_eval_text(const EvalOptions& options, const EngineFile& file) {
  const Tokenizer tokenizer = Tokenizer::unpack(file.tokenizer_bytes(), file.path());
  return make_eval_text(read_prompt_file(options.data), tokenizer, options.rule());
}

EvalProgress::EvalProgress() : is_terminal_(::isatty(STDERR_FILENO) == 1), start_(monotonic_seconds()), last_(start_) {}

EvalProgress::~EvalProgress() {
  if (is_drawn_) write_stderr("\r\x1b[K");
}

void EvalProgress::show(size_t done, size_t total, const std::string& figures) {
  const double now = monotonic_seconds();
  if (done != total && now - last_ < (is_terminal_ ? kTerminalSeconds : kLineSeconds)) return;
  last_ = now;
  const double left = done == 0 ? 0 : (now - start_) / static_cast<double>(done) * static_cast<double>(total - done);
  const std::string line = fmt::format("{} of {}, {}, {:.0f} s left", done, total, figures, left);
  write_stderr(is_terminal_ ? "\r" + line + "\x1b[K" : line + "\n");
  is_drawn_ = is_terminal_;
}

double EvalProgress::seconds() const { return monotonic_seconds() - start_; }

}  // namespace quern
