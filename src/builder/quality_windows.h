// The fixed text of quality receipts as windows of token ids: five of 240 tokens, of which all but the first 32 count.
#pragma once
#include <string>

#include "builder/layer_run.h"

namespace quern {

inline constexpr size_t kQualityWindows = 5, kQualityWindowTokens = 240, kQualityFirstTarget = 32;

struct QualityWindows {
  TokenSequences sequences;  // with the token for the beginning of text in the place of each first one, where the model wants it
  size_t first_target = 0;   // of each sequence: tokens [first_target, length) are predicted, each from those before it

  size_t num_targets() const { return sequences.count * (sequences.length - first_target); }
};
// Shorter windows for a model of a shorter context, fewer for a tokenizer that makes fewer tokens.
QualityWindows quality_windows(const Tokenizer& tokenizer, const ModelConfig& config);
std::string quality_text_xxh3();  // 16 hexadecimal digits

}  // namespace quern
