// What a run took, as one line for people (stderr) and as JSON for programs.
#pragma once
#include <string>

#include "base/json.h"
#include "cli/model_options.h"
#include "engine/session.h"

namespace quern {

struct Figures {
  size_t prompts = 1;
  size_t prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
  double load_seconds = 0;
  double first_token_seconds = 0;  // from submission; of the only prompt
  double prefill_seconds = 0, decode_seconds = 0;
  double wall_seconds = 0;  // of all prompts, without loading
  double read_bytes = 0;    // weights and KV that the decode steps read
  double bandwidth = 0;     // bytes a second that a read test measures on this device right now; 0: unknown

  double prefill_rate() const;  // tokens a second, cached ones apart; 0 when nothing was computed
  double decode_rate() const;
  double read_rate() const;  // bytes a second while decoding

  std::string line() const;
  OrderedJson json() const;
};

// Of one answer that ran alone; without the memory's bandwidth.
Figures answer_figures(const RunningModel& model, const Finish& finish);
// The bandwidth beside a rate of reading, where there is one: a few hundredths of a second. Gives the engine back first: what is read here
// takes no memory beside the model's.
void measure_bandwidth(Figures& figures, RunningModel& model);

}  // namespace quern
