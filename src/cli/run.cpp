// quern run: one prompt, streamed, or a file of prompts, batched.
#include <memory>

#include "cli/figures.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/prompt_batch.h"
#include "cli/prompting.h"
#include "cli/sampling_options.h"
#include "cli/verbs.h"

namespace quern {

extern const Verb kRunVerb;

namespace {

struct Options {
  ModelOptions model;
  SamplingOptions sampling;
  std::string prompt, file, prompts, out, system;
  std::string thinking = "auto";
  bool raw = false, json = false;
};

OrderedJson answer_json(const std::string& text, const std::vector<TokenId>& ids, const Finish& finish, const Figures& figures) {
  OrderedJson object;
  object["text"] = text;
  object["output_ids"] = ids;
  object["prompt_tokens"] = finish.usage.prompt_tokens;
  object["output_tokens"] = finish.usage.output_tokens;
  object["finish_reason"] = finish_reason_name(finish.reason);
  object["figures"] = figures.json();
  return object;
}

int run_prompt(const Options& options, const std::string& prompt, const Interrupt& interrupt) {
  RunningModel model = open_model(options.model, 1, interrupt);
  Engine& engine = *model.engine;
  const PromptStyle style = prompt_style(engine, options.raw, options.system, options.thinking);
  Session session = engine.submit(encode_text(style, prompt), apply(options.sampling, engine.defaults().params));
  engine.start();

  std::string text;
  std::vector<TokenId> ids;
  std::optional<Finish> finish;
  while (!finish) {
    const std::optional<SessionOutput> output = session.read_for(std::chrono::milliseconds(100));
    if (interrupt.requested()) session.cancel();
    if (!output) continue;
    if (!options.json && !output->text.empty()) write_stdout(output->text);
    text += output->text;
    for (const OutputToken& token : output->tokens) ids.push_back(token.id);
    finish = output->finish;
  }
  engine.stop();
  if (!options.json && !text.ends_with('\n')) write_stdout("\n");
  if (finish->reason == FinishReason::error) raise(internal, "answer: {}", finish->detail);
  Figures figures = answer_figures(model, *finish);
  measure_bandwidth(figures, model);
  if (options.json) write_stdout(fmt::format("{}\n", answer_json(text, ids, *finish, figures).dump()));
  write_stderr(figures.line() + "\n");
  return finish->reason == FinishReason::cancelled ? kStopped : 0;
}

int run_batch(const Options& options, const Interrupt& interrupt) {
  const PromptFile prompts(options.prompts);  // broken input is told before a model is loaded
  ResultFile results(options.out, prompts);
  RunningModel model = open_model(options.model, EngineOptions{}.max_num_seqs, interrupt);
  const PromptStyle style = prompt_style(*model.engine, options.raw, options.system, options.thinking);
  PromptBatch batch(model, style, apply(options.sampling, model.engine->defaults().params));
  return batch.run(prompts, results, interrupt);
}

int run(const Options& options) {
  const int sources = int{!options.prompt.empty()} + int{!options.file.empty()} + int{!options.prompts.empty()};
  if (sources != 1) raise(usage, "run: want one of -p TEXT, -f FILE and --prompts FILE, found {}", sources);
  if (options.prompts.empty() != options.out.empty()) raise(usage, "run: --prompts and --out belong together");
  const Interrupt interrupt;
  if (!options.prompts.empty()) return run_batch(options, interrupt);
  return run_prompt(options, options.file.empty() ? options.prompt : read_prompt_file(options.file), interrupt);
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_option(app, options->model);
  add_text(app, "-p,--prompt", options->prompt, "TEXT", "The prompt");
  add_text(app, "-f,--file", options->file, "FILE", "The prompt, from a file; - is standard input");
  add_text(app, "--prompts", options->prompts, "IN.jsonl", "Many prompts, one JSON object a line; see below");
  add_text(app, "--out", options->out, "OUT.jsonl", "Their answers, in the order of IN.jsonl; finished ones are not computed again");
  add_text(app, "--system,--system-prompt", options->system, "TEXT", "System message of a chat");
  app.add_flag("--raw", options->raw, "Give the prompt to the model as it is, without the chat format");
  add_choice(app, "--thinking", options->thinking, {"auto", "on", "off"}, "Whether a model that can think before it answers does");
  app.add_flag("--json", options->json, "Print one JSON object at the end instead of streaming text");
  add_sampling_options(app, options->sampling);
  add_engine_options(app, options->model);
  add_device_options(app, options->model);
  app.footer(
      "A line of IN.jsonl has an `id` and one of `prompt` (a text), `prompt_ids` (token ids) and `messages` (role, content), and may have\n"
      "temperature, top_p, top_k, min_p, repetition_penalty, presence_penalty, frequency_penalty, logit_bias, seed, max_tokens, "
      "min_tokens,\n"
      "stop, stop_token_ids, ignore_eos and logprobs of its own. A line of OUT.jsonl has `id`, `text`, `output_ids`, `prompt_tokens`,\n"
      "`output_tokens` and `finish_reason` (stop, length, error).");
  return [options] { return run(*options); };
}

}  // namespace

const Verb kRunVerb = {"run", "Answer a prompt, or a file of prompts", &declare};

}  // namespace quern
