// Decides the next step's work: which sequences, how many tokens of each, who gets KV blocks, who is preempted.
// Plain CPU code, owned by Engine, used on the engine thread only; tested without a model.
#pragma once
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "engine/block_pool.h"
#include "engine/sequence.h"

namespace quern {

struct SchedulerOptions {
  size_t max_num_seqs = 64;             // sequences that hold blocks at one time
  size_t max_num_batched_tokens = 512;  // tokens of one step; at least max_num_seqs
  size_t max_prefill_chunk = 0;         // tokens of one prompt in one step; 0: the step's budget alone
  size_t max_logit_rows = 0;            // rows of logits of one step; 0: max_num_seqs, which is also the least
  bool enable_prefix_caching = true;
};

struct ScheduledChunk {
  Sequence* sequence;
  size_t first_position, num_tokens;  // of sequence->tokens
  bool samples;                       // the chunk holds the last token: its logits give the next one
  size_t logit_rows;                  // of its last so many tokens logits are wanted: the one that samples, and those of prompt_logprobs
};

struct StepPlan {
  std::vector<ScheduledChunk> chunks;  // those of one token first
  size_t num_tokens = 0;
  bool empty() const { return chunks.empty(); }
};

struct SchedulerCounts {
  size_t waiting = 0, running = 0, waiting_prompt_tokens = 0;
  uint64_t preemptions = 0, prefix_query_tokens = 0, prefix_hit_tokens = 0;
};

class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, BlockPool& pool);

  // Queues a sequence. Throws invalid_input with both numbers when its KV could never fit.
  void add(Sequence& sequence);
  // Takes it out in any state and frees its blocks. Idempotent.
  void remove(Sequence& sequence);

  // The next step. Every running sequence that gets a chunk holds the blocks for it. `prefill_budget` bounds the prompt tokens of the
  // step (at least one block's worth goes to the oldest prompt).
  StepPlan plan(size_t prefill_budget = static_cast<size_t>(-1));
  // After the step ran: what it computed now counts, full blocks become findable. Sampled tokens are appended by the caller afterwards.
  void commit(const StepPlan& plan);
  // The step failed or gave numbers that are not finite: what `sequence` holds must not be found by others.
  // Returns the blocks that nobody else holds.
  std::vector<BlockId> forget(Sequence& sequence);

  SchedulerCounts counts() const;
  bool idle() const { return waiting_.empty() && running_.empty(); }

 private:
  struct Order {
    bool operator()(const Sequence* a, const Sequence* b) const { return a->before(*b); }
  };
  using Queue = std::set<Sequence*, Order>;

  bool grow(Sequence& sequence);
  void preempt(Sequence& sequence);
  bool admit(Sequence& sequence);
  void reuse_prefix(Sequence& sequence);
  void release_blocks(Sequence& sequence);
  static size_t rows_of(const Sequence& sequence, size_t tokens);
  size_t chunk_limit(const Sequence& sequence, size_t most) const;
  void leave_to_elders(std::vector<Sequence*>& prompts);
  std::vector<Sequence*> take_prompts(size_t budget, bool may_admit);

  SchedulerOptions options_;
  BlockPool* pool_;
  Queue waiting_, running_;
  SchedulerCounts counts_;
  size_t spare_rows_ = 0;  // rows of logits of the step that is being planned, beside one a sequence
};

}  // namespace quern
