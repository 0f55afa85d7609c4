#include "load/load_run.h"

#include <deque>

#include "base/clock.h"
#include "base/error.h"
#include "load/answer_stream.h"
#include "load/arrivals.h"

namespace quern {
namespace {

constexpr double kBeat = 0.1;

class Run {
 public:
  Run(HttpClient& client, const std::vector<LoadPrompt>& prompts, const LoadOptions& options, const std::function<bool(size_t)>& progress)
      : client_(client), prompts_(prompts), options_(options), progress_(progress), records_(prompts.size()) {}

  LoadResult run() {
    const std::vector<double> times = arrival_times(prompts_.size(), options_.rate, options_.burstiness, options_.seed);
    start_ = end_ = monotonic_seconds();
    for (size_t i = 0; i < times.size(); ++i) {
      if (times[i] == 0) {
        arrive(i);
      } else {
        client_.after(times[i], [this, i] { arrive(i); });
      }
    }
    beat();
    client_.run();
    for (RequestRecord& record : records_) {
      if (!record.is_ok && record.error.empty()) record.error = "stopped";
    }
    return {std::move(records_), end_ - start_, is_stopped_};
  }

 private:
  void arrive(size_t i) {
    waiting_.push_back(i);
    send_waiting();
  }

  void send_waiting() {
    while (!waiting_.empty() && (options_.max_concurrency == 0 || running_ < options_.max_concurrency)) {
      const size_t i = waiting_.front();
      waiting_.pop_front();
      ++running_;
      send(i);
    }
  }

  void send(size_t i) {
    RequestRecord& record = records_[i];
    record.prompt_tokens = prompts_[i].prompt_tokens;
    record.start = monotonic_seconds();
    const auto stream = std::make_shared<AnswerStream>(record);
    client_.send(
        options_.path, request_body(prompts_[i], options_),
        [stream](int, std::string_view bytes) { stream->take(bytes, monotonic_seconds()); },
        [this, stream](const HttpOutcome& outcome) {
          stream->finish(outcome.status, outcome.error);
          end_ = monotonic_seconds();
          ++done_;
          --running_;
          send_waiting();
        });
  }

  void beat() {
    if (!progress_(done_)) {
      is_stopped_ = true;
      client_.stop();
    } else if (done_ < prompts_.size()) {
      client_.after(kBeat, [this] { beat(); });
    }
  }

  HttpClient& client_;
  const std::vector<LoadPrompt>& prompts_;
  const LoadOptions& options_;
  const std::function<bool(size_t)>& progress_;
  std::vector<RequestRecord> records_;
  std::deque<size_t> waiting_;
  size_t running_ = 0, done_ = 0;
  double start_ = 0, end_ = 0;
  bool is_stopped_ = false;
};

}  // namespace

std::string request_body(const LoadPrompt& prompt, const LoadOptions& options) {
  OrderedJson body = {{"model", options.model}};
  if (options.is_chat) {
    body["messages"] = OrderedJson::array({{{"role", "user"}, {"content", prompt.text}}});
    body["max_completion_tokens"] = prompt.output_tokens;
  } else {
    body["prompt"] = prompt.text;
    body["max_tokens"] = prompt.output_tokens;
  }
  body["temperature"] = 0;
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  if (options.ignores_eos) body["ignore_eos"] = true;
  for (const auto& [name, value] : options.extra_body.items()) body[name] = value;
  return body.dump();
}

LoadResult run_load(HttpClient& client, const std::vector<LoadPrompt>& prompts, const LoadOptions& options,
                    const std::function<bool(size_t done)>& progress) {
  return Run(client, prompts, options, progress).run();
}

std::string fetch_text(HttpClient& client, const std::string& path) {
  std::string text;
  HttpOutcome result;
  client.send(
      path, "", [&](int, std::string_view bytes) { text += bytes; }, [&](const HttpOutcome& outcome) { result = outcome; });
  client.run();
  if (result.status != 200 || !result.error.empty()) {
    raise(resource, "{}: {}", path, result.error.empty() ? fmt::format("status {}: {}", result.status, escaped(text, 200)) : result.error);
  }
  return text;
}

}  // namespace quern
