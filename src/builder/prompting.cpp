#include "builder/prompting.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "base/error.h"
#include "models/families/chat_template.h"
#include "text/chat_format.h"

namespace quern {
namespace {

constexpr size_t kMaxStops = 16, kMaxStopBytes = 256;

// Collects the union of what the files say, each id checked against the vocabulary.
class StopIds {
 public:
  explicit StopIds(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void add(int64_t id, const std::string& where) {
    if (id < 0 || id >= static_cast<int64_t>(tokenizer_.num_tokens())) {
      raise(invalid_input, "{}: want a token id from 0 to {}, found {}", where, tokenizer_.num_tokens() - 1, id);
    }
    ids_.insert(id);
  }
  void add_ids(const JsonFields& fields, const char* name) {
    for (const int64_t id : fields.optional_ids(name)) add(id, fmt::format("{}: {}", fields.where(), name));
  }
  // By the text of a special token; a text that is none is left out.
  void add_text(std::string_view text) {
    if (const std::optional<TokenId> id = tokenizer_.find_special(text)) ids_.insert(*id);
  }
  bool has_text(std::string_view text) const {
    const std::optional<TokenId> id = tokenizer_.find_special(text);
    return id && ids_.contains(*id);
  }
  const std::set<int64_t>& ids() const { return ids_; }

 private:
  const Tokenizer& tokenizer_;
  std::set<int64_t> ids_;
};

// eos_token of tokenizer_config.json: a text, or an object with its content.
std::string eos_text(const Json& tokenizer_config) {
  const auto found = tokenizer_config.find("eos_token");
  if (found == tokenizer_config.end() || found->is_null()) return "";
  if (found->is_string()) return found->get<std::string>();
  return JsonFields(*found, "tokenizer_config.json: eos_token").text({"content"});
}

void add_number(Json& out, const char* key, std::optional<double> value, const std::string& where, double least, double most) {
  if (!value) return;
  if (!(*value >= least && *value <= most)) raise(invalid_input, "{}: {}: want {} to {}, found {}", where, key, least, most, *value);
  out[key] = *value;
}

void add_top_k(Json& out, std::optional<double> value, const std::string& where) {
  if (!value) return;
  if (*value != std::floor(*value) || *value < -1 || *value > kMaxVocabSize) {
    raise(invalid_input, "{}: top_k: want a whole number from -1 to {}, found {}", where, kMaxVocabSize, *value);
  }
  if (*value > 0) out["top_k"] = static_cast<int64_t>(*value);  // 0 and -1: all tokens
}

struct SamplingNames {
  const char *temperature, *top_p, *top_k, *min_p, *repetition_penalty;
};
constexpr SamplingNames kHuggingFaceNames = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty"};
constexpr SamplingNames kGgufNames = {"general.sampling.temp", "general.sampling.top_p", "general.sampling.top_k", "general.sampling.min_p",
                                      "general.sampling.penalty_repeat"};
constexpr double kSmallestShare = 1e-6;                            // of top_p and repetition_penalty, which are above 0
constexpr double kMaxTemperature = 2, kMaxRepetitionPenalty = 10;  // as in requests

Json read_sampling(const JsonFields& fields, const SamplingNames& names) {
  Json out = Json::object();
  add_number(out, "temperature", fields.optional_number({names.temperature}), fields.where(), 0, kMaxTemperature);
  add_number(out, "top_p", fields.optional_number({names.top_p}), fields.where(), kSmallestShare, 1);
  add_number(out, "min_p", fields.optional_number({names.min_p}), fields.where(), 0, 1);
  add_number(out, "repetition_penalty", fields.optional_number({names.repetition_penalty}), fields.where(), kSmallestShare,
             kMaxRepetitionPenalty);
  add_top_k(out, fields.optional_number({names.top_k}), fields.where());
  if (fields.has("do_sample") && !fields.flag("do_sample", true)) out["temperature"] = 0.0;
  return out;
}

// Stop strings of generation_config.json, and stop sequences of several ids as the text that they mean.
class StopTexts {
 public:
  void add(std::string text, const std::string& where) {
    if (text.empty() || text.size() > kMaxStopBytes || texts_.size() >= kMaxStops) {
      raise(invalid_input, "{}: want at most {} texts of 1 to {} bytes, found one of {}", where, kMaxStops, kMaxStopBytes, text.size());
    }
    if (std::ranges::find(texts_, text) == texts_.end()) texts_.push_back(std::move(text));
  }
  const std::vector<std::string>& texts() const { return texts_; }

 private:
  std::vector<std::string> texts_;
};

void read_stop_strings(const JsonFields& fields, StopTexts& texts) {
  if (!fields.has("stop_strings")) return;
  const std::string where = fields.where() + ": stop_strings";
  const Json& value = fields.raw().at("stop_strings");
  if (value.is_string()) return texts.add(value.get<std::string>(), where);
  if (!value.is_array()) raise(invalid_input, "{}: want a text or a list of texts, found {}", where, value.type_name());
  for (const Json& entry : value) {
    if (!entry.is_string()) raise(invalid_input, "{}: want texts, found {}", where, entry.type_name());
    texts.add(entry.get<std::string>(), where);
  }
}

// stop_words_ids of first-generation Qwen: a list of id sequences.
void read_stop_words(const JsonFields& fields, const Tokenizer& tokenizer, StopIds& ids, StopTexts& texts) {
  if (!fields.has("stop_words_ids")) return;
  const std::string where = fields.where() + ": stop_words_ids";
  const Json& value = fields.raw().at("stop_words_ids");
  if (!value.is_array()) raise(invalid_input, "{}: want a list of lists of ids, found {}", where, value.type_name());
  for (const Json& entry : value) {
    std::vector<TokenId> sequence;
    if (!entry.is_array() || entry.empty()) raise(invalid_input, "{}: want lists of ids, found {}", where, entry.type_name());
    for (const Json& id : entry) {
      if (!id.is_number_integer() || id < 0 || id >= tokenizer.num_tokens()) {
        raise(invalid_input, "{}: want ids from 0 to {}, found {}", where, tokenizer.num_tokens() - 1, escaped(id.dump()));
      }
      sequence.push_back(id.get<TokenId>());
    }
    if (sequence.size() == 1) {
      ids.add(sequence[0], where);
    } else {
      texts.add(tokenizer.decode(sequence, false), where);
    }
  }
}

// tokenizer_config.json's template is a text, or a list of named ones.
void check_template_kind(const Checkpoint& checkpoint) {
  if (!checkpoint.tokenizer_config().is_object()) return;
  const auto found = checkpoint.tokenizer_config().find("chat_template");
  if (found == checkpoint.tokenizer_config().end() || found->is_null() || found->is_string() || found->is_array()) return;
  raise(invalid_input, "{}: tokenizer_config.json: chat_template: want a text or a list, found {}", escaped(checkpoint.path()),
        found->type_name());
}

// The format that prompts of this checkpoint take, or null for a text model. Base models of Qwen ship the template of their chat models;
// what tells them apart is that no file names the token that ends a turn as an end of text.
const ChatFormat* choose_chat_format(const ModelFamily& family, const Checkpoint& checkpoint, const StopIds& stop_ids,
                                     std::vector<std::string>& notes) {
  check_template_kind(checkpoint);
  const std::optional<std::string> jinja = chat_template_text(checkpoint);
  const ChatFormat* format = jinja ? recognise_chat_template(*jinja) : nullptr;
  if (format == nullptr) {
    const char* fallback = family.default_chat_format(checkpoint);
    if (fallback != nullptr) format = &chat_format(fallback);
    const std::string outcome = fallback != nullptr ? fmt::format("{} is used", fallback) : "taken as a text model";
    if (jinja) notes.push_back("chat template: not one that Quern knows: " + outcome);
    if (!jinja && fallback != nullptr) notes.push_back("chat template: none in the checkpoint: " + outcome);
  }
  if (format == nullptr || !jinja) return format;
  CHECK(!format->stops.empty(), "{} has no stops", format->name);
  const std::string& turn_end = format->stops.front();
  if (stop_ids.has_text(turn_end)) return format;
  if (checkpoint.kind() == Checkpoint::Kind::gguf) {  // which has one eos id, often the base model's
    notes.push_back(
        fmt::format("chat template {}: the file's eos is another token than {}: taken as a chat model", format->name, turn_end));
    return format;
  }
  notes.push_back(fmt::format("chat template {}: no file names {} as an end of text: taken as a text model, as base models are",
                              format->name, turn_end));
  return nullptr;
}

}  // namespace

Prompting read_prompting(const ModelFamily& family, const Checkpoint& checkpoint, const Tokenizer& tokenizer) {
  Prompting result;
  StopIds stop_ids(tokenizer);
  StopTexts stop_texts;
  Json& generation = result.generation;
  generation = Json::object();
  if (checkpoint.kind() == Checkpoint::Kind::gguf) {
    const JsonFields metadata(checkpoint.config(), escaped(checkpoint.path()));
    generation = read_sampling(metadata, kGgufNames);
    stop_ids.add_ids(metadata, "tokenizer.ggml.eos_token_id");
    stop_ids.add_ids(metadata, "tokenizer.ggml.eot_token_id");
  } else {
    stop_ids.add_ids(JsonFields(checkpoint.config(), "config.json"), "eos_token_id");
    if (!checkpoint.generation_config().is_null()) {
      const JsonFields fields(checkpoint.generation_config(), "generation_config.json");
      generation = read_sampling(fields, kHuggingFaceNames);
      stop_ids.add_ids(fields, "eos_token_id");
      read_stop_strings(fields, stop_texts);
      read_stop_words(fields, tokenizer, stop_ids, stop_texts);
    }
    if (checkpoint.tokenizer_config().is_object()) stop_ids.add_text(eos_text(checkpoint.tokenizer_config()));
  }
  const ChatFormat* format = choose_chat_format(family, checkpoint, stop_ids, result.notes);
  if (format != nullptr) {
    for (const std::string& stop : format->stops) stop_ids.add_text(stop);
  }
  stop_ids.add_text("<|endoftext|>");
  if (stop_ids.ids().empty()) result.notes.emplace_back("stop ids: no file names one: answers end at their token limit");
  generation["eos_token_ids"] = stop_ids.ids();
  if (!stop_texts.texts().empty()) generation["stop"] = stop_texts.texts();
  result.chat = Json{{"format", format != nullptr ? Json(format->name) : Json(nullptr)}};
  return result;
}

}  // namespace quern
