// Text to token ids and back: special tokens, normalisation, splitter and BPE of one model. Immutable; any thread.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quern {

using TokenId = int32_t;

// Everything that makes a tokenizer, whatever file it came from. The readers are in text/vocabulary_files.h.
struct TokenizerData {
  enum class Kind : uint8_t {
    byte_bpe,  // BPE on bytes (Qwen, SmolLM2, GPT-2, Llama-3)
    char_bpe,  // BPE on characters, bytes of unknown characters as tokens of their own (SentencePiece BPE: Llama-2, TinyLlama)
  };
  enum class Splitter : uint8_t { none, qwen2, gpt2, smollm, llama3 };  // the pre-tokenizer patterns that are implemented
  enum class Prefix : uint8_t {                                         // char_bpe: where a space is put in front
    none,
    each,        // of every stretch of text between special tokens (SentencePiece, the Prepend normalizer)
    meta_first,  // of a text that starts neither with a special token nor with a space (Metaspace, prepend_scheme "first")
    meta_each,   // of every stretch that does not start with a space (Metaspace, "always")
  };
  struct Special {
    TokenId id;
    std::string text;
    bool control;             // special: true in Hugging Face's terms: left out of text for people, never made from user content
    bool normalized = false;  // looked for after normalisation, not before
  };
  struct Merge {
    TokenId left, right, result;
  };

  Kind kind = Kind::byte_bpe;
  Splitter splitter = Splitter::qwen2;
  Prefix prefix = Prefix::none;            // char_bpe
  bool nfc = false;                        // normalise to NFC first
  bool whole_pieces = false;               // a piece that is a token is taken as it is, whatever its merges say
  std::vector<std::string> tokens;         // bytes of token id i; "" for padding rows and specials that no merge needs
  std::array<TokenId, 256> byte_tokens{};  // id of each single byte; -1 when the vocabulary has none
  std::vector<Merge> merges;               // by priority; one for each result
  std::vector<Special> specials;           // by id
  std::optional<TokenId> bos;              // put in front by encode(..., add_bos)
  std::string origin;                      // the kind of file it was read from, for `quern info`
};

class Tokenizer {
 public:
  // Checks `data` in full: throws invalid_input, opened by `where`, for ids out of range, merges that do not join their parts,
  // missing byte tokens, empty or duplicate specials.
  explicit Tokenizer(TokenizerData data, std::string_view where = "tokenizer");
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // From the files of a checkpoint, see text/vocabulary_files.h. Each throws invalid_input / incompatible naming file and entry.
  static Tokenizer from_tokenizer_json(const std::string& path, const std::string& tokenizer_config_path);
  static Tokenizer from_vocab_and_merges(const std::string& vocab_path, const std::string& merges_path,
                                         const std::string& tokenizer_config_path);
  static Tokenizer from_tiktoken(const std::string& path);  // Qwen, first generation, with its special tokens
  // The folder's best file: tokenizer.json, vocab.json + merges.txt, *.tiktoken, in this order.
  static Tokenizer from_folder(const std::string& folder);

  // The form inside an engine file; unpack checks everything again. Loading a 151,936-token vocabulary takes at most 60 ms.
  std::vector<std::byte> packed() const;
  static Tokenizer unpack(std::span<const std::byte> bytes, std::string_view where);

  enum class Specials {
    as_text,      // no special token is made
    not_control,  // only those that are not control tokens
    all,          // every special token's text becomes its id (prompts that a program wrote)
  };
  // Ids of `text`. Invalid UTF-8 is read as U+FFFD (maximal subsequences). bos only when `add_bos` and the model has one.
  std::vector<TokenId> encode(std::string_view text, Specials specials, bool add_bos = false) const;

  // The same for a text in which [begin, end) of each range of `user_text` (ascending, disjoint) came from a user: no control token is
  // made of any of its bytes. The ranges split the text nowhere else.
  std::vector<TokenId> encode_mixed(std::string_view text, std::span<const std::pair<size_t, size_t>> user_text) const;

  // The text of `ids` as a whole, as bytes (maybe not valid UTF-8). Control tokens are left out when `skip_control`; ids without a token
  // (padding rows) give nothing; the space that a Prefix put in front is taken off. For a part of a text use bytes() or TextStream.
  std::string decode(std::span<const TokenId> ids, bool skip_control) const;

  size_t num_tokens() const;                 // ids [0, num_tokens) exist
  std::string_view bytes(TokenId id) const;  // of one token, specials as their text; "" for a padding row and for ids out of range
  std::optional<TokenId> find_special(std::string_view text) const;
  bool is_special(TokenId id) const;
  bool is_control(TokenId id) const;
  std::optional<TokenId> bos() const;
  const TokenizerData& data() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quern
