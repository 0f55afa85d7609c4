#include "server/completion_request.h"

#include <algorithm>
#include <ctime>

#include "server/chat_request.h"
#include "server/completion_answer.h"
#include "server/random_id.h"
#include "server/sampling_request.h"
#include "server/tools_request.h"

namespace quern {
namespace {

struct Prompts {
  std::vector<std::vector<TokenId>> ids;
  std::vector<std::string> texts;  // for echo
};

constexpr const char* kKinds = "want a string, an array of strings, of token ids, or of arrays of token ids";

// Fill-in-the-middle, for models that have the tokens: prefix, suffix, and the answer goes between.
std::vector<TokenId> encode_middle(const std::string& prefix, const std::string& suffix, const ServedModel& model) {
  const Tokenizer& tokenizer = model.tokenizer();
  const auto begin = tokenizer.find_special("<|fim_prefix|>"), end = tokenizer.find_special("<|fim_suffix|>"),
             middle = tokenizer.find_special("<|fim_middle|>");
  if (!begin || !end || !middle) {
    ApiError error = field_error("suffix", "this model has no tokens for filling in the middle");
    error.code = "unsupported_value";
    throw error;
  }
  std::vector<TokenId> ids = {*begin};
  const auto append = [&](const std::string& text) {
    const std::vector<TokenId> part = tokenizer.encode(text, Tokenizer::Specials::not_control);
    ids.insert(ids.end(), part.begin(), part.end());
  };
  append(prefix);
  ids.push_back(*end);
  append(suffix);
  ids.push_back(*middle);
  return ids;
}

class PromptReader {
 public:
  PromptReader(const RequestFields& fields, const ServedModel& model)
      : model_(model), suffix_(fields.text("suffix")), adds_bos_(fields.flag("add_special_tokens").value_or(true)) {
    if (fields.flag("parse_special") == false) specials_ = Tokenizer::Specials::not_control;
    if (suffix_ && suffix_->empty()) suffix_.reset();
  }

  Prompts read(const RequestFields& fields) {
    const Json* prompt = fields.find("prompt");
    if (prompt == nullptr) {
      ApiError error = field_error("prompt", "{}, found nothing", kKinds);
      error.code = "missing_field";
      throw error;
    }
    if (prompt->is_string()) {
      add_text(prompt->get_ref<const std::string&>(), "prompt");
    } else if (!prompt->is_array() || prompt->empty()) {
      throw field_error("prompt", "{}, found {}", kKinds, found_value(*prompt));
    } else if (prompt->front().is_number()) {
      add_ids(*prompt, "prompt");
    } else {
      add_each(*prompt);
    }
    return std::move(prompts_);
  }

 private:
  void add_each(const Json& list) {
    if (list.size() > kMaxPrompts) throw field_error("prompt", "want at most {} prompts, found {}", kMaxPrompts, list.size());
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string path = fmt::format("prompt[{}]", i);
      if (list[i].is_string()) {
        add_text(list[i].get_ref<const std::string&>(), path);
      } else if (list[i].is_array()) {
        add_ids(list[i], path);
      } else {
        throw field_error(path, "want a string or an array of token ids, found {}", found_value(list[i]));
      }
    }
  }
  void add_text(const std::string& text, const std::string& path) {
    if (text.empty()) throw field_error(path, "want text, found an empty string");
    prompts_.ids.push_back(suffix_ ? encode_middle(text, *suffix_, model_) : model_.tokenizer().encode(text, specials_, adds_bos_));
    prompts_.texts.push_back(text);
  }
  void add_ids(const Json& ids, const std::string& path) {
    if (suffix_) throw field_error("suffix", "want prompts that are strings");
    prompts_.ids.push_back(read_token_list(ids, path, model_));
    prompts_.texts.push_back(model_.tokenizer().decode(prompts_.ids.back(), true));
  }

  const ServedModel& model_;
  std::optional<std::string> suffix_;
  bool adds_bos_;
  Tokenizer::Specials specials_ = Tokenizer::Specials::all;
  Prompts prompts_;
};

// OpenAI's integer; chat's true counts as 0.
std::optional<size_t> read_logprobs(const RequestFields& fields) {
  const Json* value = fields.find("logprobs");
  if (value == nullptr || *value == false) return std::nullopt;
  if (*value == true) return 0;
  return static_cast<size_t>(read_integer_value(*value, "logprobs", 0, 20));
}

}  // namespace

std::vector<TokenId> read_token_list(const Json& ids, const std::string& path, const ServedModel& model) {
  if (!ids.is_array() || ids.empty()) throw field_error(path, "want an array of token ids, found {}", found_value(ids));
  std::vector<TokenId> read;
  read.reserve(ids.size());
  for (const Json& id : ids) {
    const auto most = static_cast<int64_t>(model.engine->num_tokens()) - 1;
    read.push_back(static_cast<TokenId>(read_integer_value(id, fmt::format("{}[{}]", path, read.size()), 0, most)));
  }
  return read;
}

GenerationPlan read_completion_request(std::string_view body, const ServedModel& model) {
  const Json json = parse_request(body);
  const RequestFields fields(json);
  check_model_name(fields, model);
  const CommonFields common = read_common(fields);
  GenerationPlan plan;
  plan.params = read_sampling(fields, model);
  if (!fields.has("max_tokens") && !fields.has("max_completion_tokens") && !fields.has("n_predict")) plan.params.max_tokens = 16;
  const std::optional<size_t> logprobs = read_logprobs(fields);
  const bool echoes = fields.flag("echo").value_or(false);
  const auto best_of = static_cast<size_t>(fields.integer("best_of", 1, kMaxChoices).value_or(static_cast<int64_t>(common.n)));
  if (best_of < common.n) throw field_error("best_of", "want at least n, {}, found {}", common.n, best_of);
  if (best_of > common.n && common.is_stream) throw field_error("best_of", "want it without stream");
  if (plan.params.max_tokens == 0 && !echoes) throw field_error("max_tokens", "want at least 1, or 0 with echo, found 0");
  const std::optional<size_t> prompt_logprobs = read_prompt_logprobs(fields, common);
  if (prompt_logprobs || (echoes && logprobs)) {
    plan.params.prompt_logprobs = static_cast<int64_t>(std::max(prompt_logprobs.value_or(0), echoes ? logprobs.value_or(0) : 0));
  }
  if (logprobs) plan.params.logprobs = static_cast<int64_t>(*logprobs);
  if (best_of > common.n && !logprobs) plan.params.logprobs = 0;
  SamplingParams checked = plan.params;
  if (checked.max_tokens == 0) checked.max_tokens.reset();
  check_sampling(checked, model);
  refuse_unenforceable(fields);
  plan.masks = read_constraint(fields, body, {}, *model.constraints);

  Prompts prompts = PromptReader(fields, model).read(fields);
  if (prompts.ids.size() * best_of > kMaxPrompts) {
    throw field_error("n", "want at most {} answers in one request, found {}", kMaxPrompts, prompts.ids.size() * best_of);
  }
  for (auto& ids : prompts.ids) fit_prompt(ids, plan.params, common, model, "prompt");
  plan.prompts = std::move(prompts.ids);
  set_common(plan, common, best_of);

  AnswerHead head = {"cmpl-" + random_id(), "text_completion", "text_completion", model.name(), model.fingerprint, std::time(nullptr)};
  CompletionAnswerOptions options{choice_options(std::move(head), common, plan, logprobs, prompt_logprobs)};
  if (echoes) options.echoes = std::move(prompts.texts);
  for (const std::vector<TokenId>& ids : plan.prompts) options.first_tokens.push_back(ids.front());
  options.num_prompts = plan.prompts.size();
  options.n = common.n;
  options.best_of = best_of;
  plan.answer = std::make_unique<CompletionAnswer>(model, std::move(options));
  plan.ignored_fields = ignored_header(fields);
  return plan;
}

}  // namespace quern
