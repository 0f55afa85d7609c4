#include "text/piece_table.h"

#include <bit>

#include "base/error.h"

namespace quern {
namespace {

constexpr size_t kMaxProbes = 4096;  // real vocabularies stay below 100

}  // namespace

PieceTable::PieceTable(size_t num_pieces) {
  const auto bits = static_cast<unsigned>(std::bit_width(num_pieces + num_pieces / 2 + 16));
  slots_.resize(size_t{1} << bits);
  mask_ = slots_.size() - 1;
  shift_ = 64 - bits;
}

bool PieceTable::add(std::string_view bytes, TokenId id) {
  CHECK(size_ * 8 < slots_.size() * 7, "{} pieces in {} slots", size_, slots_.size());
  const uint64_t hash = hash_of(bytes);
  size_t slot = hash >> shift_;
  for (size_t probes = 0; slots_[slot].id >= 0; slot = (slot + 1) & mask_) {
    if (std::string_view(slots_[slot].bytes, slots_[slot].size) == bytes) return false;
    if (++probes > kMaxProbes) raise(invalid_input, "tokenizer: {} tokens share a hash value: not a trained vocabulary", probes);
  }
  slots_[slot] = {bytes.data(), static_cast<uint32_t>(bytes.size()), static_cast<uint32_t>(hash), id};
  ++size_;
  return true;
}

}  // namespace quern
