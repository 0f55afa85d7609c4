#include "server/generation.h"

#include <algorithm>
#include <limits>
#include <random>

#include "base/clock.h"

namespace quern {

// Carries news of the engine's thread to the event loop, one message at a time however many tokens came.
struct Generation::Mailbox {
  std::function<void(std::function<void()>)> post;
  std::weak_ptr<Generation> owner;
  std::atomic<bool> is_posted = false;

  static void notify(const std::shared_ptr<Mailbox>& mailbox) {
    if (mailbox->is_posted.exchange(true)) return;
    mailbox->post([mailbox] {
      mailbox->is_posted = false;
      if (const auto generation = mailbox->owner.lock()) generation->collect();
    });
  }
};

Generation::Generation(std::shared_ptr<Exchange> exchange, GenerationPlan plan, std::vector<HttpHeader> headers, GenerationHost& host)
    : exchange_(std::move(exchange)),
      plan_(std::move(plan)),
      headers_(std::move(headers)),
      host_(&host),
      runs_(plan_.num_runs()),
      start_time_(exchange_->start()),
      last_send_(monotonic_seconds()) {
  if (!plan_.ignored_fields.empty()) headers_.push_back({"x-quern-ignored", plan_.ignored_fields});
  if (plan_.params.seed == -1) plan_.params.seed.reset();
  if (runs_.size() > 1 && !plan_.params.seed) plan_.params.seed = static_cast<int64_t>(std::random_device()() >> 1);
}

size_t Generation::num_waiting() const {
  return static_cast<size_t>(std::ranges::count_if(runs_, [](const Run& run) { return !run.is_finished && !run.session; }));
}

void Generation::submit(size_t index) {
  Request request{.prompt = plan_.prompts[index / plan_.runs_per_prompt],
                  .params = plan_.params,
                  .priority = plan_.priority,
                  .cache_salt = plan_.cache_salt,
                  .masks = plan_.masks};
  if (index % plan_.runs_per_prompt != 0) request.params.prompt_logprobs.reset();  // the first run tells them
  if (request.params.max_tokens == 0) request.params.max_tokens = 1;               // for the prompt's sake; its token is dropped
  if (request.params.seed) {
    const auto seed = static_cast<uint64_t>(*request.params.seed) + index % plan_.runs_per_prompt;
    request.params.seed = static_cast<int64_t>(seed == std::numeric_limits<uint64_t>::max() ? 0 : seed);
  }
  Session& session = runs_[index].session.emplace(host_->engine->submit(std::move(request)));
  session.set_listener([mailbox = mailbox_] { Mailbox::notify(mailbox); });
  Mailbox::notify(mailbox_);  // what came before the listener was there
}

void Generation::start() {
  mailbox_ = std::make_shared<Mailbox>();
  mailbox_->post = host_->post;
  mailbox_->owner = weak_from_this();
  const bool generates = plan_.params.max_tokens != 0 || plan_.params.prompt_logprobs;
  // The first run of a prompt computes it; the others follow when they find it in the cache.
  const size_t block = host_->engine->options().block_tokens;
  for (size_t i = 0; generates && i < runs_.size(); ++i) {
    const bool finds_prefix = host_->engine->options().enable_prefix_caching && plan_.prompts[i / plan_.runs_per_prompt].size() > block;
    const bool waits = finds_prefix || plan_.params.prompt_logprobs;  // which are told before any answer goes on
    if (i % plan_.runs_per_prompt == 0 || !waits) submit(i);
  }
  ++host_->metrics->accepted;
  ++host_->metrics->running;
  host_->metrics->params_n.observe(static_cast<double>(plan_.runs_per_prompt));
  if (plan_.params.max_tokens) host_->metrics->params_max_tokens.observe(static_cast<double>(*plan_.params.max_tokens));
  exchange_->on_gone([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->client_left();
  });
  if (plan_.is_stream) {
    HttpReply head{.content_type = "text/event-stream; charset=utf-8", .headers = headers_};
    head.headers.push_back({"Cache-Control", "no-cache"});
    head.headers.push_back({"X-Accel-Buffering", "no"});
    exchange_->on_writable([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->collect();
    });
    std::string out;
    plan_.answer->begin(out);
    exchange_->begin_stream(std::move(head));
    exchange_->send(out);
  }
  if (generates) return;
  std::string out;
  for (size_t i = 0; i < runs_.size(); ++i) {
    SessionOutput output;
    output.finish = Finish{.reason = FinishReason::length};
    runs_[i].is_finished = true;
    plan_.answer->add(i, std::move(output), out);
  }
  exchange_->send(out);
  finish();
}

void Generation::submit_siblings(size_t run) {
  if (run % plan_.runs_per_prompt != 0) return;
  for (size_t i = run + 1; i < run + plan_.runs_per_prompt; ++i) {
    if (!runs_[i].session && !runs_[i].is_finished) submit(i);
  }
}

void Generation::collect() {
  if (is_over_) return;
  if (plan_.is_stream && exchange_->unsent_bytes() > host_->max_unsent_bytes) return;  // goes on when the client has read
  std::string out;
  try {
    for (size_t i = 0; i < runs_.size() && !is_over_; ++i) {
      Run& run = runs_[i];
      if (!run.session || run.is_finished) continue;
      if (auto output = run.session->read_for(std::chrono::milliseconds(0))) take(i, *std::move(output), out);
    }
  } catch (const std::exception& error) {
    return fail(from_exception(error));
  }
  if (is_over_) return;
  if (!out.empty()) {
    last_send_ = monotonic_seconds();
    exchange_->send(out);
  }
  if (!is_over_ && std::ranges::all_of(runs_, [](const Run& run) { return run.is_finished; })) finish();
}

void Generation::take(size_t index, SessionOutput output, std::string& out) {
  Run& run = runs_[index];
  for (const OutputToken& token : output.tokens) {
    if (run.last_token_time != 0) host_->metrics->inter_token_latency.observe(token.time - run.last_token_time);
    run.last_token_time = token.time;
  }
  if (!run.has_output && !output.tokens.empty()) {
    run.has_output = true;
    submit_siblings(index);
  }
  if (output.finish) {
    host_->metrics->record_finish(*output.finish);
    if (output.finish->reason == FinishReason::error) {
      const bool is_numerical = output.finish->detail == "numerical_error";
      ApiError error =
          api_error(500, "server_error", is_numerical ? "numerical_error" : "internal",
                    is_numerical ? "The model's numbers for this request were not finite." : "The server failed on this request.");
      error.repeats = is_numerical;
      return fail(error);
    }
    if (output.finish->reason == FinishReason::cancelled) return fail(try_later(503, "cancelled", "The server ended this request.", 1));
    run.is_finished = true;
    submit_siblings(index);
  }
  if (plan_.params.max_tokens == 0) {
    output.tokens.clear(), output.text.clear();
    if (output.finish) output.finish->reason = FinishReason::length, output.finish->stop_token.reset(), output.finish->stop_string.clear();
  }
  plan_.answer->add(index, std::move(output), out);
  if (run.is_finished) run.session.reset();
}

void Generation::finish() {
  if (plan_.is_stream) {
    std::string out;
    plan_.answer->end(out);
    exchange_->send(out);
    exchange_->end_stream();
  } else {
    exchange_->reply({.body = plan_.answer->body(), .headers = headers_});
  }
  end(&ServerMetrics::completed, 200);
}

void Generation::fail(const ApiError& error) {
  if (is_over_) return;
  if (plan_.is_stream) {
    std::string out;
    plan_.answer->fail(error, out);
    exchange_->send(out);
    exchange_->end_stream();
  } else {
    exchange_->reply(plan_.answer->error_reply(error));
  }
  end(&ServerMetrics::failed, error.status);
}

void Generation::client_left() {
  if (!is_over_) end(&ServerMetrics::cancelled, 499);
}

// The sessions go, and with them what the engine still does for them.
void Generation::end(uint64_t ServerMetrics::*count, int status) {
  is_over_ = true;
  ++(host_->metrics->*count);
  --host_->metrics->running;
  for (const Run& run : runs_)
    host_->metrics->finished[static_cast<size_t>(FinishReason::cancelled)] += run.session && !run.is_finished ? 1 : 0;
  runs_.clear();
  host_->on_end(*exchange_, status, plan_.answer->totals());
  exchange_.reset();
}

void Generation::tick(double now) {
  if (is_over_) return;
  if (now - start_time_ > host_->request_timeout) return fail(try_later(503, "timeout", "The request took too long.", 1));
  const bool is_queued =
      std::ranges::none_of(runs_, [](const Run& run) { return run.is_finished || (run.session && run.session->is_scheduled()); });
  if (is_queued && now - start_time_ > host_->queue_timeout) {
    return fail(try_later(503, "queue_timeout", "The request waited too long in the queue.", 5));
  }
  if (plan_.is_stream && now - last_send_ > host_->ping_seconds) {
    last_send_ = now;
    exchange_->send(plan_.answer->ping());
  }
}

}  // namespace quern
