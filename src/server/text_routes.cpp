#include "server/text_routes.h"

#include <algorithm>

#include "base/utf8.h"
#include "base/version.h"
#include "server/answer_text.h"
#include "server/chat_request.h"
#include "server/completion_request.h"
#include "server/json_writer.h"

namespace quern {
namespace {

HttpReply json_reply(std::string body, const RequestFields* fields = nullptr) {
  HttpReply reply{.body = std::move(body)};
  if (fields == nullptr) return reply;
  if (std::string names = ignored_header(*fields); !names.empty()) reply.headers.push_back({"x-quern-ignored", std::move(names)});
  return reply;
}

void write_model(JsonWriter& json, const ServedModel& model, const std::string& name) {
  json.begin_object().field("id", name).field("object", "model").field("created", model.created).field("owned_by", "quern");
  json.field("root", model.name()).null_field("parent").field("max_model_len", model.context()).end_object();
}

void write_ids(JsonWriter& json, const std::vector<TokenId>& ids) {
  json.begin_array();
  for (const TokenId id : ids) json.integer(id);
  json.end_array();
}

// llama-server's pieces: text, or a list of bytes where they are no whole characters.
void write_pieces(JsonWriter& json, const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  json.begin_array();
  for (const TokenId id : ids) {
    const std::string_view bytes = tokenizer.bytes(id);
    json.begin_object().field("id", int64_t{id}).key("piece");
    if (utf8_first_invalid(bytes) == bytes.npos) {
      json.text(bytes);
    } else {
      json.begin_array();
      for (const char byte : bytes) json.integer(static_cast<unsigned char>(byte));
      json.end_array();
    }
    json.end_object();
  }
  json.end_array();
}

std::vector<TokenId> tokens_of(const RequestFields& fields, std::string_view body, const ServedModel& model, bool is_llama_form) {
  for (const char* name : {"add_special", "add_special_tokens", "parse_special"}) fields.flag(name);  // wrong ones are refused in any form
  if (fields.has("messages")) return encode_prompt(model.tokenizer(), read_chat_prompt(fields, body, model).pieces);
  const std::string text = fields.required_text(is_llama_form ? "content" : "prompt");
  const bool adds = fields.flag(is_llama_form ? "add_special" : "add_special_tokens").value_or(!is_llama_form);
  const bool parses = fields.flag("parse_special").value_or(true);
  return model.tokenizer().encode(text, parses ? Tokenizer::Specials::all : Tokenizer::Specials::as_text, adds);
}

}  // namespace

HttpReply answer_version(const HttpRequest&, const ServedModel& model) {
  std::string out;
  JsonWriter(out).begin_object().field("version", kVersion).field("system_fingerprint", model.fingerprint).end_object();
  return json_reply(std::move(out));
}

HttpReply answer_props(const HttpRequest&, const ServedModel& model) {
  const EngineOptions& options = model.engine->options();
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("model_alias", model.name()).field("n_ctx", model.context()).field("total_slots", options.max_num_seqs);
  json.field("n_vocab", model.engine->num_tokens());
  json.key("default_generation_settings").begin_object().field("n_ctx", model.context()).key("params").begin_object();
  const SamplingParams& params = model.engine->defaults().params;
  json.field("temperature", params.temperature).field("top_k", params.top_k).field("top_p", params.top_p).field("min_p", params.min_p);
  json.field("repeat_penalty", params.repetition_penalty).field("presence_penalty", params.presence_penalty);
  json.field("frequency_penalty", params.frequency_penalty).field("n_predict", params.max_tokens.value_or(-1)).end_object().end_object();
  json.key("modalities").begin_object().field("vision", false).field("audio", false).end_object();
  model.chat() == nullptr ? json.null_field("chat_format") : json.field("chat_format", model.chat()->name);
  json.field("build_info", std::string("quern ") + kVersion).end_object();
  return json_reply(std::move(out));
}

HttpReply answer_models(const HttpRequest&, const ServedModel& model) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("object", "list").key("data").begin_array();
  for (const std::string& name : model.names) write_model(json, model, name);
  json.end_array().end_object();
  return json_reply(std::move(out));
}

HttpReply answer_model(const HttpRequest& request, const ServedModel& model) {
  const std::string_view path = request.path;
  const std::string id = percent_decoded(path.substr(path.find("models/") + 7));  // clients write the '/' and ':' of names so
  const auto name = std::ranges::find(model.names, id);
  if (name == model.names.end()) {
    ApiError error = api_error(404, "invalid_request_error", "model_not_found", fmt::format("The model '{}' does not exist.", escaped(id)));
    error.param = "model";
    throw error;
  }
  std::string out;
  JsonWriter json(out);
  write_model(json, model, *name);
  return json_reply(std::move(out));
}

HttpReply answer_tokenize(const HttpRequest& request, const ServedModel& model) {
  const Json body = parse_request(request.body);
  const RequestFields fields(body);
  check_model_name(fields, model);
  const bool is_llama_form = fields.has("content");
  const std::vector<TokenId> ids = tokens_of(fields, request.body, model, is_llama_form);
  const bool with_pieces = fields.flag("with_pieces").value_or(false), with_strings = fields.flag("return_token_strs").value_or(false);
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  if (!is_llama_form) json.field("count", ids.size()).field("max_model_len", model.context());
  json.key("tokens");
  with_pieces ? write_pieces(json, model.tokenizer(), ids) : write_ids(json, ids);
  if (with_strings) {
    json.key("token_strs").begin_array();
    for (const TokenId id : ids) json.text(token_text(model.tokenizer(), id));
    json.end_array();
  }
  json.end_object();
  return json_reply(std::move(out), &fields);
}

HttpReply answer_detokenize(const HttpRequest& request, const ServedModel& model) {
  const Json body = parse_request(request.body);
  const RequestFields fields(body);
  check_model_name(fields, model);
  const Json* tokens = fields.find("tokens");
  if (tokens == nullptr) {
    ApiError error = field_error("tokens", "want an array of token ids, found nothing");
    error.code = "missing_field";
    throw error;
  }
  const bool is_empty = tokens->is_array() && tokens->empty();
  const std::string text = is_empty ? "" : model.tokenizer().decode(read_token_list(*tokens, "tokens", model), false);
  std::string out;
  JsonWriter(out).begin_object().field("prompt", text).field("content", text).end_object();
  return json_reply(std::move(out), &fields);
}

HttpReply answer_apply_template(const HttpRequest& request, const ServedModel& model) {
  const Json body = parse_request(request.body);
  const RequestFields fields(body);
  check_model_name(fields, model);
  std::string out;
  JsonWriter(out).begin_object().field("prompt", prompt_text(read_chat_prompt(fields, request.body, model).pieces)).end_object();
  return json_reply(std::move(out), &fields);
}

HttpReply answer_pooling(const HttpRequest& request, const ServedModel& model) {
  const Json body = parse_request(request.body);
  check_model_name(RequestFields(body), model);
  ApiError error = api_error(400, "invalid_request_error", "unsupported_value",
                             "This model generates text; it has no pooling for embeddings, scores or rankings.");
  error.param = "model";
  throw error;
}

HttpReply answer_infill(const HttpRequest& request, const ServedModel&) {
  parse_request(request.body);
  throw api_error(400, "invalid_request_error", "unsupported_value",
                  "Use /v1/completions: prompt is input_prefix, suffix is input_suffix.");
}

}  // namespace quern
