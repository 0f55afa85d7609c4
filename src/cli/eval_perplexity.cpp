// quern eval perplexity: how well a model predicts a text.
#include <memory>

#include "base/json.h"
#include "cli/eval_options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "eval/perplexity.h"

namespace quern {

extern const Verb kEvalPerplexityVerb;

namespace {

int perplexity(const EvalOptions& options) {
  const Interrupt interrupt;
  const std::shared_ptr<EngineFile> file = open_engine_file(options.model, interrupt);
  const EvalText text = read_eval_text(options, *file);
  const std::unique_ptr<Backend> backend = open_backend(options.model);
  WindowRunner runner(file, *backend, text, options.runner());
  std::vector<WindowLoss> losses;
  double seconds = 0;
  {
    EvalProgress progress;
    losses = measure_losses(runner, *backend, text, [&](std::span<const WindowLoss> done) {
      interrupt.check();
      progress.show(done.size(), text.windows.size(), fmt::format("perplexity {:.4f}", perplexity_of(text.windows, done).value));
    });
    seconds = progress.seconds();
  }
  const Perplexity result = perplexity_of(text.windows, losses);
  if (options.json) {
    OrderedJson object;
    object["perplexity"] = result.value;
    object["standard_error"] = result.standard_error;
    object["tokens"] = result.tokens;
    object["windows"] = result.windows;
    object["rule"] = options.rule_name();
    object["model"] = options.model.model;
    object["data"] = options.data;
    object["device"] = backend->info().name;
    object["kv_dtype"] = format_name(runner.kv_format());
    object["seconds"] = seconds;
    write_stdout(object.dump(2) + "\n");
  } else {
    print("perplexity {:.4f} +- {:.4f}, {} tokens of {} windows ({}), {:.1f} s\n", result.value, result.standard_error, result.tokens,
          result.windows, options.rule_name(), seconds);
  }
  return 0;
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<EvalOptions>();
  add_eval_options(app, *options);
  return [options] { return perplexity(*options); };
}

}  // namespace

const Verb kEvalPerplexityVerb = {"perplexity", "How well a model predicts a text", &declare};

}  // namespace quern
