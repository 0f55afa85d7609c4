#include "cli/prompt_batch.h"

#include <unistd.h>

#include "backend/measure.h"
#include "base/clock.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "engine/request_json.h"

namespace quern {
namespace {

OrderedJson logprobs_json(const std::vector<OutputToken>& tokens) {
  OrderedJson list = OrderedJson::array();
  for (const OutputToken& token : tokens) {
    OrderedJson entry;
    entry["id"] = token.id;
    entry["logprob"] = token.logprob;
    entry["top"] = token.top;
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace

int PromptBatch::run(const PromptFile& prompts, ResultFile& results, const Interrupt& interrupt) {
  start_ = last_progress_ = monotonic_seconds();
  num_skipped_ = results.num_finished();
  const size_t window = 2 * model_.engine->options().max_num_seqs + 16;
  model_.engine->start();
  for (size_t next = 0; !interrupt.requested();) {
    while (next < prompts.size() && items_.size() < window) {
      if (!results.has(prompts.id(next))) items_.push_back(submit(prompts, next));
      ++next;
    }
    take_news();
    write_done(prompts, results);
    show_progress(prompts.size(), false);
    if (items_.empty() && next == prompts.size()) break;
    wait();
  }
  const bool is_stopped = !items_.empty();
  model_.engine->cancel_all();
  model_.engine->stop();
  items_.clear();
  results.close();
  show_progress(prompts.size(), true);
  report(monotonic_seconds() - start_);
  if (is_stopped) {
    write_stderr(
        fmt::format("stopped with {} of {} done; the same command goes on from here\n", num_skipped_ + num_written_, prompts.size()));
    return kStopped;
  }
  if (num_errors_ > 0) raise(invalid_input, "{} of {} prompts were not answered; the first: {}", num_errors_, prompts.size(), first_error_);
  return 0;
}

PromptBatch::Item PromptBatch::submit(const PromptFile& prompts, size_t index) {
  Item item{.index = index, .session = {}};
  try {
    const Json object = prompts.object(index);
    const JsonFields fields(object, prompts.where(index));
    Request request{.prompt = {}, .params = defaults_};
    read_sampling_fields(fields, request.params);
    if (fields.has("prompt")) {
      request.prompt = encode_text(style_, fields.text({"prompt"}));
    } else if (fields.has("prompt_ids")) {
      request.prompt = read_token_ids(object.at("prompt_ids"), "prompt_ids");
    } else {
      request.prompt = encode_messages(style_, read_messages(object.at("messages"), "messages"));
    }
    item.session = model_.engine->submit(std::move(request));
    item.session->set_listener([this] {
      const std::lock_guard lock(mutex_);
      has_news_ = true;
      changed_.notify_one();
    });
  } catch (const Error& error) {
    if (error.code() != invalid_input && error.code() != usage) throw;
    item.error = error.message();
  }
  return item;
}

void PromptBatch::take_news() {
  for (Item& item : items_) {
    while (!item.is_done()) {
      std::optional<SessionOutput> output = item.session->read_for(std::chrono::milliseconds(0));
      if (!output) break;
      item.text += output->text;
      item.tokens.insert(item.tokens.end(), output->tokens.begin(), output->tokens.end());
      item.finish = std::move(output->finish);
    }
  }
}

void PromptBatch::write_done(const PromptFile& prompts, ResultFile& results) {
  for (; !items_.empty() && items_.front().is_done(); items_.pop_front()) {
    const Item& item = items_.front();
    const Usage used = item.finish ? item.finish->usage : Usage{};
    if (item.finish && item.finish->reason == FinishReason::cancelled) continue;
    const bool failed = !item.finish || item.finish->reason == FinishReason::error;
    const std::string reason = item.finish ? item.finish->detail : item.error;
    OrderedJson line;
    line["id"] = OrderedJson(prompts.object(item.index).at("id"));
    line["text"] = item.text;
    line["output_ids"] = OrderedJson::array();
    for (const OutputToken& token : item.tokens) line["output_ids"].push_back(token.id);
    line["prompt_tokens"] = used.prompt_tokens;
    line["output_tokens"] = used.output_tokens;
    line["finish_reason"] = failed ? "error" : finish_reason_name(item.finish->reason);
    if (failed) line["error"] = reason;
    if (!item.tokens.empty() && !item.tokens.front().top.empty()) line["logprobs"] = logprobs_json(item.tokens);
    results.append(line);
    ++num_written_;
    if (failed && num_errors_++ == 0) first_error_ = fmt::format("{}: {}", prompts.where(item.index), reason);
    ++figures_.prompts;
    figures_.prompt_tokens += used.prompt_tokens;
    figures_.cached_tokens += used.cached_tokens;
    figures_.output_tokens += used.output_tokens;
  }
}

void PromptBatch::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(100), [this] { return has_news_; });
  has_news_ = false;
}

// On a terminal one line that is written over, twice a second; otherwise a line every ten seconds.
void PromptBatch::show_progress(size_t total, bool is_last) {
  const bool is_terminal = ::isatty(STDERR_FILENO) != 0;
  const double now = monotonic_seconds();
  if (!is_last && now - last_progress_ < (is_terminal ? 0.5 : 10)) return;
  last_progress_ = now;
  const EngineStats stats = model_.engine->stats();
  const std::string text = fmt::format("{} of {} prompts, {} running, {:.1f} output tokens/s", num_skipped_ + num_written_, total,
                                       stats.running, static_cast<double>(stats.output_tokens) / std::max(now - start_, 1e-3));
  if (is_terminal) {
    write_stderr("\r\x1b[K" + text + (is_last ? "\n" : ""));
  } else if (!is_last) {
    write_stderr(text + "\n");
  }
}

void PromptBatch::report(double seconds) {
  const EngineStats stats = model_.engine->stats();
  figures_.load_seconds = model_.load_seconds;
  figures_.wall_seconds = seconds;
  write_stderr(figures_.line() + fmt::format("; {} steps, {} preemptions, {} prompt tokens from the prefix cache\n", stats.steps,
                                             stats.preemptions, stats.prefix_hit_tokens));
}

}  // namespace quern
