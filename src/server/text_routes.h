// The small routes: facts about the model, and text to tokens and back. Run on a worker; stateless; throw ApiError.
#pragma once
#include "server/http_message.h"
#include "server/served_model.h"

namespace quern {

HttpReply answer_version(const HttpRequest& request, const ServedModel& model);
HttpReply answer_props(const HttpRequest& request, const ServedModel& model);
HttpReply answer_models(const HttpRequest& request, const ServedModel& model);
HttpReply answer_model(const HttpRequest& request, const ServedModel& model);
HttpReply answer_tokenize(const HttpRequest& request, const ServedModel& model);
HttpReply answer_detokenize(const HttpRequest& request, const ServedModel& model);
HttpReply answer_apply_template(const HttpRequest& request, const ServedModel& model);
HttpReply answer_pooling(const HttpRequest& request, const ServedModel& model);
HttpReply answer_infill(const HttpRequest& request, const ServedModel& model);

}  // namespace quern
