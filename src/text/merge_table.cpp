#include "text/merge_table.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace quern {
namespace {

constexpr size_t kMaxProbes = 4096;  // real vocabularies stay below 100
constexpr size_t kMaxPiece = 0x7fffffff;
constexpr size_t kShortPiece = 64;  // up to here a scan for the lowest priority beats any queue

unsigned log2_slots(size_t num_entries) { return static_cast<unsigned>(std::bit_width(num_entries + num_entries * 3 / 5 + 16)); }

}  // namespace

MergeTable::MergeTable(const TokenizerData& data, size_t num_merges)
    : is_used_(data.tokens.size()), is_made_(data.tokens.size()), lengths_(data.tokens.size(), 1) {
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const std::string& token = data.tokens[id];
    if (token.size() < 2) continue;
    const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; };
    const auto inside = data.kind == TokenizerData::Kind::char_bpe ? std::count_if(token.begin(), token.end(), continues) : 0;
    lengths_[id] = static_cast<uint32_t>(token.size() - static_cast<size_t>(inside));
  }
  const unsigned bits = log2_slots(num_merges);
  merges_.reserve(num_merges);
  slots_.assign(size_t{1} << bits, Slot{0, kNone});
  mask_ = slots_.size() - 1;
  shift_ = 64 - bits;
}

void MergeTable::insert(uint64_t key, uint32_t priority) {
  size_t slot = slot_of(key);
  for (size_t probes = 0; slots_[slot].priority != kNone; slot = (slot + 1) & mask_) {
    if (slots_[slot].key == key) return;
    if (++probes > kMaxProbes) raise(invalid_input, "tokenizer: {} merges share a hash value: not a trained vocabulary", probes);
  }
  slots_[slot] = {key, priority};
}

void MergeTable::add(TokenizerData::Merge merge) {
  const auto left = static_cast<size_t>(merge.left), right = static_cast<size_t>(merge.right), result = static_cast<size_t>(merge.result);
  CHECK(std::max({left, right, result}) < is_used_.size(), "{} {} {}", left, right, result);
  const auto priority = static_cast<uint32_t>(merges_.size());
  merges_.push_back(merge);
  if (merges_.size() * 8 > slots_.size() * 5) {
    slots_.assign(slots_.size() * 2, Slot{0, kNone});
    mask_ = slots_.size() - 1;
    --shift_;
    for (uint32_t i = 0; i < priority; ++i)
      insert(static_cast<uint64_t>(merges_[i].left) << 32 | static_cast<uint32_t>(merges_[i].right), i);
  }
  insert(static_cast<uint64_t>(left) << 32 | right, priority);
  is_used_[left] = is_used_[right] = 1;
  if (is_made_[result] != 0 || is_used_[result] != 0) is_ordered_ = false;
  is_made_[result] = 1;
}

uint32_t MergeTable::merge(std::vector<TokenId>& ids, Scratch& scratch) const {
  if (ids.size() <= kShortPiece) return merge_short(ids);
  if (ids.size() > kMaxPiece) raise(invalid_input, "text: one piece of {} bytes, want less than 2 GiB", ids.size());
  scratch.ids.swap(ids);
  const uint32_t last = is_ordered_ ? merge_by_priority(scratch) : merge_by_heap(scratch);
  ids.clear();
  for (size_t i = 0; i < scratch.ids.size(); i += length_of(scratch.ids[i])) ids.push_back(scratch.ids[i]);
  return last;
}

uint32_t MergeTable::merge_short(std::vector<TokenId>& ids) const {
  uint32_t priorities[kShortPiece];
  size_t num_pairs = ids.empty() ? 0 : ids.size() - 1;
  for (size_t i = 0; i < num_pairs; ++i) priorities[i] = find(ids[i], ids[i + 1]);
  uint32_t last = kNone;
  while (num_pairs > 0) {
    size_t lowest = 0;
    for (size_t i = 1; i < num_pairs; ++i) {
      if (priorities[i] < priorities[lowest]) lowest = i;
    }
    if (priorities[lowest] == kNone) break;
    last = priorities[lowest];
    ids[lowest] = merges_[last].result;
    std::copy(ids.begin() + static_cast<ptrdiff_t>(lowest) + 2, ids.begin() + static_cast<ptrdiff_t>(num_pairs) + 1,
              ids.begin() + static_cast<ptrdiff_t>(lowest) + 1);
    std::copy(priorities + lowest + 1, priorities + num_pairs, priorities + lowest);
    --num_pairs;
    if (lowest > 0) priorities[lowest - 1] = find(ids[lowest - 1], ids[lowest]);
    if (lowest < num_pairs) priorities[lowest] = find(ids[lowest], ids[lowest + 1]);
  }
  if (!ids.empty()) ids.resize(num_pairs + 1);
  return last;
}

// Start of the token before the one at `position`, or kNone.
uint32_t MergeTable::previous(const Scratch& scratch, uint32_t position) const {
  if (position == 0) return kNone;
  const TokenId tag = scratch.ids[position - 1];
  return tag < 0 ? static_cast<uint32_t>(~tag) : position - 1;
}

uint32_t MergeTable::pair_at(const Scratch& scratch, uint32_t position) const {
  const size_t next = position + size_t{length_of(scratch.ids[position])};
  return next < scratch.ids.size() ? find(scratch.ids[position], scratch.ids[next]) : kNone;
}

// Merges the pair at `position` if it is still the one that was a candidate of `priority`.
bool MergeTable::join(Scratch& scratch, uint32_t priority, uint32_t position) const {
  const TokenizerData::Merge& merge = merges_[priority];
  const size_t next = position + size_t{length_of(merge.left)};
  if (scratch.ids[position] != merge.left || next >= scratch.ids.size() || scratch.ids[next] != merge.right) return false;
  const size_t last = next + length_of(merge.right) - 1;
  scratch.ids[next] = -1;  // no token starts here now
  scratch.ids[position] = merge.result;
  scratch.ids[last] = ~static_cast<TokenId>(position);
  return true;
}

// All candidates of one priority, then all of the next. In an ordered table a merge only makes pairs of higher priority numbers, and the
// candidates of one pair arise from left to right (all while the later of its two parts is being made), so chains need no sorting.
uint32_t MergeTable::merge_by_priority(Scratch& scratch) const {
  scratch.heads.resize(merges_.size());
  scratch.tails.resize(merges_.size());
  scratch.occupied.resize(merges_.size() / 64 + 1);  // all zero between calls
  scratch.entries.clear();
  scratch.free_entry = kNone;
  const auto append = [&](uint32_t position) {
    const uint32_t priority = pair_at(scratch, position);
    if (priority == kNone) return;
    uint32_t entry = scratch.free_entry;
    if (entry != kNone) {
      scratch.free_entry = scratch.entries[entry].next;
    } else {
      entry = static_cast<uint32_t>(scratch.entries.size());
      scratch.entries.emplace_back();
    }
    scratch.entries[entry] = {position, kNone};
    uint64_t& word = scratch.occupied[priority / 64];
    const uint64_t bit = uint64_t{1} << (priority % 64);
    if ((word & bit) != 0) {
      scratch.entries[scratch.tails[priority]].next = entry;
    } else {
      word |= bit;
      scratch.heads[priority] = entry;
    }
    scratch.tails[priority] = entry;
  };
  for (uint32_t i = 0; i < scratch.ids.size(); ++i) append(i);

  uint32_t last = kNone;
  for (size_t word = 0; word < scratch.occupied.size();) {
    if (scratch.occupied[word] == 0) {
      ++word;
      continue;
    }
    const auto priority = static_cast<uint32_t>(word * 64 + static_cast<size_t>(std::countr_zero(scratch.occupied[word])));
    scratch.occupied[word] &= scratch.occupied[word] - 1;
    for (uint32_t entry = scratch.heads[priority]; entry != kNone;) {
      const auto [position, next_entry] = scratch.entries[entry];
      scratch.entries[entry].next = scratch.free_entry;
      scratch.free_entry = entry;
      entry = next_entry;
      if (!join(scratch, priority, position)) continue;
      last = priority;
      if (const uint32_t before = previous(scratch, position); before != kNone) append(before);
      append(position);
    }
  }
  return last;
}

uint32_t MergeTable::merge_by_heap(Scratch& scratch) const {
  std::vector<uint64_t>& heap = scratch.heap;
  heap.clear();
  const auto candidate = [&](uint32_t position) {
    const uint32_t priority = pair_at(scratch, position);
    if (priority != kNone) heap.push_back(static_cast<uint64_t>(priority) << 32 | position);
    return priority != kNone;
  };
  for (uint32_t i = 0; i < scratch.ids.size(); ++i) candidate(i);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  uint32_t last = kNone;
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto priority = static_cast<uint32_t>(heap.back() >> 32), position = static_cast<uint32_t>(heap.back());
    heap.pop_back();
    if (!join(scratch, priority, position)) continue;
    last = priority;
    if (const uint32_t before = previous(scratch, position); before != kNone && candidate(before))
      std::push_heap(heap.begin(), heap.end(), std::greater<>());
    if (candidate(position)) std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
  return last;
}

}  // namespace quern
