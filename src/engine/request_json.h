// Requests as programs write them in JSON: sampling fields by the names of OpenAI, vLLM and llama.cpp, and chat messages. Stateless.
// Every function throws invalid_input "<where>: <field>: want X, found Y".
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/sampling_params.h"
#include "text/chat_format.h"

namespace quern {

inline constexpr size_t kMaxMessages = 4096;

// Overwrites what the object names (null is absent) and leaves the rest. Ranges are SamplingParams::problem's to check.
void read_sampling_fields(const JsonFields& fields, SamplingParams& params);
// Whether read_sampling_fields knows `name`.
bool is_sampling_field(const std::string& name);

// `messages` as OpenAI's chat interface has them: 1 to kMaxMessages objects with role and content (a text, or text parts, which are
// joined); "developer" is system and "function" is tool. Assistants may have reasoning and tool_calls.
std::vector<ChatMessage> read_messages(const Json& messages, const std::string& where);

// Token ids of a prompt: at least one, each an integer from 0 to 2^31 - 1. Whether the vocabulary has them is the engine's to check.
std::vector<TokenId> read_token_ids(const Json& ids, const std::string& where);

}  // namespace quern
