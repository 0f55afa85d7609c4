// JSON schemas: any JSON is a grammar or refused with an Error; answers drawn from the masks are JSON when they end.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "text/json_schema.h"
#include "text/token_masks.h"

namespace {

using namespace quern;

// One token a byte, and <end>.
std::shared_ptr<const TokenTrie> byte_trie() {
  TokenizerData data;
  for (int byte = 0; byte < 256; ++byte) {
    data.tokens.emplace_back(1, static_cast<char>(byte));
    data.byte_tokens[static_cast<size_t>(byte)] = byte;
  }
  return std::make_shared<const TokenTrie>(Tokenizer(std::move(data)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::shared_ptr<const TokenTrie> kTrie = byte_trie();
  if (size < 2) return 0;
  try {
    const OrderedJson schema = parse_ordered_json({reinterpret_cast<const char*>(data) + 1, size - 1}, "schema");
    const auto grammar = std::make_shared<const Grammar>(json_schema_grammar(schema, "schema"));
    TokenMasks masks(grammar, kTrie);
    TokenMasks::State state = masks.start();
    std::string answer;
    uint32_t random = data[0];
    while (answer.size() < 256 && !masks.may_end(state)) {
      const auto mask = masks.mask(state);
      random = random * 1664525U + 1013904223U;
      int token = -1;
      for (uint32_t i = 0; i < 256 && token < 0; ++i) {
        const uint32_t candidate = (i + (random >> 16)) % 256;
        if ((mask[candidate / 32] >> (candidate % 32) & 1U) != 0) token = static_cast<int>(candidate);
      }
      if (token < 0) return 0;  // a schema without any answer
      answer.push_back(static_cast<char>(token));
      state = masks.after(state, static_cast<uint8_t>(token));
      if (state == TokenMasks::kDead) std::abort();
    }
    if (masks.may_end(state)) (void)Json::parse(answer);
  } catch (const Error& error) {
    if (error.code() == internal) std::abort();
  }
  return 0;
}
