#include "engine/scheduler.h"

#include <algorithm>

#include "base/error.h"

namespace quern {

Scheduler::Scheduler(const SchedulerOptions& options, BlockPool& pool) : options_(options), pool_(&pool) {
  if (options.max_num_seqs == 0) raise(usage, "max_num_seqs: want at least 1, found 0");
  if (options.max_num_batched_tokens < options.max_num_seqs) {  // else decoding could leave no token for the oldest prompt
    raise(usage, "max_num_batched_tokens: want at least max_num_seqs, {}, found {}", options.max_num_seqs, options.max_num_batched_tokens);
  }
}

void Scheduler::add(Sequence& sequence) {
  const size_t needed = pool_->blocks_for(sequence.max_cached_tokens());
  if (needed > pool_->num_blocks()) {
    raise(invalid_input, "prompt of {} tokens and {} to come need {} KV blocks of {} tokens, the cache has {}", sequence.prompt_tokens,
          sequence.max_output_tokens, needed, pool_->block_tokens(), pool_->num_blocks());
  }
  CHECK(sequence.state == Sequence::State::waiting && sequence.blocks.empty(), "sequence {}", sequence.id);
  counts_.waiting_prompt_tokens += sequence.tokens.size();
  waiting_.insert(&sequence);
}

void Scheduler::release_blocks(Sequence& sequence) {
  // The tail first, so that a prefix is taken for other use later than what continues it.
  for (size_t i = sequence.blocks.size(); i-- > 0;) pool_->release(sequence.blocks[i]);
  sequence.blocks.clear();
  sequence.computed_tokens = 0;
  sequence.published_blocks = 0;
}

void Scheduler::remove(Sequence& sequence) {
  if (waiting_.erase(&sequence) > 0) counts_.waiting_prompt_tokens -= sequence.tokens.size();
  running_.erase(&sequence);
  release_blocks(sequence);
  sequence.state = Sequence::State::finished;
}

void Scheduler::preempt(Sequence& sequence) {
  running_.erase(&sequence);
  release_blocks(sequence);
  sequence.state = Sequence::State::waiting;
  ++sequence.num_preemptions;
  ++counts_.preemptions;
  counts_.waiting_prompt_tokens += sequence.tokens.size();
  waiting_.insert(&sequence);
}

// Blocks for all of the sequence's tokens, preempting the youngest for them; false when that was the sequence itself.
bool Scheduler::grow(Sequence& sequence) {
  const size_t needed = pool_->blocks_for(sequence.tokens.size());
  while (sequence.blocks.size() < needed) {
    if (const auto block = pool_->grant()) {
      sequence.blocks.push_back(*block);
      continue;
    }
    Sequence& youngest = **running_.rbegin();
    CHECK(running_.size() > 1, "sequence {} alone needs {} of {} blocks", sequence.id, needed, pool_->num_blocks());
    preempt(youngest);
    if (&youngest == &sequence) return false;
  }
  return true;
}

// Moves past blocks of the sequence's next tokens that others have computed; at least its last token is left to compute.
void Scheduler::reuse_prefix(Sequence& sequence) {
  if (sequence.wants_prompt_rows()) return;
  const size_t block_tokens = pool_->block_tokens();
  const size_t reusable = (sequence.tokens.size() - 1) / block_tokens;
  size_t& done = sequence.published_blocks;
  while (done < reusable && sequence.computed_tokens == done * block_tokens) {
    const PrefixId parent = done == 0 ? kNoPrefix : pool_->prefix(sequence.blocks[done - 1]);
    if (done > 0 && parent == kNoPrefix) return;  // forgotten meanwhile
    const auto found = pool_->find(parent, std::span(sequence.tokens).subspan(done * block_tokens, block_tokens), sequence.scope);
    if (!found) return;
    pool_->hold(*found);
    if (done < sequence.blocks.size()) {
      pool_->release(sequence.blocks[done]);
      sequence.blocks[done] = *found;
    } else {
      sequence.blocks.push_back(*found);
    }
    ++done;
    sequence.computed_tokens += block_tokens;
    counts_.prefix_hit_tokens += block_tokens;
    if (sequence.computed_tokens <= sequence.prompt_tokens && sequence.num_preemptions == 0) sequence.cached_prompt_tokens += block_tokens;
  }
}

// Takes the head of the queue when the pool has blocks for all of its tokens, beside one for each answer to grow into.
bool Scheduler::admit(Sequence& sequence) {
  const SchedulerCounts before = counts_;
  const size_t cached_before = sequence.cached_prompt_tokens;
  if (options_.enable_prefix_caching) reuse_prefix(sequence);
  const size_t needed = pool_->blocks_for(sequence.tokens.size()) - sequence.blocks.size();
  if (pool_->num_free() < needed + running_.size()) {
    CHECK(!running_.empty(), "sequence {} alone needs {} blocks, {} are free", sequence.id, needed, pool_->num_free());
    release_blocks(sequence);
    sequence.cached_prompt_tokens = cached_before;
    counts_ = before;
    return false;
  }
  for (size_t i = 0; i < needed; ++i) sequence.blocks.push_back(*pool_->grant());
  if (options_.enable_prefix_caching) counts_.prefix_query_tokens += sequence.tokens.size();
  waiting_.erase(&sequence);
  counts_.waiting_prompt_tokens -= sequence.tokens.size();
  running_.insert(&sequence);
  sequence.state = Sequence::State::running;
  return true;
}

// Of the next `tokens` of a sequence, how many have logits that somebody wants.
size_t Scheduler::rows_of(const Sequence& sequence, size_t tokens) {
  const size_t end = sequence.computed_tokens + tokens;
  if (sequence.wants_prompt_rows()) return end - std::clamp(sequence.told_prompt_rows, sequence.computed_tokens, end);
  return tokens == sequence.pending_tokens() ? 1 : 0;
}

size_t Scheduler::chunk_limit(const Sequence& sequence, size_t most) const {
  size_t limit = options_.max_prefill_chunk == 0 ? most : std::min(most, options_.max_prefill_chunk);
  if (sequence.wants_prompt_rows()) {
    const size_t told = std::max(sequence.told_prompt_rows, sequence.computed_tokens) - sequence.computed_tokens;
    limit = std::min(limit, told + 1 + spare_rows_);
  }
  return std::min(sequence.pending_tokens(), limit);
}

// Prompts that are to be computed now, by age. Each is counted with half of what its elders leave, so that a long one lets others in.
std::vector<Sequence*> Scheduler::take_prompts(size_t budget, bool may_admit) {
  std::vector<Sequence*> prompts;
  size_t left = budget;
  const auto take = [&](Sequence* sequence) {
    prompts.push_back(sequence);
    left -= chunk_limit(*sequence, (left + 1) / 2);
  };
  for (Sequence* sequence : running_) {
    if (sequence->pending_tokens() > 1) take(sequence);
  }
  while (may_admit && left >= std::min(budget, pool_->block_tokens()) && running_.size() < options_.max_num_seqs && !waiting_.empty()) {
    Sequence* next = *waiting_.begin();
    if (!admit(*next)) break;
    take(next);
  }
  std::ranges::sort(prompts, Order());
  return prompts;
}

// Drops prompts whose next block an elder is computing: they take it from the cache afterwards.
void Scheduler::leave_to_elders(std::vector<Sequence*>& prompts) {
  const size_t block_tokens = pool_->block_tokens();
  const auto next_block = [&](const Sequence& s) { return std::span(s.tokens).subspan(s.published_blocks * block_tokens, block_tokens); };
  const auto is_full = [&](const Sequence& s) { return (s.published_blocks + 1) * block_tokens < s.tokens.size(); };
  size_t kept = 0;
  for (Sequence* sequence : prompts) {
    reuse_prefix(*sequence);
    const size_t done = sequence->published_blocks;
    const bool waits = !sequence->wants_prompt_rows() && is_full(*sequence) && sequence->computed_tokens == done * block_tokens &&
                       std::any_of(prompts.begin(), prompts.begin() + static_cast<std::ptrdiff_t>(kept), [&](const Sequence* elder) {
                         return elder->published_blocks == done && (done == 0 || elder->blocks[done - 1] == sequence->blocks[done - 1]) &&
                                elder->scope == sequence->scope && is_full(*elder) &&
                                std::ranges::equal(next_block(*elder), next_block(*sequence));
                       });
    if (!waits) prompts[kept++] = sequence;
  }
  prompts.resize(kept);
}

StepPlan Scheduler::plan(size_t prefill_budget) {
  StepPlan plan;
  const auto schedule = [&](Sequence& sequence, size_t tokens) {
    if (tokens == 0) return;
    const size_t rows = rows_of(sequence, tokens);
    spare_rows_ -= rows > 1 ? rows - 1 : 0;
    plan.chunks.push_back({&sequence, sequence.computed_tokens, tokens, tokens == sequence.pending_tokens(), rows});
    plan.num_tokens += tokens;
  };
  const auto spare_rows = [this] { return std::max(options_.max_logit_rows, options_.max_num_seqs) - running_.size(); };
  spare_rows_ = spare_rows();

  const uint64_t preemptions = counts_.preemptions;
  const std::vector<Sequence*> by_age(running_.begin(), running_.end());
  for (Sequence* sequence : by_age) {
    if (sequence->state != Sequence::State::running || sequence->pending_tokens() != 1) continue;  // preempted meanwhile, or a prompt
    if (grow(*sequence)) schedule(*sequence, 1);
  }

  const size_t room = options_.max_num_batched_tokens - plan.num_tokens;
  size_t left = std::min(room, std::max(prefill_budget, pool_->block_tokens()));
  std::vector<Sequence*> prompts = take_prompts(left, counts_.preemptions == preemptions);
  spare_rows_ = spare_rows();
  if (!prompts.empty()) {
    // Half goes to the oldest prompt, so that it always advances; the other half to those that are done soonest.
    Sequence* oldest = prompts.front();
    if (options_.enable_prefix_caching) leave_to_elders(prompts);
    size_t of_oldest = chunk_limit(*oldest, prompts.size() == 1 ? left : (left + 1) / 2);
    left -= of_oldest;
    std::stable_sort(prompts.begin() + 1, prompts.end(),
                     [](const Sequence* a, const Sequence* b) { return a->pending_tokens() < b->pending_tokens(); });
    for (size_t i = 1; i < prompts.size(); ++i) {
      const size_t tokens = chunk_limit(*prompts[i], left);
      left -= tokens;
      schedule(*prompts[i], tokens);
    }
    of_oldest = chunk_limit(*oldest, of_oldest + left);
    schedule(*oldest, of_oldest);
  }
  std::stable_partition(plan.chunks.begin(), plan.chunks.end(), [](const ScheduledChunk& chunk) { return chunk.num_tokens == 1; });
  return plan;
}

void Scheduler::commit(const StepPlan& plan) {
  const size_t block_tokens = pool_->block_tokens();
  for (const ScheduledChunk& chunk : plan.chunks) {
    Sequence& sequence = *chunk.sequence;
    if (sequence.state != Sequence::State::running) continue;  // removed while the step ran
    sequence.computed_tokens += chunk.num_tokens;
    if (!options_.enable_prefix_caching) continue;
    for (size_t& i = sequence.published_blocks; i < sequence.computed_tokens / block_tokens; ++i) {
      const PrefixId parent = i == 0 ? kNoPrefix : pool_->prefix(sequence.blocks[i - 1]);
      if (i > 0 && parent == kNoPrefix) break;  // forgotten meanwhile: nothing behind it can be found
      const auto tokens = std::span(sequence.tokens).subspan(i * block_tokens, block_tokens);
      sequence.blocks[i] = pool_->publish(sequence.blocks[i], parent, tokens, sequence.scope);
    }
  }
}

std::vector<BlockId> Scheduler::forget(Sequence& sequence) {
  std::vector<BlockId> alone;
  for (const BlockId block : sequence.blocks) {
    pool_->forget(block);
    if (pool_->holders(block) == 1) alone.push_back(block);
  }
  return alone;
}

SchedulerCounts Scheduler::counts() const {
  SchedulerCounts counts = counts_;
  counts.waiting = waiting_.size();
  counts.running = running_.size();
  return counts;
}

}  // namespace quern
