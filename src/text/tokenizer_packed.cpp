// The form of a tokenizer inside an engine file. docs/text.md describes it byte by byte.
#include "base/error.h"
#include "text/tokenizer.h"
#include "text/tokenizer_check.h"

namespace quern {
namespace {

using Kind = TokenizerData::Kind;
using Splitter = TokenizerData::Splitter;
using Prefix = TokenizerData::Prefix;

constexpr std::string_view kMagic = "QUERNTOK";
constexpr uint8_t kVersion = 1;
constexpr size_t kMaxTextBytes = size_t{64} << 20;

class Writer {
 public:
  void byte(uint8_t value) { bytes_.push_back(static_cast<std::byte>(value)); }
  void number(uint64_t value) {  // 7 bits a byte, lowest first
    for (; value >= 0x80; value >>= 7) byte(static_cast<uint8_t>(value | 0x80));
    byte(static_cast<uint8_t>(value));
  }
  void raw(std::string_view text) {
    for (const char c : text) byte(static_cast<uint8_t>(c));
  }
  void text(std::string_view text) {
    number(text.size());
    raw(text);
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view where) : bytes_(bytes), where_(where) {}

  size_t left() const { return bytes_.size() - at_; }
  uint8_t byte(const char* what) {
    if (at_ == bytes_.size()) raise(invalid_input, "{}: tokenizer: {}: cut off at byte {}", where_, what, at_);
    return static_cast<uint8_t>(bytes_[at_++]);
  }
  // At most `max`.
  uint64_t number(const char* what, uint64_t max) {
    uint64_t value = 0;
    const size_t start = at_;
    for (unsigned shift = 0; shift < 63; shift += 7) {
      const uint8_t part = byte(what);
      value |= static_cast<uint64_t>(part & 0x7f) << shift;
      if (part >= 0x80) continue;
      if (value > max) raise(invalid_input, "{}: tokenizer: {} at byte {}: want at most {}, found {}", where_, what, start, max, value);
      return value;
    }
    raise(invalid_input, "{}: tokenizer: {} at byte {}: not a number", where_, what, start);
  }
  // A count of things that take at least `bytes_each` bytes.
  size_t count(const char* what, size_t max, size_t bytes_each) {
    const auto value = static_cast<size_t>(number(what, max));
    if (value > left() / bytes_each) {
      raise(invalid_input, "{}: tokenizer: {}: {} do not fit into the {} bytes that are left", where_, what, value, left());
    }
    return value;
  }
  std::string text(const char* what, size_t max) {
    const size_t size = count(what, max, 1);
    return std::string(bytes(what, size));
  }
  std::string_view bytes(const char* what, size_t size) {
    if (size > left()) raise(invalid_input, "{}: tokenizer: {}: cut off at byte {}", where_, what, at_);
    const auto part = bytes_.subspan(at_, size);
    at_ += size;
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  template <class E>
  E choice(const char* what, E last) {
    const uint8_t value = byte(what);
    if (value > static_cast<uint8_t>(last)) {
      raise(invalid_input, "{}: tokenizer: {}: want at most {}, found {}", where_, what, static_cast<int>(last), value);
    }
    return static_cast<E>(value);
  }
  bool flag(const char* what) { return choice<uint8_t>(what, 1) != 0; }

 private:
  std::span<const std::byte> bytes_;
  std::string_view where_;
  size_t at_ = 0;
};

// Ids whose bytes follow from the merges when these are read in order, each from parts that are known by then.
std::vector<uint8_t> tokens_that_follow(const TokenizerData& data) {
  std::vector<uint8_t> follows(data.tokens.size()), is_made(data.tokens.size());
  for (const TokenizerData::Merge& merge : data.merges) is_made[static_cast<size_t>(merge.result)] = 1;
  const auto is_known = [&](TokenId id) { return is_made[static_cast<size_t>(id)] == 0 || follows[static_cast<size_t>(id)] != 0; };
  for (const TokenizerData::Merge& merge : data.merges) {
    if (is_known(merge.left) && is_known(merge.right)) {
      follows[static_cast<size_t>(merge.result)] = 1;
    } else {
      is_made[static_cast<size_t>(merge.result)] = 0;  // written out, so known to the merges that follow
    }
  }
  return follows;
}

}  // namespace

std::vector<std::byte> Tokenizer::packed() const {
  const TokenizerData& d = data();
  Writer out;
  out.raw(kMagic);
  out.byte(kVersion);
  out.byte(static_cast<uint8_t>(d.kind));
  out.byte(static_cast<uint8_t>(d.splitter));
  out.byte(static_cast<uint8_t>(d.prefix));
  out.byte(d.nfc ? 1 : 0);
  out.byte(d.whole_pieces ? 1 : 0);
  out.text(d.origin);
  out.number(d.bos ? static_cast<uint64_t>(*d.bos) + 1 : 0);

  const std::vector<uint8_t> follows = tokens_that_follow(d);
  out.number(d.tokens.size());
  for (size_t id = 0; id < d.tokens.size(); ++id) out.number(follows[id] != 0 ? 0 : d.tokens[id].size() + 1);  // 0: follows
  for (size_t id = 0; id < d.tokens.size(); ++id) {
    if (follows[id] == 0) out.raw(d.tokens[id]);
  }
  for (const TokenId id : d.byte_tokens) out.number(static_cast<uint64_t>(int64_t{id} + 1));
  out.number(d.merges.size());
  TokenId expected = 0;
  for (const TokenizerData::Merge& merge : d.merges) {
    out.number(static_cast<uint64_t>(merge.left));
    out.number(static_cast<uint64_t>(merge.right));
    const int64_t step = int64_t{merge.result} - expected;  // zigzag: 0 for results that count up
    out.number(static_cast<uint64_t>(step < 0 ? -step * 2 - 1 : step * 2));
    expected = merge.result + 1;
  }
  out.number(d.specials.size());
  for (const TokenizerData::Special& special : d.specials) {
    out.number(static_cast<uint64_t>(special.id));
    out.byte(static_cast<uint8_t>((special.control ? 1 : 0) | (special.normalized ? 2 : 0)));
    out.text(special.text);
  }
  return out.take();
}

Tokenizer Tokenizer::unpack(std::span<const std::byte> bytes, std::string_view where) {
  Reader in(bytes, where);
  for (const char c : kMagic) {
    if (in.byte("magic") != static_cast<uint8_t>(c)) raise(invalid_input, "{}: tokenizer: want the magic {}", where, kMagic);
  }
  if (const uint8_t version = in.byte("version"); version != kVersion) {
    raise(incompatible, "{}: tokenizer: want format version {}, found {}; build the engine file again", where, kVersion, version);
  }
  TokenizerData d;
  d.kind = in.choice("kind", Kind::char_bpe);
  d.splitter = in.choice("splitter", Splitter::llama3);
  d.prefix = in.choice("prefix", Prefix::meta_each);
  d.nfc = in.flag("nfc");
  d.whole_pieces = in.flag("whole pieces");
  d.origin = in.text("origin", 1024);
  if (const uint64_t bos = in.number("bos", kMaxTokens); bos > 0) d.bos = static_cast<TokenId>(bos - 1);

  const size_t num_tokens = in.count("tokens", kMaxTokens, 1);
  std::vector<uint32_t> sizes(num_tokens);
  for (uint32_t& size : sizes) size = static_cast<uint32_t>(in.number("token size", kMaxTokenBytes + 1));
  d.tokens.resize(num_tokens);
  for (size_t id = 0; id < num_tokens; ++id) {
    if (sizes[id] > 1) d.tokens[id] = in.bytes("token", sizes[id] - 1);
  }
  for (TokenId& id : d.byte_tokens) id = static_cast<TokenId>(in.number("byte token", num_tokens)) - 1;

  const size_t num_merges = in.count("merges", num_tokens, 3);
  d.merges.reserve(num_merges);
  int64_t expected = 0;
  size_t text_bytes = 0;
  for (size_t i = 0; i < num_merges; ++i) {
    TokenizerData::Merge merge{};
    merge.left = static_cast<TokenId>(in.number("merge", num_tokens - 1));
    merge.right = static_cast<TokenId>(in.number("merge", num_tokens - 1));
    const uint64_t step = in.number("merge", 2 * kMaxTokens);
    const int64_t result = (step & 1) != 0 ? expected - static_cast<int64_t>(step / 2 + 1) : expected + static_cast<int64_t>(step / 2);
    if (result < 0 || result >= static_cast<int64_t>(num_tokens)) {
      raise(invalid_input, "{}: tokenizer: merge {}: want a result below {}, found {}", where, i, num_tokens, result);
    }
    merge.result = static_cast<TokenId>(result);
    expected = result + 1;
    const auto l = static_cast<size_t>(merge.left), r = static_cast<size_t>(merge.right), both = static_cast<size_t>(result);
    if (sizes[both] == 0) {  // its bytes follow from this merge
      if (d.tokens[l].empty() || d.tokens[r].empty() || !d.tokens[both].empty()) {
        raise(invalid_input, "{}: tokenizer: merge {}: tokens {} and {} cannot make token {}", where, i, l, r, both);
      }
      const size_t size = d.tokens[l].size() + d.tokens[r].size();
      text_bytes += size;
      if (size > kMaxTokenBytes || text_bytes > kMaxTextBytes) {
        raise(invalid_input, "{}: tokenizer: merge {}: tokens longer than {} bytes, or {} in all", where, i, kMaxTokenBytes, kMaxTextBytes);
      }
      d.tokens[both].reserve(size);
      d.tokens[both].append(d.tokens[l]).append(d.tokens[r]);
    }
    d.merges.push_back(merge);
  }
  for (size_t id = 0; id < num_tokens; ++id) {
    if (sizes[id] == 0 && d.tokens[id].empty()) raise(invalid_input, "{}: tokenizer: token {}: no merge makes it", where, id);
  }
  const size_t num_specials = in.count("added tokens", kMaxSpecials, 3);
  d.specials.reserve(num_specials);
  for (size_t i = 0; i < num_specials; ++i) {
    TokenizerData::Special special{};
    special.id = static_cast<TokenId>(in.number("added token", num_tokens - 1));
    const auto flags = in.choice<uint8_t>("added token flags", 3);
    special.control = (flags & 1) != 0;
    special.normalized = (flags & 2) != 0;
    special.text = in.text("added token", kMaxSpecialBytes);
    d.specials.push_back(std::move(special));
  }
  if (in.left() != 0) raise(invalid_input, "{}: tokenizer: {} bytes follow its end", where, in.left());
  return Tokenizer(std::move(d), where);
}

}  // namespace quern
