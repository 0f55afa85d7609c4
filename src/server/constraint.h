// What an answer is held to: response_format and its kin, and tools that must be called, as token masks. Masks are kept for requests that
// ask for the same. Any thread.
#pragma once
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "server/call_text.h"
#include "server/request_fields.h"
#include "text/grammar.h"
#include "text/token_masks.h"
#include "text/tokenizer.h"

namespace quern {

class ConstraintCache {
 public:
  ConstraintCache(const Tokenizer& tokenizer, CallDialect dialect) : tokenizer_(&tokenizer), dialect_(dialect) {}

  CallDialect dialect() const { return dialect_; }  // of calls that are forced

  // The masks of a grammar, which `make` builds when `key` is new. A grammar that cannot be kept is a 400 that names `param`.
  template <class Make>
  std::shared_ptr<TokenMasks> get(const std::string& key, const std::string& param, Make&& make) {
    if (std::shared_ptr<TokenMasks> known = find(key)) return known;
    try {
      return add(key, make());
    } catch (const Error& error) {
      if (error.code() != invalid_input) throw;
      ApiError bad = field_error(param, "{}", escaped(error.message(), 300));
      bad.code = "invalid_grammar";
      throw bad;
    }
  }

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<TokenMasks> masks;
  };
  std::shared_ptr<TokenMasks> find(const std::string& key);
  std::shared_ptr<TokenMasks> add(const std::string& key, Grammar grammar);

  std::shared_ptr<const TokenTrie> trie();

  const Tokenizer* tokenizer_;
  CallDialect dialect_;
  std::mutex mutex_;
  std::shared_ptr<const TokenTrie> trie_;
  std::list<Entry> entries_;  // newest first
};

struct ToolsRequest;

// The masks that a chat request asks for, null when it asks for none. `text` is the body that `fields` were read from.
std::shared_ptr<TokenMasks> read_constraint(const RequestFields& fields, std::string_view text, const ToolsRequest& tools,
                                            ConstraintCache& cache);
// The same for /v1/responses, whose format is text.format.
std::shared_ptr<TokenMasks> read_responses_constraint(const RequestFields& fields, std::string_view text, const ToolsRequest& tools,
                                                      ConstraintCache& cache);
// For tools that must be called; null when none must.
std::shared_ptr<TokenMasks> tools_constraint(const ToolsRequest& tools, ConstraintCache& cache);

}  // namespace quern
