#include "text/merge_rules.h"

#include <algorithm>

#include "text/merge_table.h"
#include "text/piece_table.h"
#include "text/unicode.h"

namespace quern {
namespace {

using Kind = TokenizerData::Kind;
using Merge = TokenizerData::Merge;

// Tokens as their smallest parts.
class Atoms {
 public:
  explicit Atoms(const TokenizerData& data) : data_(&data), characters_(data.kind == Kind::char_bpe ? data.tokens.size() : 0) {
    if (data.kind != Kind::char_bpe) return;
    std::vector<uint8_t> is_byte_token(data.tokens.size());
    for (const TokenId id : data.byte_tokens) {
      if (id >= 0) is_byte_token[static_cast<size_t>(id)] = 1;
    }
    for (size_t id = 0; id < data.tokens.size(); ++id) {
      const std::string& token = data.tokens[id];
      if (!token.empty() && is_byte_token[id] == 0 && character_at(token, 0).length == token.size()) {
        characters_.add(token, static_cast<TokenId>(id));
      }
    }
  }

  // False when a part has no token of its own: such a token cannot be made.
  bool of(TokenId id, std::vector<TokenId>& parts) const {
    const std::string_view token = data_->tokens[static_cast<size_t>(id)];
    parts.clear();
    for (size_t at = 0; at < token.size();) {
      const size_t length = data_->kind == Kind::char_bpe ? character_at(token, at).length : 1;
      const TokenId part = data_->kind == Kind::char_bpe ? characters_.find(token.substr(at, length))
                                                         : data_->byte_tokens[static_cast<unsigned char>(token[at])];
      if (part < 0) return false;
      parts.push_back(part);
      at += length;
    }
    return true;
  }

 private:
  const TokenizerData* data_;
  PieceTable characters_;
};

}  // namespace

std::vector<Merge> reachable_merges(const TokenizerData& data, std::span<const Merge> listed) {
  const Atoms atoms(data);
  MergeTable table(data, listed.size());
  for (const Merge& merge : listed) table.add(merge);
  std::vector<uint8_t> is_tried(data.tokens.size());
  std::vector<uint32_t> happen;  // priorities
  std::vector<TokenId> parts;
  MergeTable::Scratch scratch;
  for (const Merge& merge : listed) {
    if (is_tried[static_cast<size_t>(merge.result)]++ != 0) continue;
    if (!atoms.of(merge.result, parts) || parts.size() < 2) continue;
    const uint32_t last = table.merge(parts, scratch);
    if (parts.size() == 1 && parts[0] == merge.result) happen.push_back(last);
  }
  std::sort(happen.begin(), happen.end());
  std::vector<Merge> merges;
  merges.reserve(happen.size());
  for (const uint32_t priority : happen) merges.push_back(table.merges()[priority]);
  return merges;
}

std::vector<Merge> merges_of_order(const TokenizerData& data, std::span<const TokenId> by_priority) {
  std::vector<uint8_t> is_byte_token(data.tokens.size());
  PieceTable parts(by_priority.size() + 256);
  for (const TokenId id : data.byte_tokens) {
    if (id < 0) continue;
    is_byte_token[static_cast<size_t>(id)] = 1;
    if (data.kind == Kind::byte_bpe) parts.add(data.tokens[static_cast<size_t>(id)], id);
  }
  for (const TokenId id : by_priority) {
    if (is_byte_token[static_cast<size_t>(id)] == 0) parts.add(data.tokens[static_cast<size_t>(id)], id);
  }
  // Every way to split every token. Which of the splits of one token comes first is of no account: only one of them ever happens.
  std::vector<Merge> listed;
  for (const TokenId id : by_priority) {
    const std::string_view token = data.tokens[static_cast<size_t>(id)];
    for (size_t at = 1; at < token.size(); ++at) {
      const TokenId left = parts.find(token.substr(0, at));
      if (left < 0) continue;
      if (const TokenId right = parts.find(token.substr(at)); right >= 0) listed.push_back({left, right, id});
    }
  }
  return reachable_merges(data, listed);
}

}  // namespace quern
