// Pieces of JSON that the answers of several routes share. Stateless.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/session.h"
#include "server/answer.h"
#include "server/answer_parser.h"
#include "server/json_writer.h"
#include "server/served_model.h"

namespace quern {

// What the replies to one request have in common.
struct AnswerHead {
  std::string id, object, chunk_object, model, fingerprint;
  int64_t created = 0;
};

// What the answers of the two interfaces with choices have in common.
struct ChoiceOptions {
  AnswerHead head;
  size_t prompt_tokens = 0;
  bool is_stream = false, include_usage = false, continuous_usage = false;
  std::optional<size_t> logprobs;         // likeliest tokens told beside each; absent: no logprobs
  std::optional<size_t> prompt_logprobs;  // the same of the prompt
  std::vector<int64_t> stop_token_ids;
  bool shows_end_token = false;  // in logprobs
};

// What the answers of the two interfaces without choices have in common.
struct MessageOptions {
  std::string id, model;
  AnswerParserOptions parser;
  size_t prompt_tokens = 0;
  bool is_stream = false;
};

// Opens the object and writes id, object, created, model and system_fingerprint.
void write_head(JsonWriter& json, const AnswerHead& head, const std::string& object);
// {"prompt_tokens":..,"completion_tokens":..,...}
void write_usage(JsonWriter& json, const TokenTotals& totals);
// OpenAI's finish_reason, and vLLM's stop_reason: the stop string or the stop id that the request named.
void write_finish(JsonWriter& json, const Finish& finish, bool called_tools, const std::vector<int64_t>& stop_token_ids);

// -inf is written as -9999.
double shown_logprob(float logprob);
// A token's text; its bytes may not be whole characters.
std::string token_text(const Tokenizer& tokenizer, TokenId id);
// "usage" of a chunk that is not the last: as the options want it.
void write_chunk_usage(JsonWriter& json, const ChoiceOptions& options, const TokenTotals& totals);
// The last chunk, when the usage is wanted, and the end of the stream.
void append_stream_end(std::string& out, const ChoiceOptions& options, const TokenTotals& totals);
// Takes the token that ended an answer off its tokens: it belongs to the count and not to what is shown.
void drop_end_token(SessionOutput& output);
// vLLM's "prompt_logprobs": null for the first token, then {"<id>":{"logprob","rank","decoded_token"}}; ranks of those told only.
void write_prompt_logprobs(JsonWriter& json, const Tokenizer& tokenizer, const std::vector<OutputToken>& prompt, size_t num_top);
// {"token","logprob","bytes","top_logprobs"} of a chat.
void write_chat_logprob(JsonWriter& json, const Tokenizer& tokenizer, const OutputToken& token, size_t num_top);

}  // namespace quern
