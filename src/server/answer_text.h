// Pieces of JSON that the answers of several routes share. Stateless.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "engine/session.h"
#include "server/answer.h"
#include "server/json_writer.h"
#include "server/served_model.h"

namespace quern {

// What the replies to one request have in common.
struct AnswerHead {
  std::string id, object, chunk_object, model, fingerprint;
  int64_t created = 0;
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
// {"token","logprob","bytes","top_logprobs"} of a chat.
void write_chat_logprob(JsonWriter& json, const Tokenizer& tokenizer, const OutputToken& token, size_t num_top);

}  // namespace quern
