// Vocabulary files: any bytes are a tokenizer or refused with an Error; a tokenizer packs into an engine file and comes out the same, and
// its ids are its own. The first byte of the input picks the kind of file.
#include "base/error.h"
#include "base/log.h"
#include "fuzz_file.h"
#include "text/tokenizer.h"

namespace {

using namespace quern;

Tokenizer read(uint8_t kind, const std::string& path, const std::string& none) {
  switch (kind % 3) {
    case 0: return Tokenizer::from_tokenizer_json(path, none);
    case 1: return Tokenizer::from_tiktoken(path);
    default: return Tokenizer::from_vocab_and_merges(path, none, "");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  set_log_level(LogLevel::off);
  if (size == 0) return 0;
  // Merges of vocab.json follow it behind a NUL.
  const uint8_t* begin = data + 1;
  const size_t left = size - 1;
  const void* split = left == 0 ? nullptr : std::memchr(begin, 0, left);
  const size_t first = split == nullptr ? left : static_cast<size_t>(static_cast<const uint8_t*>(split) - begin);
  const FuzzFile file(begin, first, "vocabulary");
  const FuzzFile merges(begin + first, split == nullptr ? 0 : left - first, "merges");
  try {
    const Tokenizer tokenizer = read(data[0], file.path(), data[0] % 3 == 0 ? "" : merges.path());
    const Tokenizer again = Tokenizer::unpack(tokenizer.packed(), "packed");
    const std::string text = "Once upon 1234 a\tt\xc3\xa9  \xe6\xa0\xb9\xf0\x9f\xa4\x97 <|im_end|>\n\n x" +
                             std::string(reinterpret_cast<const char*>(begin), std::min<size_t>(left, 64));
    for (const auto specials : {Tokenizer::Specials::as_text, Tokenizer::Specials::not_control, Tokenizer::Specials::all}) {
      const std::vector<TokenId> ids = tokenizer.encode(text, specials, true);
      if (ids != again.encode(text, specials, true)) std::abort();
      for (const TokenId id : ids) {
        if (id < 0 || static_cast<size_t>(id) >= tokenizer.num_tokens()) std::abort();
      }
      if (tokenizer.decode(ids, false) != again.decode(ids, false)) std::abort();
    }
  } catch (const Error& error) {
    if (error.code() == internal) std::abort();
  }
  return 0;
}
