// quern serve: OpenAI's API over HTTP, until a signal asks to stop.
#include <memory>
#include <thread>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "base/version.h"
#include "cli/foreign_options.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "server/server.h"

namespace quern {

extern const Verb kServeVerb;

namespace {

constexpr size_t kMaxKeyFileBytes = size_t{1} << 20;
constexpr size_t kGpuSequences = 256, kCpuSequences = 32;

struct Options {
  ModelOptions model;
  ServerOptions server;
  std::vector<std::string> names;
  std::string key_file, config, half_close = "cancel";
  size_t body_mib = 32, port = 8000;
  double shutdown_timeout = 30;
  bool insecure = false, is_quiet = false;
  std::string foreign_text, log_format = "text", call_parser = "auto";
};

std::vector<std::string> read_keys(const std::string& path) {
  std::vector<std::string> keys;
  const std::string text = read_text_file(path, kMaxKeyFileBytes);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty() && line[0] != '#') keys.push_back(std::move(line));
    begin = end + 1;
  }
  if (keys.empty()) raise(usage, "--api-key-file: {}: want one key a line, found none", escaped(path));
  return keys;
}

// "qwen2.5-0.5b" of "/models/qwen2.5-0.5b.gguf" and of "models/qwen2.5-0.5b/".
std::string name_of(std::string model) {
  while (model.size() > 1 && model.ends_with('/')) model.pop_back();
  model = model.substr(model.rfind('/') + 1);
  for (const std::string ending : {".quern", ".gguf"}) {
    if (model.ends_with(ending) && model.size() > ending.size()) model.resize(model.size() - ending.size());
  }
  return model;
}

std::string fingerprint(const EngineFile& file) {
  uint64_t hash = hash_bytes(file.metadata().model.dump().data(), file.metadata().model.dump().size());
  for (const EngineTensorInfo& tensor : file.tensors()) hash = hash_bytes(&tensor.xxh3, sizeof(tensor.xxh3), hash);
  return fmt::format("quern-{}-{:08x}", kVersion, hash >> 32);
}

void settle(Options& options) {
  ServerOptions& server = options.server;
  if (server.http.host == "localhost") server.http.host = "127.0.0.1";
  server.http.port = static_cast<uint16_t>(options.port);
  server.http.limits.http.body_bytes = options.body_mib << 20;
  server.http.limits.keeps_half_closed = options.half_close == "keep";
  server.logs_requests = !options.is_quiet;
  if (!server.access.keys.empty())
    log_warning("--api-key: other users see it in the list of processes; --api-key-file and QUERN_API_KEY are safe");
  if (!options.key_file.empty()) {
    const std::vector<std::string> keys = read_keys(options.key_file);
    server.access.keys.insert(server.access.keys.end(), keys.begin(), keys.end());
  }
  server.access.checks_host = is_loopback(server.http.host);
  if (!server.access.checks_host && server.access.keys.empty() && !options.insecure) {
    raise(usage, "--host: {} can be reached by others; want --api-key-file, or --insecure-no-auth to serve everyone", server.http.host);
  }
}

void print_options(const Options& options, const RunningModel& model, const ServedModel& served) {
  const EngineOptions& engine = model.engine->options();
  const EngineStats stats = model.engine->stats();
  const auto row = [](const char* name, const std::string& value) { write_stderr(fmt::format("  {:<24} {}\n", name, value)); };
  write_stderr("options in force:\n");
  row("served-model-name", fmt::format("{}", fmt::join(served.names, ", ")));
  row("device", model.backend->info().name);
  row("max-model-len", fmt::format("{} tokens", engine.max_model_len));
  row("max-num-seqs", fmt::format("{}", engine.max_num_seqs));
  row("max-num-batched-tokens", fmt::format("{}", engine.max_num_batched_tokens));
  row("kv-cache", fmt::format("{} blocks of {} tokens in {}", stats.kv_blocks, engine.block_tokens,
                              engine.kv_format ? format_name(*engine.kv_format) : "auto"));
  row("enable-prefix-caching", engine.enable_prefix_caching ? "on" : "off");
  row("host, port",
      fmt::format("{}:{}{}", options.server.http.host, options.server.http.port, options.server.http.tls_key.empty() ? "" : ", TLS"));
  row("chat page", options.server.has_page ? "at /" : "off");
  row("api keys", options.server.access.keys.empty() ? "none asked for" : fmt::format("{}", options.server.access.keys.size()));
  row("tool-call-parser", options.call_parser + (served.call_dialect() == CallDialect::xml ? " (XML)" : " (JSON)"));
  row("max-waiting", fmt::format("{} requests", options.server.max_waiting));
  row("queue, request, shutdown",
      fmt::format("{}, {}, {} s", options.server.queue_timeout, options.server.request_timeout, options.shutdown_timeout));
  row("body, connections", fmt::format("{} MiB, {}", options.body_mib, options.server.http.max_connections));
}

int serve(Options& options) {
  set_log_json(options.log_format == "json");
  settle(options);
  const Interrupt interrupt;
  Server server(options.server);
  server.start();
  const bool is_gpu = options.model.device != "cpu" && num_cuda_devices() > 0;
  RunningModel model = open_model(options.model, is_gpu ? kGpuSequences : kCpuSequences, interrupt);
  ServedModel served{.engine = model.engine.get(),
                     .names = options.names.empty() ? std::vector<std::string>{name_of(options.model.model)} : options.names,
                     .fingerprint = fingerprint(*model.file),
                     .created = std::time(nullptr)};
  if (options.call_parser != "auto") served.dialect = options.call_parser == "hermes" ? CallDialect::json : CallDialect::xml;
  options.server.http.port = server.port();
  print_options(options, model, served);
  model.engine->start();
  server.serve(std::move(served));
  log_info("serving on {}://{}:{} after {:.1f} s of loading", options.server.http.tls_key.empty() ? "http" : "https",
           options.server.http.host, server.port(), model.load_seconds);

  while (!interrupt.requested()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  log_info("shutting down: {} requests under way, at most {} s", server.num_active(), options.shutdown_timeout);
  server.drain();
  const double end = monotonic_seconds() + options.shutdown_timeout;
  while (server.num_active() > 0 && monotonic_seconds() < end) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const bool is_drained = server.num_active() == 0;
  server.stop();
  model.engine->stop();
  return is_drained ? 0 : kStopped;
}

void add_network_options(CLI::App& app, Options& options) {
  ServerOptions& server = options.server;
  add_text(app, "--host", server.http.host, "ADDRESS", "Address to listen on");
  add_number<size_t>(app, "--port", options.port, 0, 65535, "Port; 0: any free one");
  add_text(app, "--ssl-certfile,--ssl-cert-file", server.http.tls_certificate, "FILE", "Certificate chain in PEM: serve HTTPS");
  add_text(app, "--ssl-keyfile,--ssl-key-file", server.http.tls_key, "FILE", "Its private key in PEM");
  add_texts(app, "--api-key", server.access.keys, "KEY", "Ask for this key; may be repeated. Visible to other users: better QUERN_API_KEY");
  add_text(app, "--api-key-file", options.key_file, "FILE", "Keys, one a line");
  add_texts(app, "--metrics-key", server.metrics_keys, "KEY", "A key that opens /metrics alone");
  app.add_flag("--insecure-no-auth", options.insecure, "Serve everyone who can reach a public address, without a key");
  add_texts(app, "--allowed-origins,--cors-origins", server.access.allowed_origins, "ORIGIN",
            "Pages of this origin may use the server; * is any");
  add_texts(app, "--allowed-hosts", server.access.allowed_hosts, "NAME", "Another Host that a server on the loopback device answers to");
}

void add_limit_options(CLI::App& app, Options& options) {
  ServerOptions& server = options.server;
  add_number<size_t>(app, "--max-waiting", server.max_waiting, 1, 1'000'000, "Requests in the queue; further ones get 429");
  add_number<double>(app, "--queue-timeout", server.queue_timeout, 0.1, 86400, "Seconds in the queue");
  add_number<double>(app, "--request-timeout,--timeout", server.request_timeout, 0.1, 86400, "Seconds of a request as a whole");
  add_number<double>(app, "--shutdown-timeout", options.shutdown_timeout, 0, 86400, "Seconds that requests get to end after SIGTERM");
  add_number<size_t>(app, "--max-body-mib", options.body_mib, 1, 1024, "MiB of a request's body");
  add_number<size_t>(app, "--max-connections", server.http.max_connections, 1, 1'000'000, "Connections at one time");
  add_choice(app, "--half-close", options.half_close, {"cancel", "keep"},
             "A client that ends its sending side: has left, or still wants its answer");
  add_number<size_t>(app, "--threads-http", server.num_workers, 1, 64, "Threads that read requests");
  add_text(app, "--metrics-prefix", server.metrics_prefix, "TEXT", "Of the names in /metrics; vllm: fits existing dashboards");
  app.add_flag_callback(
      "--no-webui,--no-ui", [&server] { server.has_page = false; }, "No chat page at /");
  app.add_flag("--disable-log-requests,--no-enable-log-requests", options.is_quiet, "No line for each request");
  add_choice(app, "--log-format", options.log_format, {"text", "json"}, "Lines of the log");
  add_choice(app, "--tool-call-parser,--tool-parser", options.call_parser, {"auto", "hermes", "qwen3_coder", "qwen3_xml"},
             "How the model writes calls of tools: as its chat format does, as JSON, or as Qwen3-Coder's XML");
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_text(app, "model,-m,--model", options->model.model, "MODEL", "Engine file, GGUF file, or Hugging Face folder")->required();
  add_texts(app, "-a,--served-model-name,--alias", options->names, "NAME",
            "Name of the model for clients; may be repeated (default: the file's)");
  add_network_options(app, *options);
  add_limit_options(app, *options);
  add_engine_options(app, options->model);
  add_device_options(app, options->model);
  add_text(app, "--config", options->config, "FILE",
           "Options from a JSON or YAML file; the command line and QUERN_* variables go before it");
  accept_foreign_flags(app, options->foreign_text);
  app.footer(
      "Every option can be given as a variable QUERN_<OPTION>, in capitals and with underscores (QUERN_MAX_NUM_SEQS).\n"
      "docs/server.md has the routes, limits and metrics. SIGTERM: new requests get 503, those under way have --shutdown-timeout to end;\n"
      "exit status 0 when they did, 75 when not. A second signal ends at once.");
  return [options] { return serve(*options); };
}

}  // namespace

const Verb kServeVerb = {"serve", "Serve OpenAI's API over HTTP", &declare};

}  // namespace quern
