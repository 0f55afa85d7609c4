#include "builder/quality_windows.h"

#include <algorithm>

#include "base/error.h"
#include "builder/shipped_texts.h"
#include "files/xxh3.h"

namespace quern {

QualityWindows quality_windows(const Tokenizer& tokenizer, const ModelConfig& config) {
  const std::vector<TokenId> ids = tokenizer.encode(quality_text(), Tokenizer::Specials::as_text);
  const size_t length = std::min({kQualityWindowTokens, ids.size(), std::max<size_t>(config.max_position_embeddings, 2)});
  CHECK(length >= 2, "{} tokens", ids.size());
  QualityWindows windows;
  windows.sequences = {.ids = {}, .count = std::min(kQualityWindows, ids.size() / length), .length = length};
  windows.sequences.ids.assign(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(windows.sequences.count * length));
  windows.first_target = std::min(kQualityFirstTarget, length / 2);
  if (windows.first_target == 0) windows.first_target = 1;
  if (tokenizer.bos()) {
    for (size_t i = 0; i < windows.sequences.count; ++i) windows.sequences.ids[i * length] = *tokenizer.bos();
  }
  return windows;
}

std::string quality_text_xxh3() { return fmt::format("{:016x}", xxh3_of(quality_text())); }

}  // namespace quern
