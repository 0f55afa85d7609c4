// quern eval agreement: how far a model's tokens are those of another program's greedy answers.
#include <cmath>
#include <memory>

#include "cli/eval_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "eval/agreement.h"

namespace quern {

extern const Verb kEvalAgreementVerb;

namespace {

struct Options {
  ModelOptions model;
  std::string reference;
  bool free = true, json = false;
};

OrderedJson report_json(const Options& options, const Agreement& forced, const GreedyAgreement& greedy) {
  OrderedJson object;
  object["tokens"] = forced.tokens;
  object["top1_agreement"] = forced.share();
  object["largest_margin"] = std::isfinite(forced.largest_margin()) ? OrderedJson(forced.largest_margin()) : OrderedJson(nullptr);
  object["mean_logprob_error"] = forced.mean_logprob_error;
  object["largest_logprob_error"] = forced.largest_logprob_error;
  object["differences"] = OrderedJson::array();
  for (const Disagreement& d : forced.differences) {
    OrderedJson entry;
    entry["id"] = d.id;
    entry["index"] = d.index;
    entry["want"] = d.want;
    entry["found"] = d.found;
    entry["margin"] = d.in_top_two ? OrderedJson(d.margin) : OrderedJson(nullptr);
    object["differences"].push_back(std::move(entry));
  }
  if (options.free) {
    object["greedy_answers"] = greedy.common.size();
    object["greedy_equal"] = greedy.equal;
    object["greedy_tokens_before_difference"] = greedy.common;
  }
  return object;
}

std::string report_lines(const Options& options, const Agreement& forced, const GreedyAgreement& greedy) {
  std::string lines;
  for (const Disagreement& d : forced.differences) {
    lines += fmt::format("{} token {}: want {}, found {}, {}\n", escaped(d.id, 100), d.index, d.want, d.found,
                         d.in_top_two ? fmt::format("margin {:.6f} nats", d.margin) : "not in the top two");
  }
  lines += fmt::format(
      "teacher-forced  {} of {} tokens agree ({:.3f} %), largest margin {:.6f} nats, log-probability error: mean {:.2e}, "
      "largest {:.2e}\n",
      forced.tokens - forced.differences.size(), forced.tokens, 100 * forced.share(), forced.largest_margin(), forced.mean_logprob_error,
      forced.largest_logprob_error);
  if (options.free) {
    lines += fmt::format("greedy          {} of {} answers equal, {} of {} tokens before the first difference\n", greedy.equal,
                         greedy.common.size(), greedy.equal_tokens, greedy.tokens);
  }
  return lines;
}

int agreement(const Options& options) {
  const Interrupt interrupt;
  const std::shared_ptr<EngineFile> file = open_engine_file(options.model, interrupt);
  const size_t num_tokens = Tokenizer::unpack(file->tokenizer_bytes(), file->path()).num_tokens();
  const std::vector<ReferenceAnswer> answers = read_reference(options.reference, num_tokens);
  const std::unique_ptr<Backend> backend = open_backend(options.model);
  const std::optional<Format> kv_format = kv_format_named(options.model.kv_dtype);
  EvalProgress progress;
  const Agreement forced = measure_agreement(file, *backend, answers, num_tokens, kv_format, [&](size_t done, const Agreement& so_far) {
    interrupt.check();
    progress.show(done, answers.size(), fmt::format("{} of {} tokens agree", so_far.tokens - so_far.differences.size(), so_far.tokens));
  });
  GreedyAgreement greedy;
  if (options.free) {
    greedy = measure_greedy_agreement(file, *backend, answers, kv_format, [&](size_t done) {
      interrupt.check();
      progress.show(done, answers.size(), "greedy answers");
    });
  }
  write_stdout(options.json ? report_json(options, forced, greedy).dump(2) + "\n" : report_lines(options, forced, greedy));
  return 0;
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_option(app, options->model);
  add_text(app, "-r,--reference", options->reference, "FILE.jsonl", "Answers of another program, as tools/hf_reference.py writes them")
      ->required();
  add_choice(app, "--kv-cache-dtype", options->model.kv_dtype, kv_dtypes(),
             "Type of the KV cache; auto is f32 for f32 weights, f16 otherwise; int8 on the CPU only");
  app.add_flag("!--forced-only", options->free, "Compare token by token on the reference's own text alone, without generating");
  app.add_flag("--json", options->json, "Print one JSON object");
  add_device_options(app, options->model);
  return [options] { return agreement(*options); };
}

}  // namespace

const Verb kEvalAgreementVerb = {"agreement", "How far a model's tokens are those of another program's greedy answers", &declare};

}  // namespace quern
