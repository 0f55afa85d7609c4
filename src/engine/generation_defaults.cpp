#include "engine/generation_defaults.h"

#include <algorithm>

namespace quern {
namespace {

void read_numbers(const JsonFields& fields, SamplingParams& params) {
  params.temperature = fields.optional_number({"temperature"}).value_or(params.temperature);
  params.top_p = fields.optional_number({"top_p"}).value_or(params.top_p);
  params.min_p = fields.optional_number({"min_p"}).value_or(params.min_p);
  params.repetition_penalty = fields.optional_number({"repetition_penalty"}).value_or(params.repetition_penalty);
  if (const auto top_k = fields.optional_size({"top_k"}, 0, 0x7fffffff)) params.top_k = static_cast<int64_t>(*top_k);
}

}  // namespace

GenerationDefaults read_generation_defaults(const EngineFile& file, const Tokenizer& tokenizer) {
  GenerationDefaults defaults;
  const std::string where = file.path() + ": generation";
  const Json& generation = file.metadata().generation;
  if (!generation.is_null()) {
    const JsonFields fields(generation, where);
    read_numbers(fields, defaults.params);
    for (const int64_t id : fields.optional_ids("eos_token_ids")) {
      if (id < 0 || static_cast<uint64_t>(id) >= tokenizer.num_tokens()) {
        raise(invalid_input, "{}: eos_token_ids: want ids from 0 to {}, found {}", where, tokenizer.num_tokens() - 1, id);
      }
      defaults.end_ids.push_back(static_cast<TokenId>(id));
    }
    if (fields.has("stop")) {
      const Json& stop = fields.raw().at("stop");
      if (!stop.is_array()) raise(invalid_input, "{}: stop: want a list of strings, found {}", where, stop.type_name());
      for (const Json& text : stop) {
        if (!text.is_string()) raise(invalid_input, "{}: stop: want strings, found {}", where, text.type_name());
        defaults.params.stop.push_back(text.get<std::string>());
      }
    }
    if (const auto problem = defaults.params.problem(tokenizer.num_tokens())) {
      raise(invalid_input, "{}: {}: {}", where, problem->field, problem->message);
    }
  }
  const Json& chat = file.metadata().chat;
  if (!chat.is_null()) {
    const std::string chat_where = file.path() + ": chat format";
    if (const auto name = JsonFields(chat, chat_where).optional_text({"format"})) defaults.chat = &chat_format(*name, chat_where);
  }
  if (defaults.chat != nullptr) {
    for (const std::string& stop : defaults.chat->stops) {
      if (const auto id = tokenizer.find_special(stop)) defaults.end_ids.push_back(*id);
    }
  }
  std::ranges::sort(defaults.end_ids);
  defaults.end_ids.erase(std::unique(defaults.end_ids.begin(), defaults.end_ids.end()), defaults.end_ids.end());
  return defaults;
}

}  // namespace quern
