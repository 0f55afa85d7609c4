// Text to token ids and back: special tokens, normalisation, splitter and byte-level BPE of one model. Immutable; any thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

using TokenId = int32_t;

// Everything that makes a tokenizer, whatever file it came from.
struct TokenizerData {
  enum class Kind : uint8_t {
    byte_bpe,       // byte-level BPE: tokens are byte strings (Qwen, SmolLM2, GPT-2 kind)
    scored_bpe,     // SentencePiece BPE with scores and byte fallback (Llama-2, TinyLlama, stories260K)
  };
  enum class Splitter : uint8_t { none, qwen2, gpt2, smollm, llama3 };  // the pre-tokenizer patterns that are implemented
  struct Special {
    TokenId id;
    std::string text;
    bool control;  // special: true in Hugging Face's terms: removed from text for people, never made from user content
  };

  Kind kind = Kind::byte_bpe;
  Splitter splitter = Splitter::qwen2;
  bool nfc = false;                     // normalise to NFC first
  bool add_prefix_space = false;        // scored_bpe: the SentencePiece dummy prefix
  std::vector<std::string> tokens;      // bytes of token id i; empty for ids that have none
  std::vector<std::pair<TokenId, TokenId>> merges;  // byte_bpe: by priority, when priority is not the id of the result; else empty
  std::vector<float> scores;            // scored_bpe
  std::vector<Special> specials;
  std::optional<TokenId> bos;           // added in front when set
  std::string model_text;               // name of the file kind, for info
};

class Tokenizer {
 public:
  explicit Tokenizer(TokenizerData data);  // throws invalid_input: a byte token missing, ids out of range, duplicate specials
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  // From the files of a checkpoint. Each throws invalid_input / incompatible naming file and entry.
  static Tokenizer from_tokenizer_json(const std::string& path, const std::string& tokenizer_config_path);
  static Tokenizer from_vocab_and_merges(const std::string& vocab_path, const std::string& merges_path, const std::string& tokenizer_config_path);
  static Tokenizer from_tiktoken(const std::string& path);  // Qwen, first generation, with its special tokens
  // The folder's best file: tokenizer.json, vocab.json + merges.txt, *.tiktoken, in this order.
  static Tokenizer from_folder(const std::string& folder);

  // The form inside an engine file; unpack checks everything again. Loading a 151,936-token vocabulary takes at most 60 ms.
  std::vector<std::byte> packed() const;
  static Tokenizer unpack(std::span<const std::byte> bytes, std::string_view where);

  enum class Specials {
    as_text,       // no special token is made
    not_control,   // only those that are not control tokens
    all,           // every special token's text becomes its id (prompts that a program wrote)
  };
  // Ids of `text`. Invalid UTF-8 is read as U+FFFD (maximal subsequences). bos only when `add_bos` and the model has one.
  std::vector<TokenId> encode(std::string_view text, Specials specials, bool add_bos = false) const;
  // Bytes of `ids` one after the other (maybe not valid UTF-8). Control tokens are left out when `skip_control`; ids without a
  // token (padding rows) give nothing.
  std::string decode(std::span<const TokenId> ids, bool skip_control) const;

  size_t num_tokens() const;                             // ids [0, num_tokens) exist
  std::string_view bytes(TokenId id) const;              // of one token; "" for a padding row
  std::optional<TokenId> find_special(std::string_view text) const;
  bool is_control(TokenId id) const;
  std::optional<TokenId> bos() const;
  const TokenizerData& data() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quern
