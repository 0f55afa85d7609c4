// The description of the interface that the server itself gives: /openapi.json, from the table of routes and the fields that each reads.
// Stateless.
#pragma once
#include "server/http_message.h"
#include "server/served_model.h"

namespace quern {

HttpReply answer_openapi(const HttpRequest& request, const ServedModel& model);

}  // namespace quern
