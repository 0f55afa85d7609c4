#include "server/llama_completion.h"

#include "server/chat_request.h"
#include "server/completion_request.h"
#include "server/constraint.h"
#include "server/json_writer.h"
#include "server/sampling_request.h"
#include "server/tools_request.h"

namespace quern {
namespace {

std::vector<TokenId> read_prompt(const RequestFields& fields, const ServedModel& model) {
  const Json* prompt = fields.find("prompt");
  if (prompt != nullptr && prompt->is_array()) return read_token_list(*prompt, "prompt", model);
  const std::string text = fields.required_text("prompt");
  if (text.empty()) throw field_error("prompt", "want text, found an empty string");
  return model.tokenizer().encode(text, Tokenizer::Specials::all, true);
}

// Milliseconds between two moments of which either may not have come.
double milliseconds(double begin, double end) { return begin > 0 && end > begin ? (end - begin) * 1000 : 0; }

void write_rate(JsonWriter& json, const std::string& name, size_t count, double time) {
  json.field(name + "_n", count).field(name + "_ms", time);
  json.field(name + "_per_second", time > 0 ? static_cast<double>(count) * 1000 / time : 0.0);
}

const char* stop_type(const Finish& finish) {
  if (finish.reason == FinishReason::length) return "limit";
  return finish.stop_string.empty() ? "eos" : "word";
}

}  // namespace

GenerationPlan read_llama_completion(std::string_view body, const ServedModel& model) {
  const Json json = parse_request(body);
  const RequestFields fields(json);
  check_model_name(fields, model);
  const CommonFields common = read_common(fields);
  if (common.n > 1) throw field_error("n", "want 1: /v1/completions gives several answers");
  if (fields.integer("n_probs", 0, 20).value_or(0) > 0) throw field_error("n_probs", "want 0: /v1/completions has logprobs");
  const bool returns_tokens = fields.flag("return_tokens").value_or(false);
  fields.flag("cache_prompt");  // always
  GenerationPlan plan;
  plan.params = read_sampling(fields, model);
  check_sampling(plan.params, model);
  refuse_unenforceable(fields);
  plan.masks = read_constraint(fields, body, {}, *model.constraints);
  std::vector<TokenId> prompt = read_prompt(fields, model);
  fit_prompt(prompt, plan.params, common, model, "prompt");
  std::string text = model.tokenizer().decode(prompt, false);
  plan.prompts.push_back(std::move(prompt));
  set_common(plan, common, 1);
  plan.answer =
      std::make_unique<LlamaCompletionAnswer>(model.name(), std::move(text), plan.prompt_tokens(), plan.is_stream, returns_tokens);
  plan.ignored_fields = ignored_header(fields);
  return plan;
}

LlamaCompletionAnswer::LlamaCompletionAnswer(std::string model, std::string prompt, size_t prompt_tokens, bool is_stream,
                                             bool returns_tokens)
    : model_(std::move(model)), prompt_(std::move(prompt)), is_stream_(is_stream), returns_tokens_(returns_tokens) {
  totals_.prompt_tokens = prompt_tokens;
}

void LlamaCompletionAnswer::add(size_t, SessionOutput output, std::string& out) {
  if (has_ended_) return;
  totals_.output_tokens += output.tokens.size();
  if (output.finish) {
    has_ended_ = true;
    finish_ = *output.finish;
    totals_.cached_tokens = finish_.usage.cached_tokens;
  }
  if (!is_stream_) {
    text_ += output.text;
    tokens_.insert(tokens_.end(), output.tokens.begin(), output.tokens.end());
  } else if (has_ended_ || !output.text.empty()) {
    append_event(out, written(output.text, output.tokens));
  }
}

// Of what has come so far, or, behind the end, of all.
std::string LlamaCompletionAnswer::written(const std::string& text, const std::vector<OutputToken>& tokens) const {
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("index", 0).field("content", text).key("tokens").begin_array();
  if (is_stream_ || returns_tokens_) {
    for (const OutputToken& token : tokens) json.integer(token.id);
  }
  json.end_array().field("id_slot", 0).field("stop", has_ended_);
  json.field("tokens_predicted", totals_.output_tokens).field("tokens_evaluated", totals_.prompt_tokens);
  if (has_ended_) {
    const Timing& timing = finish_.timing;
    json.field("model", model_).field("prompt", prompt_).field("truncated", false);
    json.field("stop_type", stop_type(finish_)).field("stopping_word", finish_.stop_string).field("tokens_cached", totals_.cached_tokens);
    json.key("timings").begin_object();
    write_rate(json, "prompt", totals_.prompt_tokens - totals_.cached_tokens, milliseconds(timing.scheduled, timing.first_token));
    write_rate(json, "predicted", totals_.output_tokens, milliseconds(timing.first_token, timing.finished));
    json.end_object();
  }
  json.end_object();
  return out;
}

}  // namespace quern
