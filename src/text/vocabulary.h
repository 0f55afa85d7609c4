// A checked TokenizerData with the tables that encoding looks into. Tokenizer owns it; immutable, any thread. Not movable: the tables point
// into the data.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/merge_table.h"
#include "text/piece_table.h"
#include "text/special_matcher.h"
#include "text/tokenizer.h"

namespace quern {

struct Vocabulary {
  static constexpr uint8_t kSpecial = 1, kControl = 2;  // bits of `flags`

  Vocabulary(TokenizerData checked, std::string_view where);
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  // Appends the ids of one piece. `symbols` and `scratch` are buffers.
  void encode_piece(std::string_view piece, std::vector<TokenId>& out, std::vector<TokenId>& symbols, MergeTable::Scratch& scratch) const;

  TokenizerData data;
  MergeTable merges;
  PieceTable pieces;  // what a piece is taken for at once
  SpecialMatcher specials, normalized_specials;
  std::vector<uint8_t> flags;    // by id
  bool split_at_spaces = false;  // char_bpe: no merge reaches back over a space

 private:
  void fill_pieces(std::string_view where);
};

}  // namespace quern
