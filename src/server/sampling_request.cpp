#include "server/sampling_request.h"

#include <algorithm>
#include <limits>

#include "backend/ops/ops.h"
#include "base/parse.h"

namespace quern {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max(), kLeast = std::numeric_limits<int64_t>::min();
constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();

void read_number(const RequestFields& fields, const char* name, double& into) {
  if (const auto value = fields.number(name)) into = *value;
}

std::vector<std::string> read_stop(const RequestFields& fields) {
  const Json& stop = *fields.find("stop");
  if (stop.is_string()) return {stop.get<std::string>()};
  std::vector<std::string> texts;
  if (!stop.is_array() || stop.size() > kMaxStopStrings) {
    throw field_error(fields.path_of("stop"), "want a string or an array of at most {} strings, found {}", kMaxStopStrings,
                      found_value(stop));
  }
  for (const Json& text : stop) {
    if (!text.is_string()) throw field_error(fmt::format("stop[{}]", texts.size()), "want a string, found {}", found_value(text));
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

std::vector<std::pair<TokenId, double>> read_logit_bias(const RequestFields& fields) {
  const Json& biases = *fields.find("logit_bias");
  if (!biases.is_object() || biases.size() > kMaxLogitBiases) {
    throw field_error("logit_bias", "want an object of at most {} token ids, found {}", kMaxLogitBiases, found_value(biases));
  }
  std::vector<std::pair<TokenId, double>> read;
  for (const auto& [key, value] : biases.items()) {
    const auto id = parse_number<TokenId>(key, 0, std::numeric_limits<TokenId>::max());
    if (!id) throw field_error("logit_bias", "want token ids as keys, found '{}'", escaped(key, 60));
    if (!value.is_number()) throw field_error(fmt::format("logit_bias.{}", *id), "want a number, found {}", found_value(value));
    read.emplace_back(*id, value.get<double>());
  }
  std::ranges::sort(read);
  return read;
}

// Both llama-server's -1 ("no bound") and the names of OpenAI's two interfaces.
std::optional<int64_t> read_max_tokens(const RequestFields& fields, std::optional<int64_t> when_absent) {
  const auto completion = fields.integer("max_completion_tokens", 1, kMaxTokens);
  const auto plain = fields.integer("max_tokens", 0, kMaxTokens);  // 0: a completion that only echoes; refused elsewhere
  const auto llama = fields.integer("n_predict", -1, kMaxTokens);
  if (completion) return completion;
  if (plain) return plain;
  if (llama) return *llama == -1 ? std::nullopt : llama;
  return when_absent;
}

}  // namespace

SamplingParams read_sampling(const RequestFields& fields, const ServedModel& model) {
  SamplingParams params = model.engine->defaults().params;
  read_number(fields, "temperature", params.temperature);
  read_number(fields, "top_p", params.top_p);
  if (const auto k = fields.integer("top_k", -1, kMost)) params.top_k = *k;
  read_number(fields, "min_p", params.min_p);
  read_number(fields, "repeat_penalty", params.repetition_penalty);
  read_number(fields, "repetition_penalty", params.repetition_penalty);
  read_number(fields, "presence_penalty", params.presence_penalty);
  read_number(fields, "frequency_penalty", params.frequency_penalty);
  if (fields.has("logit_bias")) params.logit_bias = read_logit_bias(fields);
  if (const auto seed = fields.integer("seed", kLeast, kMost)) params.seed = *seed;
  params.max_tokens = read_max_tokens(fields, params.max_tokens);
  if (const auto count = fields.integer("min_tokens", 0, kMaxTokens)) params.min_tokens = *count;
  if (fields.has("stop")) {
    const std::vector<std::string> stop = read_stop(fields);
    params.stop.insert(params.stop.end(), stop.begin(), stop.end());
  }
  if (const Json* ids = fields.array("stop_token_ids", kMaxStopTokenIds)) {
    for (const Json& id : *ids) {
      params.stop_token_ids.push_back(read_integer_value(id, fmt::format("stop_token_ids[{}]", params.stop_token_ids.size()), 0,
                                                         static_cast<int64_t>(model.engine->num_tokens()) - 1));
    }
  }
  params.ignore_eos = fields.flag("ignore_eos").value_or(false);
  params.include_stop_str_in_output = fields.flag("include_stop_str_in_output").value_or(false);
  params.skip_special_tokens = fields.flag("skip_special_tokens").value_or(true);
  return params;
}

void check_sampling(const SamplingParams& params, const ServedModel& model) {
  if (const auto problem = params.problem(model.engine->num_tokens())) throw field_error(problem->field, "{}", problem->message);
}

CommonFields read_common(const RequestFields& fields) {
  CommonFields common;
  common.n = static_cast<size_t>(fields.integer("n", 1, kMaxChoices).value_or(1));
  common.is_stream = fields.flag("stream").value_or(false);
  if (const auto options = fields.object("stream_options")) {
    if (!common.is_stream) throw field_error("stream_options", "want it with stream true only");
    common.include_usage = options->flag("include_usage").value_or(false);
    common.continuous_usage = options->flag("continuous_usage_stats").value_or(false);
  }
  common.priority = fields.integer("priority", -1'000'000, 1'000'000).value_or(0);
  common.cache_salt = fields.text("cache_salt", 1024).value_or("");
  common.truncate_prompt_tokens = fields.integer("truncate_prompt_tokens", -1, kMaxTokens);
  if (common.truncate_prompt_tokens == 0) throw field_error("truncate_prompt_tokens", "want -1 or at least 1, found 0");
  fields.text("request_id", 128);
  return common;
}

void set_common(GenerationPlan& plan, const CommonFields& common, size_t runs_per_prompt) {
  plan.runs_per_prompt = runs_per_prompt;
  plan.priority = common.priority;
  plan.cache_salt = common.cache_salt;
  plan.is_stream = common.is_stream;
}

std::optional<size_t> read_prompt_logprobs(const RequestFields& fields, const CommonFields& common) {
  const auto count = fields.integer("prompt_logprobs", 0, kMaxLogprobs);
  if (!count) return std::nullopt;
  if (common.is_stream) throw field_error("prompt_logprobs", "want it without stream");
  return static_cast<size_t>(*count);
}

ChoiceOptions choice_options(AnswerHead head, const CommonFields& common, const GenerationPlan& plan, std::optional<size_t> logprobs,
                             std::optional<size_t> prompt_logprobs) {
  return {.head = std::move(head),
          .prompt_tokens = plan.prompt_tokens(),
          .is_stream = common.is_stream,
          .include_usage = common.include_usage,
          .continuous_usage = common.continuous_usage,
          .logprobs = logprobs,
          .prompt_logprobs = prompt_logprobs,
          .stop_token_ids = plan.params.stop_token_ids,
          .shows_end_token = plan.params.include_stop_str_in_output};
}

MessageOptions message_options(std::string id, const CommonFields& common, const GenerationPlan& plan, const ServedModel& model,
                               AnswerParserOptions parser) {
  return {.id = std::move(id),
          .model = model.name(),
          .parser = std::move(parser),
          .prompt_tokens = plan.prompt_tokens(),
          .is_stream = common.is_stream};
}

std::optional<size_t> read_thinking_budget(const RequestFields& fields) {
  std::optional<size_t> budget;
  for (const char* name : {"thinking_budget_tokens", "reasoning_budget_tokens", "thinking_token_budget"}) {
    const auto given = fields.integer(name, -1, kMaxTokens);
    if (given) budget = *given == -1 ? std::nullopt : std::optional(static_cast<size_t>(*given));
  }
  return budget;
}

void set_reasoning(SamplingParams& params, const ServedModel& model, bool starts_in_reasoning, std::optional<size_t> budget) {
  const Tokenizer& tokenizer = model.tokenizer();
  const auto open = tokenizer.find_special("<think>"), close = tokenizer.find_special("</think>");
  if (!model.chat()->thinks || !open || !close) {
    if (budget && model.chat()->thinks) throw field_error("thinking_token_budget", "this model has no tokens around its reasoning");
    return;
  }
  params.reasoning = Reasoning{.open = *open, .close = *close, .is_open = starts_in_reasoning, .budget = budget, .closing = {}};
  if (!budget) return;
  const char* closing = *budget == 0 ? "</think>\n\n" : "\n\nConsidering the limited time, I will answer now.\n</think>\n\n";
  params.reasoning->closing = tokenizer.encode(closing, Tokenizer::Specials::all);
}

void check_model_name(const RequestFields& fields, const ServedModel& model) {
  const auto name = fields.text("model");
  if (!name || std::ranges::find(model.names, *name) != model.names.end()) return;
  ApiError error =
      api_error(404, "invalid_request_error", "model_not_found", fmt::format("The model '{}' does not exist.", escaped(*name)));
  error.param = "model";
  throw error;
}

void fit_prompt(std::vector<TokenId>& prompt, const SamplingParams& params, const CommonFields& common, const ServedModel& model,
                const char* field) {
  const size_t context = model.context();
  const auto wanted = static_cast<size_t>(params.max_tokens.value_or(1));
  if (common.truncate_prompt_tokens) {
    const size_t room = context > wanted ? context - wanted : 0;
    const size_t most = *common.truncate_prompt_tokens == -1 ? room : static_cast<size_t>(*common.truncate_prompt_tokens);
    if (most > 0 && prompt.size() > most) prompt.erase(prompt.begin(), prompt.end() - static_cast<ptrdiff_t>(most));
  }
  if (prompt.size() < context && wanted <= context - prompt.size()) return;
  ApiError error = api_error(400, "exceed_context_size_error", "context_length_exceeded", "");
  error.message =  // begins as OpenAI's does: LiteLLM and its kin know the error by these words
      params.max_tokens && prompt.size() < context
          ? fmt::format("This model's maximum context length is {} tokens; the prompt has {} and max_tokens is {}.", context, prompt.size(),
                        wanted)
          : fmt::format("This model's maximum context length is {} tokens; the prompt has {}.", context, prompt.size());
  error.param = params.max_tokens && prompt.size() < context ? "max_tokens" : field;
  error.prompt_and_context = {prompt.size(), context};
  throw error;
}

}  // namespace quern
