// The one thread that changes sequences: queues requests, plans steps, runs the model, hands tokens to sessions.
// submit(), stats() and the getters may be called from any thread; step() only while the engine's own thread is not started.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "engine/generation_defaults.h"
#include "engine/model_runner.h"
#include "engine/sampling_params.h"
#include "engine/session.h"
#include "files/engine_file.h"
#include "models/model_config.h"
#include "text/token_masks.h"
#include "text/tokenizer.h"

namespace quern {

struct EngineOptions {
  size_t max_num_seqs = 16;           // sequences in one step
  size_t max_num_batched_tokens = 0;  // tokens of one step; 0: 512 on the CPU, 2048 on a GPU
  size_t max_model_len = 0;           // tokens of prompt and output; 0: the model's own, lowered to what the KV memory holds
  size_t block_tokens = 16;
  std::optional<Format> kv_format;  // absent: f32 for f32 weights, f16 otherwise
  size_t kv_cache_bytes = 0;        // 0: max_num_seqs whole contexts, cut to memory_share of the memory that is free after loading
  double memory_share = 0.9;        // on a GPU, of all its memory: weights and what others hold are inside
  size_t max_prefill_chunk = 0;     // tokens of one prompt in one step; 0: no bound of its own
  double max_step_seconds = 1;      // prompts are cut so that running answers do not wait much longer than this
  bool enable_prefix_caching = true;
};

struct Request {
  std::vector<TokenId> prompt;
  SamplingParams params = {};
  int64_t priority = 0;                    // lower goes first
  std::string cache_salt = {};             // requests with different salts share no cached prefix
  std::shared_ptr<TokenMasks> masks = {};  // what the answer may be; from submit() on used on the engine's thread alone
};

struct EngineStats {
  size_t waiting = 0, running = 0, waiting_prompt_tokens = 0;
  size_t kv_blocks = 0, kv_blocks_used = 0;
  uint64_t accepted = 0, finished_stop = 0, finished_length = 0, cancelled = 0, failed = 0;  // accepted = the others + waiting + running
  uint64_t steps = 0, failed_steps = 0, prompt_tokens = 0, output_tokens = 0;
  uint64_t preemptions = 0, prefix_query_tokens = 0, prefix_hit_tokens = 0;
  double busy_seconds = 0;    // in steps
  double last_step_time = 0;  // monotonic_seconds() at the end of the last step
};

class Engine {
 public:
  // Loads `file` onto `backend`, which must outlive the engine.
  Engine(std::shared_ptr<EngineFile> file, Backend& backend, const EngineOptions& options = {});
  // Runs any model: `tokenizer` may be null (no text, no stop strings); ids are below `num_tokens`. options.max_model_len is required.
  Engine(std::unique_ptr<ModelRunner> runner, std::shared_ptr<const Tokenizer> tokenizer, size_t num_tokens, GenerationDefaults defaults,
         const EngineOptions& options);
  ~Engine();  // stops; unfinished sessions end as cancelled
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Runs steps on a thread of its own until stop(). stop() leaves the queue as it is.
  void start();
  void stop();
  // One step on the caller's thread; false when there is nothing to do.
  bool step();

  // Queues a request. Throws usage naming the field (params), invalid_input for a prompt that is empty, holds an id that does not exist,
  // or does not fit the context (with both numbers).
  Session submit(Request request);
  Session submit(std::vector<TokenId> prompt, const SamplingParams& params = {}) { return submit(Request{std::move(prompt), params}); }
  // Ends every unfinished request as cancelled.
  void cancel_all();

  EngineStats stats() const;
  const EngineOptions& options() const;  // with every value settled
  const GenerationDefaults& defaults() const;
  const Tokenizer& tokenizer() const;
  size_t num_tokens() const;
  const EngineFile* file() const;     // null without one
  const ModelConfig* config() const;  // null without a file
  Transformer* transformer();         // null without a file; for figures while no step runs

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quern
