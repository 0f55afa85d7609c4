// The body of /v1/completions into a plan. Runs on a worker; stateless.
#pragma once
#include <string_view>

#include "server/generation_plan.h"
#include "server/request_fields.h"
#include "server/served_model.h"

namespace quern {

inline constexpr size_t kMaxPrompts = 128;

GenerationPlan read_completion_request(std::string_view body, const ServedModel& model);

// A list of token ids of the vocabulary, at least one.
std::vector<TokenId> read_token_list(const Json& ids, const std::string& path, const ServedModel& model);

}  // namespace quern
