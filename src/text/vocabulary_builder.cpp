#include "text/vocabulary_builder.h"

#include <algorithm>
#include <filesystem>

#include "base/mapped_file.h"
#include "text/byte_alphabet.h"
#include "text/merge_rules.h"
#include "text/tokenizer_check.h"

namespace quern {
namespace {

using Kind = TokenizerData::Kind;

constexpr std::string_view kLowerBlock = "\xe2\x96\x81";

// The byte of "<0xNN>", or -1.
int byte_of_name(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    if (c >= '0' && c <= '9') {
      value = value * 16 + (c - '0');
    } else if (c >= 'A' && c <= 'F') {
      value = value * 16 + (c - 'A' + 10);
    } else {
      return -1;
    }
  }
  return value;
}

std::string with_spaces(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t block = std::min(text.find(kLowerBlock, at), text.size());
    out += text.substr(at, block - at);
    if (block < text.size()) out += ' ';
    at = block + kLowerBlock.size();
  }
  return out;
}

}  // namespace

std::string read_vocabulary_text(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) raise(invalid_input, "{}: no such file; want a tokenizer", escaped(path));
  return read_text_file(path, kMaxVocabularyFileBytes);
}

Json read_vocabulary_json(const std::string& path) {
  return parse_json(read_vocabulary_text(path), escaped(path), {.max_bytes = kMaxVocabularyFileBytes});
}

size_t VocabularyBuilder::checked_id(std::string_view text, int64_t id) const {
  if (id < 0 || id >= static_cast<int64_t>(kMaxTokens)) {
    raise(invalid_input, "{}: token \"{}\": want an id from 0 to {}, found {}", where_, escaped(text, 60), kMaxTokens - 1, id);
  }
  return static_cast<size_t>(id);
}

void VocabularyBuilder::grow(size_t id) {
  if (id < texts_.size()) return;
  texts_.resize(id + 1);
  is_there_.resize(id + 1);
}

void VocabularyBuilder::add_token(std::string_view text, int64_t signed_id) {
  const size_t id = checked_id(text, signed_id);
  grow(id);
  if (text.empty()) raise(invalid_input, "{}: token {}: its text is empty", where_, id);
  if (is_there_[id] != 0) {
    raise(invalid_input, "{}: token \"{}\": id {} is the id of \"{}\" too", where_, escaped(text, 60), id, escaped(texts_[id], 60));
  }
  const auto [there, is_new] = ids_.emplace(text, static_cast<TokenId>(id));
  if (!is_new) raise(invalid_input, "{}: token \"{}\" has two ids, {} and {}", where_, escaped(text, 60), there->second, id);
  texts_[id] = text;
  is_there_[id] = 1;
}

void VocabularyBuilder::add_empty(int64_t signed_id) {
  const size_t id = checked_id("", signed_id);
  grow(id);
  if (is_there_[id] != 0) raise(invalid_input, "{}: token id {} is there twice", where_, id);
  is_there_[id] = 1;
}

void VocabularyBuilder::add_special(std::string text, int64_t signed_id, bool control, bool normalized) {
  const size_t id = checked_id(text, signed_id);
  const std::string shown = escaped(text, 60);
  if (text.empty()) raise(invalid_input, "{}: added token {}: its text is empty", where_, id);
  if (text.size() > kMaxSpecialBytes) {
    raise(invalid_input, "{}: added token {}: want at most {} bytes of text, found {}", where_, id, kMaxSpecialBytes, text.size());
  }
  if (specials_.size() == kMaxSpecials) raise(invalid_input, "{}: want at most {} added tokens", where_, kMaxSpecials);
  grow(id);
  if (const auto there = ids_.find(text); there != ids_.end() && there->second != static_cast<TokenId>(id)) {
    raise(invalid_input, "{}: added token \"{}\": want its id in the vocabulary, {}, found {}", where_, shown, there->second, id);
  }
  if (is_there_[id] != 0 && texts_[id] != text) {
    raise(invalid_input, "{}: added token \"{}\": id {} is the id of \"{}\" too", where_, shown, id, escaped(texts_[id], 60));
  }
  if (const auto [there, is_new] = special_ids_.emplace(text, static_cast<TokenId>(id)); !is_new) {
    raise(invalid_input, "{}: added token \"{}\" is there twice, as {} and {}", where_, shown, there->second, id);
  }
  texts_[id] = text;
  is_there_[id] = 1;
  specials_.push_back({static_cast<TokenId>(id), std::move(text), control, normalized});
}

void VocabularyBuilder::add_special(const JsonFields& flags, int64_t id) {
  const std::string text = flags.text({"content"});
  for (const char* name : {"lstrip", "rstrip", "single_word"}) {
    if (flags.flag(name, false)) {
      raise(incompatible, "{}: added token {} (\"{}\"): {} is not implemented", where_, id, escaped(text, 60), name);
    }
  }
  const bool control = flags.flag("special", false);
  add_special(text, id, control, kind_ == Kind::byte_bpe && flags.flag("normalized", !control));
}

bool VocabularyBuilder::has_special(std::string_view text) const { return special_ids_.contains(std::string(text)); }

void VocabularyBuilder::add_merge(std::string_view text, size_t line) {
  const size_t space = text.find(' ');
  if (space == 0 || space == std::string_view::npos || space + 1 == text.size() || text.find(' ', space + 1) != std::string_view::npos) {
    raise(invalid_input, "{}: merges: merge {}: want two tokens and a space between them, found \"{}\"", where_, line, escaped(text, 60));
  }
  add_merge(text.substr(0, space), text.substr(space + 1), line);
}

void VocabularyBuilder::add_merge(std::string_view left, std::string_view right, size_t line) {
  const auto id_of = [&](const std::string& text, const char* what) {
    const auto there = ids_.find(text);
    if (there == ids_.end())
      raise(invalid_input, "{}: merge {}: {} \"{}\" is not in the vocabulary", where_, line, what, escaped(text, 60));
    return there->second;
  };
  const TokenId l = id_of(std::string(left), "part"), r = id_of(std::string(right), "part");
  merges_.push_back({l, r, id_of(std::string(left) + std::string(right), "result")});
}

TokenizerData VocabularyBuilder::finish(TokenizerData data, const std::vector<TokenId>& by_priority) {
  const auto gap = std::find(is_there_.begin(), is_there_.end(), 0);
  if (gap != is_there_.end()) {
    raise(invalid_input, "{}: want ids without gaps, found no token with id {} of {}", where_, gap - is_there_.begin(), is_there_.size());
  }
  data.kind = kind_;
  data.byte_tokens.fill(-1);
  data.tokens.assign(texts_.size(), "");
  for (size_t id = 0; id < texts_.size(); ++id) {
    const std::string& text = texts_[id];
    if (text.empty()) continue;
    const bool is_special = special_ids_.contains(text);
    if (kind_ == Kind::byte_bpe) {
      if (auto bytes = bytes_of_alphabet(text)) {
        data.tokens[id] = *std::move(bytes);
      } else if (!is_special) {
        raise(invalid_input, "{}: token {}: \"{}\" is not in the byte alphabet", where_, id, escaped(text, 60));
      }
      if (data.tokens[id].size() == 1) data.byte_tokens[static_cast<unsigned char>(data.tokens[id][0])] = static_cast<TokenId>(id);
    } else if (const int byte = byte_of_name(text); byte >= 0 && !is_special) {
      data.tokens[id] = std::string(1, static_cast<char>(byte));
      data.byte_tokens[static_cast<size_t>(byte)] = static_cast<TokenId>(id);
    } else {
      data.tokens[id] = with_spaces(text);
    }
    if (data.tokens[id].size() > kMaxTokenBytes) {
      raise(invalid_input, "{}: token {}: want at most {} bytes, found {}", where_, id, kMaxTokenBytes, data.tokens[id].size());
    }
  }
  data.merges = by_priority.empty() ? reachable_merges(data, merges_) : merges_of_order(data, by_priority);

  std::sort(specials_.begin(), specials_.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  std::vector<uint8_t> is_merged(data.tokens.size());
  for (const TokenizerData::Merge& merge : data.merges) {
    for (const TokenId id : {merge.left, merge.right, merge.result}) is_merged[static_cast<size_t>(id)] = 1;
  }
  for (const TokenId id : data.byte_tokens) {
    if (id >= 0) is_merged[static_cast<size_t>(id)] = 1;
  }
  for (const TokenizerData::Special& special : specials_) {
    std::string& token = data.tokens[static_cast<size_t>(special.id)];
    if (is_merged[static_cast<size_t>(special.id)] == 0 || token != special.text) token.clear();
  }
  data.specials = std::move(specials_);
  return data;
}

}  // namespace quern
