// The merges of one BPE vocabulary and the merging of one piece. Filled once, then immutable; any thread with its own Scratch.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "text/tokenizer.h"

namespace quern {

class MergeTable {
 public:
  static constexpr uint32_t kNone = 0xffffffff;

  // Buffers of merge(), reused from piece to piece.
  class Scratch {
    friend class MergeTable;
    struct Entry {
      uint32_t position, next;
    };
    // By position: the token that starts there. Of a token of several positions the last one holds ~start; others hold no token.
    std::vector<TokenId> ids;
    std::vector<Entry> entries;          // candidates, chained by priority in order of position
    std::vector<uint32_t> heads, tails;  // by priority; valid where `occupied` says so
    std::vector<uint64_t> occupied;      // bit set over priorities
    uint32_t free_entry = kNone;
    std::vector<uint64_t> heap;  // priority << 32 | position
  };

  // For `data`'s tokens (byte_tokens or characters as the smallest) and about `num_merges` merges.
  MergeTable(const TokenizerData& data, size_t num_merges);

  // Appends a merge: its priority is the number of merges before it. A pair that is there already keeps its priority.
  void add(TokenizerData::Merge merge);

  // Priority of the merge of two neighbours, or kNone.
  uint32_t find(TokenId left, TokenId right) const {
    const uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
    for (size_t slot = slot_of(key);; slot = (slot + 1) & mask_) {
      if (slots_[slot].key == key) return slots_[slot].priority;
      if (slots_[slot].priority == kNone) return kNone;
    }
  }
  const std::vector<TokenizerData::Merge>& merges() const { return merges_; }

  // Merges neighbours in place, always the pair of the lowest priority and of these the leftmost, until none is left.
  // Returns the priority of the last merge, or kNone. O(n) look-ups when no merge is listed before the merges that make its parts,
  // which holds for every trained vocabulary; O(n log n) otherwise.
  uint32_t merge(std::vector<TokenId>& ids, Scratch& scratch) const;

 private:
  struct Slot {
    uint64_t key;
    uint32_t priority;
  };

  size_t slot_of(uint64_t key) const { return (key * 0x9e3779b97f4a7c15U ^ (key >> 32) * 0xd6e8feb86659fd93U) >> shift_; }
  uint32_t length_of(TokenId id) const { return lengths_[static_cast<size_t>(id)]; }
  void insert(uint64_t key, uint32_t priority);
  uint32_t merge_short(std::vector<TokenId>& ids) const;
  uint32_t merge_by_priority(Scratch& scratch) const;
  uint32_t merge_by_heap(Scratch& scratch) const;
  uint32_t previous(const Scratch& scratch, uint32_t position) const;
  uint32_t pair_at(const Scratch& scratch, uint32_t position) const;
  bool join(Scratch& scratch, uint32_t priority, uint32_t position) const;

  std::vector<TokenizerData::Merge> merges_;
  std::vector<Slot> slots_;  // open addressing, at most 5/8 full; priority kNone: empty
  size_t mask_ = 0;
  unsigned shift_ = 0;
  std::vector<uint8_t> is_used_, is_made_;  // by id: a part of a merge so far, the result of one
  std::vector<uint32_t> lengths_;           // by id: bytes or characters, the positions that it takes
  bool is_ordered_ = true;                  // each token is made by one merge, before it is a part of another
};

}  // namespace quern
