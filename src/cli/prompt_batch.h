// Many prompts through one engine: enough of them are queued at any time to keep every sequence slot busy, and results are written in
// the order of the prompts as soon as all before them are there.
#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>

#include "cli/figures.h"
#include "cli/interrupt.h"
#include "cli/prompt_file.h"
#include "cli/prompting.h"

namespace quern {

class PromptBatch {
 public:
  // `defaults`: sampling of prompts that say nothing else.
  PromptBatch(RunningModel& model, PromptStyle style, SamplingParams defaults)
      : model_(model), style_(std::move(style)), defaults_(std::move(defaults)) {}
  ~PromptBatch() { model_.engine->stop(); }  // sessions call back into this
  PromptBatch(const PromptBatch&) = delete;
  PromptBatch& operator=(const PromptBatch&) = delete;

  // Computes what `results` does not have. Returns the exit status; throws invalid_input at the end when prompts could not be answered
  // (each has a line with its reason).
  int run(const PromptFile& prompts, ResultFile& results, const Interrupt& interrupt);

 private:
  struct Item {
    size_t index;                    // of the prompt
    std::optional<Session> session;  // absent: refused
    std::string error = {};          // why
    std::string text = {};
    std::vector<OutputToken> tokens = {};
    std::optional<Finish> finish = {};
    bool is_done() const { return finish.has_value() || !session; }
  };

  Item submit(const PromptFile& prompts, size_t index);
  void take_news();
  void write_done(const PromptFile& prompts, ResultFile& results);
  void wait();
  void show_progress(size_t total, bool is_last);
  void report(double seconds);

  RunningModel& model_;
  PromptStyle style_;
  SamplingParams defaults_;
  std::deque<Item> items_;  // in flight, in the order of the prompts
  Figures figures_{.prompts = 0};
  size_t num_written_ = 0, num_errors_ = 0, num_skipped_ = 0;
  std::string first_error_;
  double start_ = 0, last_progress_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool has_news_ = false;
};

}  // namespace quern
