// For tests: a model that answers a chat with the user's last words, byte by byte and with the tokens of its tags, and goes on a plain text
// with the alphabet. It reads what was said through the KV blocks, so that lost or mixed blocks end the step.
#pragma once
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "engine/model_runner.h"
#include "text/chat_format.h"
#include "text/tokenizer.h"

namespace quern::testing {

// The 256 bytes, then the special tokens of Qwen3.
inline std::shared_ptr<const Tokenizer> echo_tokenizer() {
  TokenizerData data;
  data.splitter = TokenizerData::Splitter::none;
  for (int byte = 0; byte < 256; ++byte) {
    data.tokens.emplace_back(1, static_cast<char>(byte));
    data.byte_tokens[static_cast<size_t>(byte)] = byte;
  }
  const auto add = [&](const char* text, bool control) {
    data.specials.push_back({static_cast<TokenId>(data.tokens.size()), text, control});
    data.tokens.emplace_back();
  };
  for (const char* text : {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"})
    add(text, true);
  for (const char* text : {"<think>", "</think>", "<tool_call>", "</tool_call>"}) add(text, false);
  return std::make_shared<Tokenizer>(std::move(data));
}

struct EchoOptions {
  size_t num_blocks = 256, block_tokens = 16;
  double step_seconds = 0;  // how long a step takes
  const char* chat = "chatml-qwen3";
  std::string poison = "not a number";  // a chat that says this has no finite logits
};

class EchoRunner : public ModelRunner {
 public:
  EchoRunner(const EchoOptions& options, std::shared_ptr<const Tokenizer> tokenizer)
      : options_(options), tokenizer_(std::move(tokenizer)), slots_(options.num_blocks * options.block_tokens) {}

  size_t num_blocks() const override { return options_.num_blocks; }
  size_t block_tokens() const override { return options_.block_tokens; }
  size_t max_logit_rows() const override { return 1024; }
  int32_t rope_variant(size_t) const override { return 0; }
  void clear_block(size_t) override {}

  std::vector<SampledRow> forward(const ForwardBatch& batch) override {
    if (options_.step_seconds > 0) std::this_thread::sleep_for(std::chrono::duration<double>(options_.step_seconds));
    std::vector<SampledRow> rows;
    for (const ForwardBatch::Sequence& sequence : batch.sequences) {
      const auto first = static_cast<size_t>(sequence.first_position);
      for (size_t i = 0; i < sequence.token_ids.size(); ++i) slot(sequence, first + i) = {first + i, sequence.token_ids[i]};
      computed_tokens += sequence.token_ids.size();
      if (!sequence.wants_logits) continue;
      const size_t end = first + sequence.token_ids.size();
      for (size_t length = end - static_cast<size_t>(sequence.logit_tokens) + 1; length <= end; ++length) {
        const SampleRow& wanted = batch.sample_rows.at(rows.size());
        const TokenId likeliest = next_token(sequence, length);
        const TokenId next = wanted.allowed_row >= 0 ? allowed_or_first(batch, wanted, likeliest) : likeliest;
        SampledRow row{next, next == likeliest ? -0.5F : -5.0F, {}};
        for (int32_t i = 0; i < wanted.num_logprobs; ++i) row.top.emplace_back((likeliest + i) % 256, -0.5F - static_cast<float>(i));
        rows.push_back(std::move(row));
      }
    }
    return rows;
  }

  std::atomic<size_t> computed_tokens = 0;

 private:
  struct Slot {
    size_t position = static_cast<size_t>(-1);
    TokenId token = -1;
  };
  Slot& slot(const ForwardBatch::Sequence& sequence, size_t position) {
    return slots_[sequence.blocks[position / options_.block_tokens] * options_.block_tokens + position % options_.block_tokens];
  }

  // What the model would say when its mask lets it, else the first token that the mask has.
  TokenId allowed_or_first(const ForwardBatch& batch, const SampleRow& row, TokenId wanted) const {
    const size_t words = (tokenizer_->num_tokens() + 31) / 32;
    const uint32_t* mask = batch.allowed.data() + static_cast<size_t>(row.allowed_row) * words;
    const auto is_allowed = [&](size_t id) { return (mask[id / 32] >> (id % 32) & 1) != 0; };
    if (is_allowed(static_cast<size_t>(wanted))) return wanted;
    for (size_t id = 0; id < tokenizer_->num_tokens(); ++id) {
      if (is_allowed(id)) return static_cast<TokenId>(id);
    }
    return -1;
  }

  TokenId next_token(const ForwardBatch::Sequence& sequence, size_t length) {
    std::vector<TokenId> ids;
    for (size_t position = 0; position < length; ++position) {
      const Slot& found = slot(sequence, position);
      CHECK(found.position == position, "position {} holds position {}", position, found.position);
      ids.push_back(found.token);
    }
    const std::string text = tokenizer_->decode(ids, false);
    const std::string user = "<|im_start|>user\n", end = "<|im_end|>", assistant = "<|im_start|>assistant\n",
                      quiet = "<think>\n\n</think>\n\n";
    const size_t turn = text.rfind(user), answer = text.rfind(assistant);
    if (turn == text.npos || answer == text.npos) {
      const char last = text.empty() ? ' ' : text.back();
      return last >= 'a' && last < 'z' ? last + 1 : 'a';
    }
    const std::string words = text.substr(turn + user.size(), text.find(end, turn) - turn - user.size());
    if (words == options_.poison) return -1;
    std::string said = text.substr(answer + assistant.size());
    if (said.starts_with(quiet)) said.erase(0, quiet.size());
    if (said.size() < words.size()) {
      for (const char* tag : {"<think>", "</think>", "<tool_call>", "</tool_call>"}) {
        if (words.compare(said.size(), std::string_view(tag).size(), tag) == 0) return *tokenizer_->find_special(tag);
      }
      return static_cast<unsigned char>(words[said.size()]);
    }
    return *tokenizer_->find_special(end);
  }

  EchoOptions options_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<Slot> slots_;
};

// An engine around it, in Qwen3's chat format.
inline std::unique_ptr<Engine> echo_engine(const EchoOptions& echo = {}, EngineOptions options = {}) {
  const std::shared_ptr<const Tokenizer> tokenizer = echo_tokenizer();
  if (options.max_model_len == 0) options.max_model_len = 1024;
  GenerationDefaults defaults;
  defaults.chat = &chat_format(echo.chat);
  for (const char* end : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) defaults.end_ids.push_back(*tokenizer->find_special(end));
  return std::make_unique<Engine>(std::make_unique<EchoRunner>(echo, tokenizer), tokenizer, tokenizer->num_tokens(), defaults, options);
}

}  // namespace quern::testing
