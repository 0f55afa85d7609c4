// quern eval divergence: how far a model's predictions are from a reference's on the same text.
#include <memory>

#include "base/json.h"
#include "base/utf8.h"
#include "cli/eval_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "eval/divergence.h"

namespace quern {

extern const Verb kEvalDivergenceVerb;

namespace {

constexpr size_t kShownContext = 12;  // tokens before a worst token that are shown with it

struct Options {
  EvalOptions eval;
  std::string reference;
  size_t num_worst = 10;
};

// The last tokens before `target`, as text.
std::string context_of(const EvalText& text, const Tokenizer& tokenizer, size_t target) {
  const size_t begin = target - std::min(target, kShownContext);
  return tokenizer.decode(std::span(text.ids).subspan(begin, target - begin), false);
}

OrderedJson report_json(const Options& options, const Divergence& d, const EvalText& text, const Tokenizer& tokenizer) {
  OrderedJson object;
  object["kl_mean"] = d.kl_mean;
  object["kl_standard_error"] = d.kl_standard_error;
  object["kl_median"] = d.kl_median;
  object["kl_p99"] = d.kl_p99;
  object["kl_max"] = d.kl_max;
  object["top1_agreement"] = d.top1_agreement;
  object["perplexity"] = d.perplexity;
  object["reference_perplexity"] = d.reference_perplexity;
  object["perplexity_ratio"] = d.perplexity_ratio();
  object["tokens"] = d.tokens;
  object["rule"] = options.eval.rule_name();
  object["model"] = options.eval.model.model;
  object["reference"] = options.reference;
  object["data"] = options.eval.data;
  object["worst"] = OrderedJson::array();
  for (const TokenDivergence& token : d.worst) {
    OrderedJson entry;
    entry["position"] = token.target;
    entry["kl"] = token.kl;
    entry["reference_logprob"] = -token.reference_loss;
    entry["logprob"] = -token.engine_loss;
    entry["token"] = utf8_repaired(tokenizer.bytes(text.ids[token.target]));
    entry["context"] = utf8_repaired(context_of(text, tokenizer, token.target));
    object["worst"].push_back(std::move(entry));
  }
  return object;
}

std::string report_lines(const Options& options, const Divergence& d, const EvalText& text, const Tokenizer& tokenizer) {
  std::string lines = fmt::format(
      "KL          mean {:.6f} +- {:.6f}, median {:.6f}, 99 % {:.6f}, largest {:.4f} nats\n"
      "top 1       {:.3f} % of tokens the same\n"
      "perplexity  {:.4f}, reference {:.4f}, ratio {:.5f} ({:+.3f} %)\n"
      "tokens      {} ({})\n",
      d.kl_mean, d.kl_standard_error, d.kl_median, d.kl_p99, d.kl_max, 100 * d.top1_agreement, d.perplexity, d.reference_perplexity,
      d.perplexity_ratio(), 100 * (d.perplexity_ratio() - 1), d.tokens, options.eval.rule_name());
  for (const TokenDivergence& token : d.worst) {
    lines += fmt::format("worst       KL {:.4f} at {}: '{}' after '{}', log-probability {:.3f}, reference {:.3f}\n", token.kl, token.target,
                         escaped(tokenizer.bytes(text.ids[token.target]), 40), escaped(context_of(text, tokenizer, token.target), 100),
                         -token.engine_loss, -token.reference_loss);
  }
  return lines;
}

int divergence(const Options& options) {
  const Interrupt interrupt;
  const std::shared_ptr<EngineFile> file = open_engine_file(options.eval.model, interrupt);
  ModelOptions reference_model = options.eval.model;
  reference_model.model = options.reference;
  const std::shared_ptr<EngineFile> reference_file = open_engine_file(reference_model, interrupt);
  const Tokenizer tokenizer = Tokenizer::unpack(file->tokenizer_bytes(), file->path());
  const EvalText text = read_eval_text(options.eval, *file);
  if (read_eval_text(options.eval, *reference_file).ids != text.ids) {
    raise(incompatible, "{}: want the tokens that {} makes of the text, found others", escaped(options.reference),
          escaped(options.eval.model.model));
  }
  const std::unique_ptr<Backend> backend = open_backend(options.eval.model);
  WindowRunner reference(reference_file, *backend, text, options.eval.runner()), engine(file, *backend, text, options.eval.runner());
  std::vector<TokenDivergence> tokens;
  {
    EvalProgress progress;
    tokens = measure_divergence(reference, engine, *backend, text, [&](std::span<const TokenDivergence> so_far, size_t windows) {
      interrupt.check();
      double kl = 0;
      for (const TokenDivergence& token : so_far) kl += token.kl;
      progress.show(windows, text.windows.size(), fmt::format("KL {:.6f}", kl / static_cast<double>(so_far.size())));
    });
  }
  if (tokens.empty()) raise(invalid_input, "{}: want tokens to predict, found none", escaped(options.eval.data));
  const Divergence result = summarize_divergence(tokens, options.num_worst);
  write_stdout(options.eval.json ? report_json(options, result, text, tokenizer).dump(2) + "\n"
                                 : report_lines(options, result, text, tokenizer));
  return 0;
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_eval_options(app, options->eval);
  add_text(app, "-r,--reference", options->reference, "MODEL",
           "Engine file, GGUF file or Hugging Face folder whose predictions count as right")
      ->required();
  add_number<size_t>(app, "--worst", options->num_worst, 0, 10'000, "Tokens of largest divergence that are shown");
  return [options] { return divergence(*options); };
}

}  // namespace

const Verb kEvalDivergenceVerb = {"divergence", "How far a model's predictions are from a reference's on the same text", &declare};

}  // namespace quern
