#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine_loader.h"
#include "engine/live_request.h"
#include "engine/scheduler.h"
#include "engine/step_timer.h"

namespace quern {
namespace {

SchedulerOptions scheduler_options(const EngineOptions& options, const ModelRunner& runner) {
  return {.max_num_seqs = options.max_num_seqs,
          .max_num_batched_tokens = options.max_num_batched_tokens,
          .max_prefill_chunk = options.max_prefill_chunk,
          .max_logit_rows = runner.max_logit_rows(),
          .enable_prefix_caching = options.enable_prefix_caching};
}

std::vector<TokenId> end_ids_for(const SamplingParams& params, const std::vector<TokenId>& model_end_ids) {
  std::vector<TokenId> ids(params.stop_token_ids.begin(), params.stop_token_ids.end());
  if (!params.ignore_eos) ids.insert(ids.end(), model_end_ids.begin(), model_end_ids.end());
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

}  // namespace

struct Engine::State {
  State(LoadedModel&& loaded, const EngineOptions& settled)
      : options(settled),
        model(std::move(loaded)),
        pool(model.runner->num_blocks(), model.runner->block_tokens()),
        scheduler(scheduler_options(options, *model.runner), pool),
        timer(options.max_step_seconds) {
    publish();
  }

  // --- Any thread ---

  void check_prompt(const std::vector<TokenId>& prompt) const {
    if (prompt.empty()) raise(invalid_input, "prompt: want at least 1 token, found none");
    for (size_t i = 0; i < prompt.size(); ++i) {
      if (prompt[i] < 0 || static_cast<size_t>(prompt[i]) >= model.num_tokens) {
        raise(invalid_input, "prompt[{}]: want a token id from 0 to {}, found {}", i, model.num_tokens - 1, prompt[i]);
      }
    }
    if (prompt.size() >= options.max_model_len) {
      raise(invalid_input, "prompt: want fewer tokens than the context of {}, found {}", options.max_model_len, prompt.size());
    }
  }

  size_t max_output(const Request& request) const {
    const size_t rest = options.max_model_len - request.prompt.size();
    if (!request.params.max_tokens) return rest;
    const auto wanted = static_cast<size_t>(*request.params.max_tokens);
    if (wanted > rest) {
      raise(invalid_input, "max_tokens: prompt of {} and {} to come are {} tokens, the context has {}", request.prompt.size(), wanted,
            request.prompt.size() + wanted, options.max_model_len);
    }
    return wanted;
  }

  uint64_t new_seed() {
    const std::lock_guard lock(mutex);
    return seeds();
  }

  Session submit(Request request) {
    request.params.validate(model.num_tokens);
    check_prompt(request.prompt);
    const size_t output = max_output(request);
    if (!request.params.stop.empty() && model.tokenizer == nullptr) raise(usage, "stop: this engine has no tokenizer");
    const std::optional<int64_t> given = request.params.seed == -1 ? std::nullopt : request.params.seed;
    const uint64_t seed = given ? static_cast<uint64_t>(*given) : new_seed();
    std::vector<TokenId> end_ids = end_ids_for(request.params, model.defaults.end_ids);

    auto sequence = std::make_unique<Sequence>(next_id.fetch_add(1), std::move(request.prompt), std::move(request.params), output);
    sequence->priority = request.priority;
    sequence->scope = {model.runner->rope_variant(sequence->prompt_tokens), std::move(request.cache_salt)};
    sequence->sampler = SamplerState(sequence->params, sequence->tokens, end_ids, seed);
    if (const size_t needed = pool.blocks_for(sequence->max_cached_tokens()); needed > pool.num_blocks()) {
      raise(invalid_input, "prompt of {} tokens and {} to come need {} KV blocks of {} tokens, the cache has {}", sequence->prompt_tokens,
            output, needed, pool.block_tokens(), pool.num_blocks());
    }
    auto channel = std::make_shared<SessionChannel>(sequence->id, signal);
    auto live_request = std::make_unique<LiveRequest>(std::move(sequence), std::move(end_ids), model.tokenizer.get(), channel);
    if (request.masks) live_request->constrain(std::move(request.masks));
    {
      const std::lock_guard lock(mutex);
      if (!broken.empty()) raise(internal, "the engine has stopped: {}", broken);
      ++accepted;
      inbox.push_back(std::move(live_request));
    }
    signal->notify();
    return Session(std::move(channel));
  }

  // --- Engine thread ---

  void take_arrivals() {
    std::vector<std::unique_ptr<LiveRequest>> arrivals;
    {
      const std::lock_guard lock(mutex);
      arrivals.swap(inbox);
    }
    for (auto& arrival : arrivals) {
      const uint64_t id = arrival->sequence().id;
      scheduler.add(live.emplace(id, std::move(arrival)).first->second->sequence());
    }
  }

  void drop_cancelled() {
    const uint64_t up_to = cancel_up_to.load();
    for (auto at = live.begin(); at != live.end();) {
      LiveRequest& request = *(at++)->second;
      if (request.is_cancelled() || request.sequence().id <= up_to) end(request, FinishReason::cancelled, {});
    }
  }

  uint64_t& count_of(FinishReason reason) {
    switch (reason) {
      case FinishReason::stop: return working.finished_stop;
      case FinishReason::length: return working.finished_length;
      case FinishReason::cancelled: return working.cancelled;
      case FinishReason::error: break;
    }
    return working.failed;
  }

  // Ends a request before its own end.
  void end(LiveRequest& request, FinishReason reason, const std::string& detail) {
    request.end(reason, detail);
    retire(request, reason);
  }

  // Its session knows already.
  void retire(LiveRequest& request, FinishReason reason) {
    if (reason == FinishReason::error) {  // what it computed may be wrong: zeroed, and not found by others
      for (const BlockId block : scheduler.forget(request.sequence())) model.runner->clear_block(block);
    }
    scheduler.remove(request.sequence());
    ++count_of(reason);
    live.erase(request.sequence().id);
  }

  // Of one row of ForwardBatch::allowed.
  size_t mask_words() const {
    const size_t tokens = model.transformer == nullptr ? model.num_tokens : model.transformer->config().vocab_size;
    return (tokens + 31) / 32;
  }

  void fill_batch(const StepPlan& plan, double time) {
    batch.sequences.clear(), batch.sample_rows.clear(), batch.counts.clear(), batch.biases.clear(), batch.allowed.clear();
    for (const ScheduledChunk& chunk : plan.chunks) {
      Sequence& sequence = *chunk.sequence;
      live.at(sequence.id)->mark_scheduled(time);
      batch.sequences.push_back({.token_ids = std::span(sequence.tokens).subspan(chunk.first_position, chunk.num_tokens),
                                 .first_position = static_cast<int32_t>(chunk.first_position),
                                 .blocks = sequence.blocks,
                                 .rope_variant = sequence.scope.rope_variant,
                                 .wants_logits = chunk.logit_rows > 0,
                                 .logit_tokens = static_cast<int32_t>(std::max<size_t>(chunk.logit_rows, 1))});
      const size_t end = chunk.first_position + chunk.num_tokens;  // the logits of a position are about the next one
      for (size_t position = end - chunk.logit_rows + 1; position < end + (chunk.samples ? 0 : 1); ++position) {
        live.at(sequence.id)->append_prompt_row(batch, position, mask_words());
      }
      if (!chunk.samples) continue;
      sequence.sampler.append_row(batch, sequence.tokens.size(), sequence.output_tokens());
      live.at(sequence.id)->append_mask(batch, mask_words());
    }
  }

  // The step's work is lost and so are its requests; the next step may go well.
  void fail_step(const StepPlan& plan, const std::string& message) {
    log_warning("a step of {} tokens ended {} requests: {}", plan.num_tokens, plan.chunks.size(), message);
    for (const ScheduledChunk& chunk : plan.chunks) end(*live.at(chunk.sequence->id), FinishReason::error, message);
    ++working.failed_steps;
  }

  void hand_out(const StepPlan& plan, const std::vector<SampledRow>& rows) {
    const double time = monotonic_seconds();
    size_t next = 0;
    for (const ScheduledChunk& chunk : plan.chunks) {
      if (chunk.logit_rows == 0) continue;
      CHECK(chunk.logit_rows <= rows.size() - next, "{} rows came back", rows.size());
      LiveRequest& request = *live.at(chunk.sequence->id);
      const std::span<const SampledRow> of_chunk = std::span(rows).subspan(next, chunk.logit_rows);
      next += chunk.logit_rows;
      if (request.sequence().wants_prompt_rows()) {
        const auto told = request.tell_prompt(of_chunk.first(chunk.logit_rows - (chunk.samples ? 1 : 0)), time);
        if (told) {
          retire(request, *told);
          continue;
        }
      }
      if (!chunk.samples) continue;
      if (request.sequence().output_tokens() == 0) working.prompt_tokens += request.sequence().prompt_tokens;
      working.output_tokens += of_chunk.back().token_id >= 0 ? 1 : 0;
      if (const auto reason = request.accept(of_chunk.back(), time)) retire(request, *reason);
    }
  }

  bool step() {
    take_arrivals();
    drop_cancelled();
    const StepPlan plan = scheduler.plan(timer.prefill_budget());
    if (plan.empty()) {
      publish();
      return false;
    }
    const double begin = monotonic_seconds();
    fill_batch(plan, begin);
    std::vector<SampledRow> rows;
    std::string failure;
    try {
      rows = model.runner->forward(batch);
    } catch (const std::exception& error) {
      failure = error.what();
    }
    working.last_step_time = monotonic_seconds();
    working.busy_seconds += working.last_step_time - begin;
    ++working.steps;
    if (!failure.empty()) {
      fail_step(plan, failure);
    } else {
      size_t prompt_tokens = 0;
      for (const ScheduledChunk& chunk : plan.chunks) prompt_tokens += chunk.num_tokens > 1 ? chunk.num_tokens : 0;
      timer.record(plan.num_tokens - prompt_tokens, prompt_tokens, working.last_step_time - begin);
      scheduler.commit(plan);
      hand_out(plan, rows);
    }
    publish();
    return true;
  }

  // What others see changes at once, so that the counts add up at any time.
  void publish() {
    const SchedulerCounts counts = scheduler.counts();
    working.running = counts.running;
    working.waiting_prompt_tokens = counts.waiting_prompt_tokens;
    working.kv_blocks = pool.num_blocks();
    working.kv_blocks_used = pool.num_blocks() - pool.num_free();
    working.preemptions = counts.preemptions;
    working.prefix_query_tokens = counts.prefix_query_tokens;
    working.prefix_hit_tokens = counts.prefix_hit_tokens;
    const std::lock_guard lock(mutex);
    published = working;
  }

  // Every request ends; with `reason` error the engine takes no more.
  void end_all(FinishReason reason, const std::string& detail) {
    std::vector<std::unique_ptr<LiveRequest>> arrivals;
    {
      const std::lock_guard lock(mutex);
      if (reason == FinishReason::error) broken = detail;
      arrivals.swap(inbox);
    }
    for (auto& arrival : arrivals) arrival->end(reason, detail);
    for (auto& [id, request] : live) {
      scheduler.remove(request->sequence());
      request->end(reason, detail);
    }
    count_of(reason) += arrivals.size() + live.size();
    live.clear();
    publish();
  }

  void loop() {
    while (!stopping.load()) {
      try {
        if (!step()) signal->wait();
      } catch (const std::exception& error) {  // a broken invariant: nothing that the engine holds can be trusted
        log_line(LogLevel::error, fmt::format("the engine stops: {}", error.what()));
        end_all(FinishReason::error, error.what());
        return;
      }
    }
  }

  EngineOptions options;
  LoadedModel model;
  BlockPool pool;
  Scheduler scheduler;
  StepTimer timer;
  std::map<uint64_t, std::unique_ptr<LiveRequest>> live;
  ForwardBatch batch;
  EngineStats working;

  const std::shared_ptr<EngineSignal> signal = std::make_shared<EngineSignal>();
  std::atomic<uint64_t> next_id = 1, cancel_up_to = 0;
  std::atomic<bool> stopping = false;
  std::thread thread;

  mutable std::mutex mutex;  // of what follows
  std::vector<std::unique_ptr<LiveRequest>> inbox;
  std::mt19937_64 seeds{std::random_device()()};
  uint64_t accepted = 0;
  EngineStats published;
  std::string broken;  // why the engine takes no more requests
};

Engine::Engine(std::shared_ptr<EngineFile> file, Backend& backend, const EngineOptions& options) {
  EngineOptions settled = options;
  LoadedModel model = load_model(std::move(file), backend, settled);
  state_ = std::make_unique<State>(std::move(model), settled);
}

Engine::Engine(std::unique_ptr<ModelRunner> runner, std::shared_ptr<const Tokenizer> tokenizer, size_t num_tokens,
               GenerationDefaults defaults, const EngineOptions& options) {
  CHECK(options.max_model_len > 0, "an engine without a file needs its context");
  EngineOptions settled = options;
  settled.block_tokens = runner->block_tokens();
  if (settled.max_num_batched_tokens == 0) settled.max_num_batched_tokens = std::max<size_t>(512, settled.max_num_seqs);
  LoadedModel model;
  model.runner = std::move(runner);
  model.tokenizer = std::move(tokenizer);
  model.num_tokens = num_tokens;
  model.defaults = std::move(defaults);
  state_ = std::make_unique<State>(std::move(model), settled);
}

Engine::~Engine() {
  stop();
  state_->end_all(FinishReason::cancelled, {});
}

void Engine::start() {
  CHECK(!state_->thread.joinable(), "the engine runs already");
  state_->stopping = false;
  state_->thread = std::thread([state = state_.get()] { state->loop(); });
}

void Engine::stop() {
  if (!state_->thread.joinable()) return;
  state_->stopping = true;
  state_->signal->notify();
  state_->thread.join();
}

bool Engine::step() {
  CHECK(!state_->thread.joinable(), "the engine's own thread runs");
  return state_->step();
}

Session Engine::submit(Request request) { return state_->submit(std::move(request)); }

void Engine::cancel_all() {
  state_->cancel_up_to = state_->next_id - 1;
  state_->signal->notify();
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(state_->mutex);
  EngineStats stats = state_->published;
  stats.accepted = state_->accepted;
  stats.waiting = stats.accepted - stats.finished_stop - stats.finished_length - stats.cancelled - stats.failed - stats.running;
  for (const auto& arrival : state_->inbox) stats.waiting_prompt_tokens += arrival->sequence().tokens.size();
  return stats;
}

const EngineOptions& Engine::options() const { return state_->options; }
const GenerationDefaults& Engine::defaults() const { return state_->model.defaults; }
size_t Engine::num_tokens() const { return state_->model.num_tokens; }
const EngineFile* Engine::file() const { return state_->model.file.get(); }
const ModelConfig* Engine::config() const { return state_->model.transformer == nullptr ? nullptr : &state_->model.transformer->config(); }
Transformer* Engine::transformer() { return state_->model.transformer; }

const Tokenizer& Engine::tokenizer() const {
  CHECK(state_->model.tokenizer != nullptr, "an engine without a tokenizer");
  return *state_->model.tokenizer;
}

}  // namespace quern
