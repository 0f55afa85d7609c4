// Bytes of tokens -> id: a hash table that builds fast. Filled once, then immutable; any thread. Does not own the bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace quern {

class PieceTable {
 public:
  explicit PieceTable(size_t num_pieces);

  // False when the bytes are there already; the first id stays. Throws invalid_input for a vocabulary made to collide.
  bool add(std::string_view bytes, TokenId id);
  // -1 when there is none.
  TokenId find(std::string_view bytes) const {
    const uint64_t hash = hash_of(bytes);
    const auto tag = static_cast<uint32_t>(hash);
    for (size_t slot = hash >> shift_;; slot = (slot + 1) & mask_) {
      const Slot& s = slots_[slot];
      if (s.id < 0) return -1;
      if (s.tag == tag && s.size == bytes.size() && std::memcmp(s.bytes, bytes.data(), bytes.size()) == 0) return s.id;
    }
  }

 private:
  struct Slot {
    const char* bytes = nullptr;
    uint32_t size = 0, tag = 0;
    TokenId id = -1;
  };

  static uint64_t hash_of(std::string_view bytes) {
    const char* at = bytes.data();
    const size_t size = bytes.size();
    uint64_t hash = size * 0x9e3779b97f4a7c15U;
    if (size < 4) {
      if (size == 0) return hash;
      const auto byte = [&](size_t i) { return static_cast<uint64_t>(static_cast<unsigned char>(at[i])); };
      return mix(hash ^ byte(0) ^ byte(size / 2) << 8 ^ byte(size - 1) << 16);
    }
    if (size <= 8) return mix(hash ^ load<uint32_t>(at) ^ load<uint32_t>(at + size - 4) << 32);
    for (size_t i = 0; i + 8 < size; i += 8) hash = mix(hash ^ load<uint64_t>(at + i));
    return mix(hash ^ load<uint64_t>(at + size - 8));
  }
  template <class T>
  static uint64_t load(const char* at) {
    T word;
    std::memcpy(&word, at, sizeof(T));
    return word;
  }
  static uint64_t mix(uint64_t word) {
    word *= 0xd6e8feb86659fd93U;
    word ^= word >> 32;
    return word * 0x9e3779b97f4a7c15U;
  }

  std::vector<Slot> slots_;
  size_t mask_ = 0, size_ = 0;
  unsigned shift_ = 0;
};

}  // namespace quern
