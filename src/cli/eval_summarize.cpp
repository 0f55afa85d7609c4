// quern eval summarize: the summaries that a model writes of news articles, as the evaluation of 2023 made and scored them.
#include <sys/resource.h>
#include <sys/stat.h>

#include <memory>

#include "base/json.h"
#include "cli/eval_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/prompting.h"
#include "cli/verbs.h"
#include "eval/summarize.h"

namespace quern {

extern const Verb kEvalSummarizeVerb;

namespace {

constexpr int kCheckFailed = 1;
constexpr size_t kTextInput = 923, kChatInput = 2048;  // tokens of a prompt, as in the evaluations that are compared with

struct Options {
  ModelOptions model;
  std::string data;
  size_t limit = 20;
  std::optional<size_t> max_input_tokens;
  SummarizeOptions summarize;
  bool chat = false, check = false, json = false;
  double threshold = 15;
};

uint64_t peak_memory_bytes() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

uint64_t file_bytes(const std::string& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0 ? static_cast<uint64_t>(status.st_size) : 0;
}

double per_token_ms(const SummarizeResult& result) {
  return result.tokens == 0 ? 0 : 1000 * result.seconds / static_cast<double>(result.tokens);
}

OrderedJson report_json(const Options& options, const RunningModel& model, const SummarizeResult& result) {
  OrderedJson object;
  object["engine"] = "quern";
  object["model"] = options.model.model;
  object["dtype"] = model.file->metadata().build.value("dtype", "");
  object["device"] = model.backend->info().name;
  for (size_t type = 0; type < kRougeTypes; ++type) object[kRougeNames[type]] = 100 * result.rouge[type].mid.f1;
  for (size_t type = 0; type < kRougeTypes; ++type) {
    const RougeInterval& interval = result.rouge[type];
    object["intervals"][kRougeNames[type]] = {100 * interval.low.f1, 100 * interval.high.f1};
    object["means"][kRougeNames[type]] = 100 * interval.mean.f1;
  }
  object["tokens"] = result.tokens;
  object["seconds"] = result.seconds;
  object["ms_per_token"] = per_token_ms(result);
  object["articles"] = result.summaries.size();
  object["batch"] = options.summarize.batch;
  object["length"] = options.summarize.force_length ? "forced" : "free";
  object["form"] = options.chat ? "chat" : "text";
  object["max_input_tokens"] = options.summarize.max_input_tokens;
  object["max_new_tokens"] = options.summarize.max_new_tokens;
  object["stemmer"] = options.summarize.stem;
  object["peak_memory_bytes"] = peak_memory_bytes();
  object["engine_bytes"] = file_bytes(model.file->path());
  object["summaries"] = OrderedJson::array();
  for (const Summary& summary : result.summaries) {
    OrderedJson entry;
    entry["id"] = summary.id;
    entry["input_tokens"] = summary.input_tokens;
    entry["cut"] = summary.was_cut;
    entry["output_ids"] = summary.output_ids;
    entry["text"] = summary.text;
    for (size_t type = 0; type < kRougeTypes; ++type) entry[kRougeNames[type]] = 100 * summary.rouge[type].f1;
    object["summaries"].push_back(std::move(entry));
  }
  return object;
}

std::string report_lines(const Options& options, const RunningModel& model, const SummarizeResult& result) {
  std::string lines = fmt::format("{} articles, {} form, {} length, batch {}\n", result.summaries.size(), options.chat ? "chat" : "text",
                                  options.summarize.force_length ? "forced" : "free", options.summarize.batch);
  for (size_t type = 0; type < kRougeTypes; ++type) {
    const RougeInterval& interval = result.rouge[type];
    lines += fmt::format("{:<10}  {:6.2f}   95 %: {:.2f} to {:.2f}, mean {:.3f}\n", kRougeNames[type], 100 * interval.mid.f1,
                         100 * interval.low.f1, 100 * interval.high.f1, 100 * interval.mean.f1);
  }
  lines += fmt::format("latency     {:.3f} s, {} tokens, {:.2f} ms a token\nmemory      {:.1f} MB at most, engine file {:.1f} MB\n",
                       result.seconds, result.tokens, per_token_ms(result), static_cast<double>(peak_memory_bytes()) / 1e6,
                       static_cast<double>(file_bytes(model.file->path())) / 1e6);
  return lines;
}

int summarize(Options options) {
  const Interrupt interrupt;
  const std::vector<Article> articles = read_articles(read_prompt_file(options.data), options.data, options.limit);
  SummarizeOptions& settings = options.summarize;
  settings.max_input_tokens = options.max_input_tokens.value_or(options.chat ? kChatInput : kTextInput);
  options.model.engine.max_model_len = settings.max_input_tokens + settings.max_new_tokens;
  options.model.engine.enable_prefix_caching = false;  // the warm-up must not shorten the first article
  RunningModel model = open_model(options.model, settings.batch, interrupt);
  if (options.chat) settings.chat = model.engine->defaults().chat;
  if (options.chat && settings.chat == nullptr) raise(usage, "--chat: {} has no chat format", escaped(options.model.model));
  const std::string warm_up = summarize_batch(*model.engine, std::span(articles).first(1), settings).summaries[0].text;
  write_stderr(fmt::format("warm-up: {}\n", escaped(warm_up, 1000)));
  std::vector<Summary> summaries;
  double seconds = 0;
  size_t tokens = 0;
  {
    EvalProgress progress;
    for (size_t begin = 0; begin < articles.size(); begin += settings.batch) {
      interrupt.check();
      const size_t count = std::min(settings.batch, articles.size() - begin);
      SummaryBatch batch = summarize_batch(*model.engine, std::span(articles).subspan(begin, count), settings);
      seconds += batch.seconds;
      for (Summary& summary : batch.summaries) {
        tokens += summary.output_ids.size();
        summaries.push_back(std::move(summary));
      }
      progress.show(summaries.size(), articles.size(), fmt::format("{} tokens in {:.1f} s", tokens, seconds));
    }
  }
  const SummarizeResult result = summarize_result(std::move(summaries), seconds);
  write_stdout(options.json ? report_json(options, model, result).dump() + "\n" : report_lines(options, model, result));
  const double rouge1 = 100 * result.rouge[0].mid.f1;
  if (!options.check || rouge1 > options.threshold) return 0;
  write_stderr(fmt::format("check: want rouge1 above {}, found {:.3f}\n", options.threshold, rouge1));
  return kCheckFailed;
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  SummarizeOptions& settings = options->summarize;
  add_model_option(app, options->model);
  add_text(app, "-f,--data,--dataset-path", options->data, "FILE.jsonl",
           "Articles: lines with id, article, highlights; - is standard input")
      ->required();
  add_number<size_t>(app, "-n,--limit,--max-ite", options->limit, 0, 1 << 24, "The first N articles, in file order; 0: all");
  add_number<size_t>(app, "-b,--batch,--batch-size", settings.batch, 1, 4096, "Articles at one time");
  add_number<size_t>(app, "--max-new-tokens,--output-len", settings.max_new_tokens, 1, 1 << 20, "Tokens of a summary, at most");
  add_number<size_t>(app, "--max-input-tokens,--max-input-length", options->max_input_tokens, 16, 1 << 20,
                     "Tokens of a prompt, at most (default: 923, with --chat 2048); the beginning of a longer article is cut off");
  app.add_flag("--force-length", settings.force_length, "Write all tokens, through end tokens");
  app.add_flag("--chat", options->chat, "The article as a user's message in the model's chat format (default: plain text and 'TL;DR:')");
  app.add_flag("--stemmer", settings.stem, "ROUGE on stems of words");
  app.add_flag("--check,--check-accuracy", options->check, "Exit status 1 when ROUGE-1 is not above the threshold");
  add_number<double>(app, "--rouge1-threshold", options->threshold, 0, 100, "For --check, in percent");
  add_choice(app, "--kv-cache-dtype", options->model.kv_dtype, kv_dtypes(), "Type of the KV cache; int8 on the CPU only");
  app.add_flag("--json", options->json, "Print one JSON object, the summaries included");
  add_device_options(app, options->model);
  return [options] { return summarize(*options); };
}

}  // namespace

const Verb kEvalSummarizeVerb = {"summarize", "Summaries of news articles: ROUGE, tokens, latency, memory", &declare};

}  // namespace quern
