// quern bench serve: load on a server of OpenAI's interface, ours or another, and what its clients saw. Options as of `vllm bench serve`.
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <memory>

#include "base/json.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "engine/generation_defaults.h"
#include "load/load_plot.h"
#include "load/load_report.h"
#include "load/load_run.h"

namespace quern {

extern const Verb kBenchServeVerb;

namespace {

struct Options {
  LoadOptions load;
  RandomPrompts random;
  ModelOptions tokenizer;
  std::string base_url, host = "127.0.0.1", backend = "openai", endpoint, dataset = "random", dataset_path;
  std::string rate = "inf", shown = "ttft,tpot,itl,e2el", percentiles = "90,99", extra_body;
  std::string result_file, result_folder, plot_file;
  std::vector<std::string> goodput, headers;
  std::optional<size_t> sharegpt_output_tokens, input_tokens, output_tokens;
  size_t port = 8000, custom_output_tokens = 256;
  double idle_seconds = 600;
  bool json = false, saves = false, saves_details = false, hides_progress = false;
};

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(at, begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

double number_in(const std::string& option, const std::string& text, double min, double max) {
  const auto value = parse_number<double>(text, min, max);
  if (!value) raise(usage, "{}: want a number from {} to {}, found '{}'", option, min, max, escaped(text, 60));
  return *value;
}

// "ttft:200", as vllm writes limits in milliseconds.
GoodputLimits read_goodput(const std::vector<std::string>& texts) {
  GoodputLimits limits;
  for (const std::string& text : texts) {
    for (const std::string& each : split(text, ' ')) {
      const size_t colon = each.find(':');
      const std::string name = each.substr(0, colon);
      std::optional<double>* limit = name == "ttft"   ? &limits.first_token
                                     : name == "tpot" ? &limits.per_token
                                     : name == "e2el" ? &limits.whole
                                                      : nullptr;
      if (limit == nullptr || colon == each.npos)
        raise(usage, "--goodput: want ttft:MS, tpot:MS or e2el:MS, found '{}'", escaped(each, 60));
      *limit = number_in("--goodput", each.substr(colon + 1), 0, 1e9);
    }
  }
  return limits;
}

HttpClient::Headers read_headers(const std::vector<std::string>& texts) {
  HttpClient::Headers headers;
  if (const char* key = std::getenv("OPENAI_API_KEY"); key != nullptr && *key != '\0')
    headers.emplace_back("Authorization", std::string("Bearer ") + key);
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    const bool is_plain = text.find_first_of("\r\n") == text.npos;
    if (equals == 0 || equals == text.npos || !is_plain) raise(usage, "--header: want NAME=VALUE, found '{}'", escaped(text, 60));
    headers.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return headers;
}

std::vector<std::string> read_shown(const std::string& text) {
  std::vector<std::string> shown = split(text, ',');
  for (const std::string& name : shown) {
    if (name != "ttft" && name != "tpot" && name != "itl" && name != "e2el") {
      raise(usage, "--percentile-metrics: want some of ttft, tpot, itl, e2el, found '{}'", escaped(name, 60));
    }
  }
  return shown;
}

std::vector<LoadPrompt> make_prompts(Options& options, const Interrupt& interrupt) {
  TokenCounter count;
  if (!options.tokenizer.model.empty()) {
    const auto file = open_engine_file(options.tokenizer, interrupt);
    const auto tokenizer = std::make_shared<Tokenizer>(Tokenizer::unpack(file->tokenizer_bytes(), file->path()));
    count = [tokenizer](const std::string& text) { return tokenizer->encode(text, Tokenizer::Specials::as_text, false).size(); };
  }
  const size_t num_prompts = options.random.count;
  if (options.dataset == "random") return random_prompts(options.random, count);
  if (options.dataset_path.empty()) raise(usage, "--dataset-path: want the file of --dataset-name {}", options.dataset);
  if (options.dataset == "sharegpt")
    return sharegpt_prompts(options.dataset_path, num_prompts, options.sharegpt_output_tokens, options.random.seed, count);
  return custom_prompts(options.dataset_path, num_prompts, options.custom_output_tokens, count);
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) raise(resource, "{}: cannot be written", escaped(path));
}

// As vllm names it: backend, rate, model and time.
std::string result_path(const Options& options) {
  std::string name = options.result_file;
  if (name.empty()) {
    std::string model = options.load.model.substr(options.load.model.rfind('/') + 1);
    char time[32] = "";
    const std::time_t now = std::time(nullptr);
    std::tm parts = {};
    localtime_r(&now, &parts);
    std::strftime(time, sizeof(time), "%Y%m%d-%H%M%S", &parts);
    name = fmt::format("{}-{}qps-{}-{}.json", options.backend, options.rate, model, time);
  }
  return options.result_folder.empty() ? name : options.result_folder + "/" + name;
}

// The first model that the server names.
std::string first_model(HttpClient& client) {
  const Json list = parse_json(fetch_text(client, "/v1/models"), "/v1/models");
  if (list.is_object() && list.contains("data") && list["data"].is_array() && !list["data"].empty() && list["data"][0].contains("id")) {
    return list["data"][0]["id"].get<std::string>();
  }
  raise(invalid_input, "/v1/models: names no model; want --model");
}

void settle(Options& options) {
  if (options.base_url.empty()) options.base_url = fmt::format("http://{}:{}", options.host, options.port);
  if (options.endpoint.empty()) options.endpoint = options.backend == "openai-chat" ? "/v1/chat/completions" : "/v1/completions";
  options.load.path = options.endpoint;
  options.load.is_chat = options.endpoint.ends_with("chat/completions");
  options.load.seed = options.random.seed;
  if (options.rate != "inf") options.load.rate = number_in("--request-rate", options.rate, 1e-6, 1e6);
  if (options.input_tokens) options.random.input_tokens = *options.input_tokens;
  if (options.output_tokens) {
    options.random.output_tokens = options.custom_output_tokens = *options.output_tokens;
    options.sharegpt_output_tokens = options.output_tokens;
  }
  if (!options.extra_body.empty()) {
    options.load.extra_body = parse_ordered_json(options.extra_body, "--extra-body");
    if (!options.load.extra_body.is_object()) raise(usage, "--extra-body: want a JSON object");
  }
}

int run(Options& options) {
  settle(options);
  const GoodputLimits limits = read_goodput(options.goodput);
  const ReportSubject subject{options.base_url, options.dataset, &options.load, read_shown(options.shown), limits.has_any()};
  std::vector<double> percentiles;
  for (const std::string& each : split(options.percentiles, ',')) percentiles.push_back(number_in("--metric-percentiles", each, 0, 100));
  const Interrupt interrupt;
  const std::vector<LoadPrompt> prompts = make_prompts(options, interrupt);
  HttpClient client(parse_base_url(options.base_url), read_headers(options.headers), options.idle_seconds);
  if (options.load.model.empty()) options.load.model = first_model(client);

  // One request before the time counts: the server is there, knows the model and has done its first work.
  const std::vector<LoadPrompt> first = {{.text = "Hello", .prompt_tokens = 1, .output_tokens = 4}};
  LoadOptions once = options.load;
  once.rate = std::numeric_limits<double>::infinity();
  const LoadResult trial = run_load(client, first, once, [&](size_t) { return !interrupt.requested(); });
  interrupt.check();
  if (!trial.records[0].is_ok)
    raise(resource, "{}{}: the first request failed: {}", options.base_url, options.endpoint, escaped(trial.records[0].error, 300));

  const bool shows = !options.hides_progress && ::isatty(STDERR_FILENO) != 0;
  const LoadResult result = run_load(client, prompts, options.load, [&](size_t done) {
    if (shows) write_stderr(fmt::format("\r{} of {} answers", done, prompts.size()));
    return !interrupt.requested();
  });
  if (shows) write_stderr("\n");
  const LoadMetrics metrics = load_metrics(result.records, result.duration, percentiles, limits);
  OrderedJson json = load_report_json(metrics, subject);
  write_stdout(options.json ? json.dump(2) + "\n" : load_report_lines(metrics, subject));
  if (!options.plot_file.empty()) {
    write_file(options.plot_file, load_plot(metrics, result.records,
                                            fmt::format("{} at {}: {} requests, {:.1f} tokens/s", options.load.model, options.base_url,
                                                        metrics.completed, metrics.output_rate)));
  }
  if (options.saves) {
    if (options.saves_details) append_details(json, result.records);
    write_file(result_path(options), json.dump(options.saves_details ? -1 : 2) + "\n");
  }
  for (const RequestRecord& record : result.records) {
    if (record.is_ok || result.is_stopped) continue;
    write_stderr(fmt::format("bench serve: {} of {} requests failed; the first: {}\n", metrics.failed, result.records.size(),
                             escaped(record.error, 300)));
    return 4;
  }
  return result.is_stopped ? kStopped : 0;
}

void add_server_options(CLI::App& app, Options& options) {
  add_text(app, "--base-url", options.base_url, "URL", "Server, http or https, with a prefix of its paths; default: of --host and --port");
  add_text(app, "--host", options.host, "NAME", "Server's host");
  add_number<size_t>(app, "--port", options.port, 1, 65535, "Server's port");
  add_choice(app, "--backend", options.backend, {"openai", "openai-chat", "vllm"}, "Interface: completions or chat");
  add_text(app, "--endpoint", options.endpoint, "PATH", "Path of the requests; default: of the backend");
  add_text(app, "-m,--model", options.load.model, "NAME", "Model's name in the requests; default: the first that the server lists");
  add_texts(app, "--header", options.headers, "NAME=VALUE", "Header of each request; may be repeated. OPENAI_API_KEY is sent as a key");
  add_text(app, "--extra-body", options.extra_body, "JSON", "Fields of each request, as one object");
  add_number<double>(app, "--timeout", options.idle_seconds, 1, 86400, "Seconds without a byte after which a request has failed");
}

void add_dataset_options(CLI::App& app, Options& options) {
  RandomPrompts& random = options.random;
  add_choice(app, "--dataset-name", options.dataset, {"random", "sharegpt", "custom"}, "Where prompts come from");
  add_text(app, "--dataset-path", options.dataset_path, "FILE",
           "ShareGPT's JSON, or for custom a JSONL of {\"prompt\", \"output_tokens\"}");
  add_number<size_t>(app, "--num-prompts", random.count, 1, 10'000'000, "Requests");
  add_number<size_t>(app, "--random-input-len", random.input_tokens, 1, 1 << 20, "Tokens of a random prompt");
  add_number<size_t>(app, "--random-output-len", random.output_tokens, 1, 1 << 20, "Tokens of its answer");
  add_number<double>(app, "--random-range-ratio", random.range_ratio, 0, 1, "Lengths lie from (1 - X) to (1 + X) of these");
  add_number<size_t>(app, "--random-prefix-len", random.prefix_tokens, 0, 1 << 20, "Tokens that all random prompts begin with, besides");
  add_number<size_t>(app, "--sharegpt-output-len", options.sharegpt_output_tokens, 1, 1 << 20,
                     "Tokens of an answer; default: as in the file");
  add_number<size_t>(app, "--custom-output-len", options.custom_output_tokens, 1, 1 << 20, "Tokens of an answer where the file has none");
  add_number<size_t>(app, "--input-len", options.input_tokens, 1, 1 << 20, "The same as --random-input-len");
  add_number<size_t>(app, "--output-len", options.output_tokens, 1, 1 << 20, "Tokens of an answer, for every dataset");
  add_text(app, "--tokenizer", options.tokenizer.model, "MODEL",
           "Model file whose tokenizer counts the prompts' tokens; without one a word is a token, and a text has one in four bytes");
  add_number<uint64_t>(app, "--seed", random.seed, 0, std::numeric_limits<uint64_t>::max(), "Of prompts, lengths and times");
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_server_options(app, *options);
  add_dataset_options(app, *options);
  add_text(app, "--request-rate", options->rate, "X", "Requests a second, or inf: all at once, as far as --max-concurrency lets them");
  add_number<double>(app, "--burstiness", options->load.burstiness, 0.001, 1000,
                     "Shape of the gaps: 1 is a Poisson process, less is more bursty");
  add_number<size_t>(app, "--max-concurrency", options->load.max_concurrency, 0, 1'000'000, "Requests under way at one time; 0: no bound");
  app.add_flag("--ignore-eos", options->load.ignores_eos, "Answers go on to their full length (vllm, llama-server and quern know it)");
  add_texts(app, "--goodput", options->goodput, "NAME:MS", "Limits of a good request: ttft:200 tpot:50 e2el:5000")
      ->expected(1, 3)
      ->allow_extra_args(true);
  add_text(app, "--percentile-metrics", options->shown, "LIST", "Times that are printed");
  add_text(app, "--metric-percentiles", options->percentiles, "LIST", "Percentiles besides the median");
  app.add_flag("--save-result", options->saves, "Write the figures as JSON to a file");
  app.add_flag("--save-detailed", options->saves_details, "With the times of each request");
  add_text(app, "--result-filename", options->result_file, "FILE", "That file; default: backend, rate, model and time");
  add_text(app, "--result-dir", options->result_folder, "FOLDER", "Where it goes");
  add_text(app, "--plot", options->plot_file, "FILE", "Write an SVG: distribution of the times, tokens and requests over the run");
  app.add_flag("--json", options->json, "Print one JSON object");
  app.add_flag("--disable-tqdm", options->hides_progress, "No line of progress");
  app.footer("docs/server.md has the definitions. Exit status 4 when a request failed.");
  return [options] { return run(*options); };
}

}  // namespace

const Verb kBenchServeVerb = {"serve", "Load a server of OpenAI's interface and time what its clients see", &declare};

}  // namespace quern
