// The body of /v1/messages, Anthropic's interface, into a plan. Runs on a worker; stateless.
#pragma once
#include <string_view>

#include "server/generation_plan.h"
#include "server/http_message.h"
#include "server/served_model.h"

namespace quern {

GenerationPlan read_messages_request(std::string_view body, const ServedModel& model);
// /v1/messages/count_tokens: {"input_tokens":N}
HttpReply answer_count_tokens(const HttpRequest& request, const ServedModel& model);

}  // namespace quern
