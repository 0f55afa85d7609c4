#include "server/server.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <map>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "server/chat_page.h"
#include "server/generation.h"
#include "server/json_writer.h"
#include "server/messages_answer.h"
#include "server/metrics.h"
#include "server/routes.h"
#include "server/worker_pool.h"

namespace quern {
namespace {

constexpr double kRetrySeconds = 1;
constexpr auto kLastEventTime = std::chrono::milliseconds(300);  // for the last bytes of what is cut at the end

HttpReply status_reply() { return {.body = R"({"status":"ok"})"}; }

bool is_json(const std::string& content_type) {
  std::string type = content_type.substr(0, content_type.find(';'));
  for (char& c : type) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  while (type.ends_with(' ')) type.pop_back();
  return type == "application/json" || type.ends_with("+json");
}

std::optional<ApiError> check_media(const HttpRequest& request) {
  if (const std::string* encoding = request.header("content-encoding"); encoding != nullptr && *encoding != "identity") {
    return api_error(415, "invalid_request_error", "unsupported_encoding",
                     "Bodies are read as they are: Content-Encoding is identity only.");
  }
  if (const std::string* type = request.header("content-type"); type != nullptr && !is_json(*type)) {
    return api_error(415, "invalid_request_error", "unsupported_media_type", "The body is JSON: Content-Type is application/json.");
  }
  return std::nullopt;
}

}  // namespace

bool is_loopback(const std::string& address) { return address.starts_with("127.") || address == "::1" || address == "localhost"; }

struct Server::State {
  explicit State(const ServerOptions& given)
      : options(given), access(given.access), metrics_access({.keys = given.metrics_keys, .checks_host = false}), http(given.http) {
    host.metrics = &metrics;
    host.post = http.poster();
    host.queue_timeout = options.queue_timeout;
    host.request_timeout = options.request_timeout;
    host.on_end = [this](const Exchange& exchange, int status, const TokenTotals& totals) {
      --num_generations;
      log(exchange, status, &totals);
    };
  }

  // --- Event loop ---

  void log(const Exchange& exchange, int status, const TokenTotals* totals) {
    if (!options.logs_requests) return;
    const HttpRequest& request = const_cast<Exchange&>(exchange).request();
    const double milliseconds = (monotonic_seconds() - exchange.start()) * 1000;
    const std::string counts =
        totals == nullptr ? "" : fmt::format(" prompt {} output {} tokens", totals->prompt_tokens, totals->output_tokens);
    log_info("{} {} {} {} {:.1f} ms{}", exchange.id(), escaped(request.method, 20), escaped(request.path, 100), status, milliseconds,
             counts);
  }

  void reply(const std::shared_ptr<Exchange>& exchange, HttpReply reply) {
    for (HttpHeader& header : access.origin_headers(exchange->request())) reply.headers.push_back(std::move(header));
    const int status = reply.status;
    const bool is_probe = exchange->request().method == "GET" && status == 200;
    exchange->reply(std::move(reply));
    if (!is_probe) log(*exchange, status, nullptr);
  }

  void refuse(const std::shared_ptr<Exchange>& exchange, const ApiError& error) {
    ++metrics.refused;
    metrics.queue_full += error.status == 429 ? 1 : 0;
    const bool is_anthropic = exchange->request().path.starts_with("/v1/messages");
    reply(exchange, is_anthropic ? messages_error_reply(error, exchange->id()) : error.reply());
  }

  void handle(const std::shared_ptr<Exchange>& exchange) {
    ++metrics.http_requests;
    try {
      dispatch(exchange);
    } catch (const std::exception& error) {
      refuse(exchange, from_exception(error));
    }
  }

  void dispatch(const std::shared_ptr<Exchange>& exchange) {
    const HttpRequest& request = exchange->request();
    if (const auto error = access.check_origin(request)) return refuse(exchange, *error);
    if (request.method == "OPTIONS" && !access.origin_headers(request).empty()) return reply(exchange, {.status = 204});
    RouteMatch match = find_route(request.method, request.path);
    if (request.path == "/" && !options.has_page) match = {};
    if (match.route == nullptr) return refuse_route(exchange, match);
    const Route& route = *match.route;
    if (!route.is_open) {
      const bool has_own_key = route.kind == Route::Kind::metrics && !options.metrics_keys.empty() && !metrics_access.check_key(request);
      const auto error = has_own_key ? std::nullopt : access.check_key(request);
      if (error) return refuse(exchange, *error);
    }
    switch (route.kind) {
      case Route::Kind::live: return reply(exchange, status_reply());
      case Route::Kind::ready:
        if (const auto error = not_ready()) return reply(exchange, error->reply());
        return reply(exchange, status_reply());
      case Route::Kind::metrics: return reply_metrics(exchange);
      case Route::Kind::load: return reply_load(exchange);
      case Route::Kind::page: return reply(exchange, chat_page_reply(chat_page_text()));
      case Route::Kind::answer:
      case Route::Kind::generate: return hand_to_worker(exchange, route);
    }
  }

  void refuse_route(const std::shared_ptr<Exchange>& exchange, const RouteMatch& match) {
    // Whether a path exists is told to those with a key only.
    if (const auto error = access.check_key(exchange->request())) return refuse(exchange, *error);
    if (match.allowed.empty()) {
      return refuse(exchange, api_error(404, "not_found_error", "unknown_route",
                                        fmt::format("There is no route {}.", escaped(exchange->request().path, 100))));
    }
    HttpReply answer =
        api_error(405, "invalid_request_error", "method_not_allowed", fmt::format("This route takes {}.", match.allowed)).reply();
    answer.headers.push_back({"Allow", match.allowed});
    ++metrics.refused;
    reply(exchange, std::move(answer));
  }

  std::optional<ApiError> not_ready() const {
    if (is_draining) return try_later(503, "draining", "The server is shutting down.", kRetrySeconds);
    if (model == nullptr) return try_later(503, "loading", "Loading model", kRetrySeconds);
    const EngineStats stats = model->engine->stats();
    const double now = monotonic_seconds();
    const bool has_work = stats.waiting + stats.running > 0;
    if (has_work && now - std::max(stats.last_step_time, work_since) > options.stall_timeout) {
      return try_later(503, "stalled", "The engine makes no progress.", kRetrySeconds);
    }
    return std::nullopt;
  }

  void reply_metrics(const std::shared_ptr<Exchange>& exchange) {
    if (model == nullptr) return refuse(exchange, *not_ready());
    HttpReply answer{.content_type = "text/plain; version=0.0.4; charset=utf-8"};
    answer.body = metrics.text(model->engine->stats(), model->engine->options(), options.metrics_prefix, model->name());
    if (const EngineFile* file = model->engine->file()) {
      answer.body += quality_metrics(file->metadata().receipt, options.metrics_prefix, model->name());
    }
    reply(exchange, std::move(answer));
  }

  void reply_load(const std::shared_ptr<Exchange>& exchange) {
    HttpReply answer;
    JsonWriter json(answer.body);
    json.begin_object().field("server_load", generations.size() + reading.size());
    if (model != nullptr) {
      const EngineStats stats = model->engine->stats();
      json.field("running", stats.running).field("waiting", stats.waiting);
    }
    json.end_object();
    reply(exchange, std::move(answer));
  }

  void hand_to_worker(const std::shared_ptr<Exchange>& exchange, const Route& route) {
    if (is_draining || model == nullptr) return refuse(exchange, *not_ready());
    HttpRequest& request = exchange->request();
    if (const auto error = check_media(request)) return refuse(exchange, *error);
    if (route.kind == Route::Kind::generate) {
      if (const auto error = queue_is_full(1, 0)) return refuse(exchange, *error);
    }
    if (reading.size() >= options.max_waiting) return refuse(exchange, queue_full());
    const uint64_t id = ++last_reading;
    reading.emplace(id, exchange);
    num_reading = reading.size();
    exchange->on_gone([this, id] { forget_reading(id); });
    // The worker sees the request and the model, and never the exchange.
    auto taken =
        std::make_shared<HttpRequest>(HttpRequest{.method = request.method, .path = request.path, .body = std::move(request.body)});
    workers.post([this, id, taken, &route, served = model] {
      const auto plan = std::make_shared<GenerationPlan>();
      HttpReply answer;
      std::optional<ApiError> error;
      try {
        if (route.kind == Route::Kind::generate) {
          *plan = route.plan(taken->body, *served);
        } else {
          answer = route.answer(*taken, *served);
        }
      } catch (const std::exception& failure) {
        error = from_exception(failure);
        if (error->status == 500) log_warning("{} {}: {}", taken->method, escaped(taken->path, 100), escaped(failure.what()));
      }
      host.post([this, id, plan, answer = std::move(answer), error] {
        const std::shared_ptr<Exchange> back = forget_reading(id);
        if (back == nullptr) return;
        if (error) return refuse(back, *error);
        plan->answer == nullptr ? reply(back, answer) : generate(back, std::move(*plan));
      });
    });
  }

  std::shared_ptr<Exchange> forget_reading(uint64_t id) {
    const auto found = reading.find(id);
    if (found == reading.end()) return nullptr;
    std::shared_ptr<Exchange> exchange = std::move(found->second);
    reading.erase(found);
    num_reading = reading.size();
    return exchange;
  }

  static ApiError queue_full() { return try_later(429, "queue_full", "Too many requests are waiting.", kRetrySeconds); }

  std::optional<ApiError> queue_is_full(size_t runs, size_t prompt_tokens) const {
    const EngineStats stats = model->engine->stats();
    size_t waiting = stats.waiting;
    for (const auto& generation : generations) waiting += generation->num_waiting();
    if (waiting + runs > options.max_waiting) return queue_full();
    const size_t pool_tokens = stats.kv_blocks * model->engine->options().block_tokens;
    const bool is_over =
        stats.waiting_prompt_tokens > 0 && stats.waiting_prompt_tokens + prompt_tokens > pool_tokens * options.max_waiting_pools;
    if (is_over) return queue_full();
    return std::nullopt;
  }

  void generate(const std::shared_ptr<Exchange>& exchange, GenerationPlan plan) {
    if (is_draining) return refuse(exchange, *not_ready());
    if (const auto error = queue_is_full(plan.num_runs(), plan.prompt_tokens())) return refuse(exchange, *error);
    if (generations.empty()) work_since = monotonic_seconds();
    auto generation = std::make_shared<Generation>(exchange, std::move(plan), access.origin_headers(exchange->request()), host);
    ++num_generations;
    try {
      generation->start();
    } catch (const std::exception& error) {
      --num_generations;
      return refuse(exchange, from_exception(error));
    }
    if (!generation->is_over()) generations.push_back(std::move(generation));
  }

  void tick() {
    const double now = monotonic_seconds();
    // NOLINTNEXTLINE(modernize-loop-convert): an answer that ends may start the next request of its connection, which adds one
    for (size_t i = 0; i < generations.size(); ++i) generations[i]->tick(now);
    std::erase_if(generations, [](const auto& generation) { return generation->is_over(); });
  }

  // Runs `work` on the loop's thread and waits for it.
  void on_loop(const std::function<void()>& work) {
    std::promise<void> done;
    http.post([&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }

  ServerOptions options;
  Access access, metrics_access;
  ServerMetrics metrics;
  GenerationHost host;
  std::shared_ptr<const ServedModel> model;
  std::vector<std::shared_ptr<Generation>> generations;
  std::map<uint64_t, std::shared_ptr<Exchange>> reading;  // requests that a worker reads
  uint64_t last_reading = 0;
  double work_since = 0;  // when the engine last got work after having none
  bool is_draining = false, is_started = false;
  std::atomic<size_t> num_generations = 0, num_reading = 0;
  HttpServer http;
  WorkerPool workers{2};
};

Server::Server(const ServerOptions& options) : state_(std::make_unique<State>(options)) {}
Server::~Server() { stop(); }

uint16_t Server::port() const { return state_->http.port(); }

void Server::start() {
  State* state = state_.get();
  state->is_started = true;
  state->http.start([state](const std::shared_ptr<Exchange>& exchange) { state->handle(exchange); }, [state] { state->tick(); });
}

void Server::serve(ServedModel model) {
  state_->on_loop([&] {
    state_->host.engine = model.engine;
    model.constraints = std::make_shared<ConstraintCache>(model.tokenizer(), model.call_dialect());
    state_->model = std::make_shared<const ServedModel>(std::move(model));
  });
}

void Server::drain() {
  state_->on_loop([&] { state_->is_draining = true; });
  state_->http.drain();
}

size_t Server::num_active() const { return state_->num_generations + state_->num_reading; }

void Server::stop() {
  if (!state_->is_started) return;
  state_->is_started = false;
  state_->workers.stop();
  bool had_some = false;
  state_->on_loop([&] {
    state_->is_draining = true;
    const ApiError error = try_later(503, "draining", "The server is shutting down.", kRetrySeconds);
    had_some = !state_->generations.empty() || !state_->reading.empty();
    for (const auto& generation : state_->generations) generation->fail(error);
    state_->generations.clear();
    const auto left = std::move(state_->reading);
    for (const auto& [id, exchange] : left) exchange->reply(error.reply());
    state_->reading.clear();
  });
  if (had_some) std::this_thread::sleep_for(kLastEventTime);
  state_->http.stop();
}

}  // namespace quern
