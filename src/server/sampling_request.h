// The sampling fields that all routes share, as vLLM, OpenAI and llama-server name them. Stateless.
#pragma once
#include <cstdint>

#include "engine/sampling_params.h"
#include "server/answer_text.h"
#include "server/generation_plan.h"
#include "server/request_fields.h"
#include "server/served_model.h"

namespace quern {

inline constexpr int64_t kMaxChoices = 16;

// The model's own defaults with what `fields` say. Throws ApiError naming the field.
SamplingParams read_sampling(const RequestFields& fields, const ServedModel& model);
// Throws ApiError for the first value out of its range.
void check_sampling(const SamplingParams& params, const ServedModel& model);

// Everything around sampling that the routes share.
struct CommonFields {
  size_t n = 1;
  bool is_stream = false, include_usage = false, continuous_usage = false;
  int64_t priority = 0;
  std::string cache_salt;
  std::optional<int64_t> truncate_prompt_tokens;  // -1: to what fits
};
CommonFields read_common(const RequestFields& fields);
// What `common` says goes to `plan`.
void set_common(GenerationPlan& plan, const CommonFields& common, size_t runs_per_prompt);
// vLLM's prompt_logprobs, for answers that are no stream.
std::optional<size_t> read_prompt_logprobs(const RequestFields& fields, const CommonFields& common);
// What answers with choices need of a request whose `plan` is complete.
ChoiceOptions choice_options(AnswerHead head, const CommonFields& common, const GenerationPlan& plan, std::optional<size_t> logprobs,
                             std::optional<size_t> prompt_logprobs);
// What answers without choices need.
MessageOptions message_options(std::string id, const CommonFields& common, const GenerationPlan& plan, const ServedModel& model,
                               AnswerParserOptions parser);

// The bound on an answer's reasoning, -1 or absent for none, under the names of vLLM and llama-server.
std::optional<size_t> read_thinking_budget(const RequestFields& fields);
// What the engine needs to know of reasoning, for a chat format that thinks. Throws 400 for a budget that could not be kept.
void set_reasoning(SamplingParams& params, const ServedModel& model, bool starts_in_reasoning, std::optional<size_t> budget);

// Throws 404 model_not_found for a name that is not served.
void check_model_name(const RequestFields& fields, const ServedModel& model);

// Throws 400 context_length_exceeded, with both numbers, for a prompt that leaves no room for what was asked for. Cuts the prompt when
// the request allows it. `field` names the prompt.
void fit_prompt(std::vector<TokenId>& prompt, const SamplingParams& params, const CommonFields& common, const ServedModel& model,
                const char* field);

}  // namespace quern
