// The body of /v1/responses into a plan: the part that needs no stored state. Runs on a worker; stateless.
#pragma once
#include <string_view>

#include "server/generation_plan.h"
#include "server/served_model.h"

namespace quern {

GenerationPlan read_responses_request(std::string_view body, const ServedModel& model);

}  // namespace quern
