#include "server/constraint.h"

#include <algorithm>

#include "server/tools_request.h"
#include "text/bnf.h"
#include "text/json_schema.h"
#include "text/text_grammars.h"

namespace quern {
namespace {

constexpr size_t kMaxEntries = 64, kMaxSchemaBytes = size_t{64} << 10, kMaxStates = 50'000;

struct Ask {
  std::string param;
  enum class Kind { object, schema, choice, regex, grammar } kind;
  OrderedJson schema = {};
};

void check_size(const OrderedJson& schema, const std::string& param) {
  if (schema.dump().size() <= kMaxSchemaBytes) return;
  ApiError error = field_error(param, "want at most {} bytes of schema", kMaxSchemaBytes);
  error.code = "schema_too_complex";
  throw error;
}

std::optional<Ask> read_response_format(const RequestFields& fields, std::string_view text) {
  const auto format = fields.object("response_format");
  if (!format) return std::nullopt;
  const std::string type = format->required_text("type");
  if (type == "text") return std::nullopt;
  if (type == "json_object") return Ask{"response_format", Ask::Kind::object};
  if (type != "json_schema")
    throw field_error("response_format.type", "want text, json_object or json_schema, found '{}'", escaped(type, 60));
  const auto described = format->object("json_schema");
  if (!described) throw field_error("response_format.json_schema", "want an object, found nothing");
  if (!is_tool_name(described->required_text("name"))) {
    throw field_error("response_format.json_schema.name", "want 1 to 64 of A-Z, a-z, 0-9, _ and -");
  }
  const Json* schema = described->find("schema");
  if (schema == nullptr) throw field_error("response_format.json_schema.schema", "want an object, found nothing");
  const OrderedJson ordered = ordered_member(*fields.find("response_format"), text, "response_format");
  return Ask{"response_format.json_schema.schema", Ask::Kind::schema, ordered.at("json_schema").at("schema")};
}

std::optional<Ask> read_text(const RequestFields& fields, const char* name, Ask::Kind kind) {
  const auto text = fields.text(name);
  if (!text) return std::nullopt;
  if (text->empty()) throw field_error(fields.path_of(name), "want text, found an empty string");
  return Ask{fields.path_of(name), kind, OrderedJson(*text)};
}

// One of the ways to ask; two at once are a 400.
std::optional<Ask> read_guided(const RequestFields& fields, std::string_view text) {
  for (const char* name : {"guided_json", "json_schema"}) {
    if (const Json* schema = fields.find(name)) return Ask{name, Ask::Kind::schema, ordered_member(*schema, text, name)};
  }
  if (auto ask = read_text(fields, "guided_regex", Ask::Kind::regex)) return ask;
  for (const char* name : {"guided_grammar", "grammar"}) {
    if (auto ask = read_text(fields, name, Ask::Kind::grammar)) return ask;
  }
  if (const Json* choice = fields.find("guided_choice")) return Ask{"guided_choice", Ask::Kind::choice, OrderedJson(*choice)};
  const auto outputs = fields.object("structured_outputs");
  if (!outputs) return std::nullopt;
  if (outputs->has("structural_tag")) throw not_enforced(outputs->path_of("structural_tag"), "structural_tag");
  if (auto ask = read_text(*outputs, "regex", Ask::Kind::regex)) return ask;
  if (auto ask = read_text(*outputs, "grammar", Ask::Kind::grammar)) return ask;
  if (outputs->has("json")) {
    const OrderedJson ordered = ordered_member(*fields.find("structured_outputs"), text, "structured_outputs");
    return Ask{"structured_outputs.json", Ask::Kind::schema, ordered.at("json")};
  }
  if (const Json* choice = outputs->find("choice")) return Ask{"structured_outputs.choice", Ask::Kind::choice, OrderedJson(*choice)};
  if (outputs->flag("json_object") == true) return Ask{"structured_outputs.json_object", Ask::Kind::object};
  return std::nullopt;
}

std::vector<std::string> read_choices(const Ask& ask) {
  if (!ask.schema.is_array() || ask.schema.empty() || ask.schema.size() > 5000)
    throw field_error(ask.param, "want an array of 1 to 5000 strings");
  std::vector<std::string> choices;
  for (const OrderedJson& each : ask.schema) {
    if (!each.is_string() || each.get_ref<const std::string&>().empty()) throw field_error(ask.param, "want strings that are not empty");
    choices.push_back(each.get<std::string>());
  }
  return choices;
}

}  // namespace

std::shared_ptr<TokenMasks> ConstraintCache::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find_if(entries_, [&](const Entry& entry) { return entry.key == key; });
  if (found == entries_.end()) return nullptr;
  if (found->masks->num_states() > kMaxStates) {  // has met enough: the next requests begin anew, those under way keep it
    entries_.erase(found);
    return nullptr;
  }
  entries_.splice(entries_.begin(), entries_, found);
  return found->masks;
}

std::shared_ptr<const TokenTrie> ConstraintCache::trie() {
  const std::lock_guard lock(mutex_);
  if (!trie_) trie_ = std::make_shared<TokenTrie>(*tokenizer_);
  return trie_;
}

std::shared_ptr<TokenMasks> ConstraintCache::add(const std::string& key, Grammar grammar) {
  auto masks = std::make_shared<TokenMasks>(std::make_shared<const Grammar>(std::move(grammar)), trie());
  const std::lock_guard lock(mutex_);
  entries_.push_front({key, masks});
  if (entries_.size() > kMaxEntries) entries_.pop_back();
  return masks;
}

std::shared_ptr<TokenMasks> tools_constraint(const ToolsRequest& tools, ConstraintCache& cache) {
  if (tools.forced.empty()) return nullptr;
  const std::string key = (tools.one_call_at_most ? "tool" : "tools") + OrderedJson(tools.forced).dump();
  return cache.get(key, "tools", [&] {
    if (cache.dialect() == CallDialect::xml) return xml_calls_grammar(tools.forced, tools.one_call_at_most ? "" : "\n", "tools");
    std::vector<WrappedSchema> calls;
    for (const OrderedJson& function : tools.forced) {
      OrderedJson no_arguments;
      no_arguments["const"] = OrderedJson::object();
      calls.push_back({.prefix = "<tool_call>\n{\"name\": " + function.at("name").dump() + ", \"arguments\": ",
                       .schema = function.contains("parameters") ? function.at("parameters") : no_arguments,
                       .suffix = "}\n</tool_call>"});
    }
    return wrapped_schemas_grammar(calls, tools.one_call_at_most ? "" : "\n", "tools");
  });
}

namespace {

std::shared_ptr<TokenMasks> masks_of(const std::optional<Ask>& ask, const ToolsRequest& tools, ConstraintCache& cache) {
  if (!tools.forced.empty() && ask) throw field_error(ask->param, "want it without a tool that must be called");
  if (!ask) return tools_constraint(tools, cache);
  switch (ask->kind) {
    case Ask::Kind::object: return cache.get("object", ask->param, [] { return json_object_grammar(); });
    case Ask::Kind::choice: {
      const std::vector<std::string> choices = read_choices(*ask);
      return cache.get("choice" + ask->schema.dump(), ask->param, [&] { return choice_grammar(choices); });
    }
    case Ask::Kind::regex:
      return cache.get("regex" + ask->schema.dump(), ask->param, [&] { return regex_grammar(ask->schema.get<std::string>()); });
    case Ask::Kind::grammar:
      return cache.get("grammar" + ask->schema.dump(), ask->param, [&] { return read_bnf(ask->schema.get<std::string>()); });
    case Ask::Kind::schema: break;
  }
  check_size(ask->schema, ask->param);
  return cache.get("schema" + ask->schema.dump(), ask->param, [&] { return json_schema_grammar(ask->schema, ask->param); });
}

}  // namespace

std::shared_ptr<TokenMasks> read_constraint(const RequestFields& fields, std::string_view text, const ToolsRequest& tools,
                                            ConstraintCache& cache) {
  const std::optional<Ask> format = read_response_format(fields, text), guided = read_guided(fields, text);
  if (format && guided) throw field_error(guided->param, "want it or response_format, found both");
  return masks_of(format ? format : guided, tools, cache);
}

std::shared_ptr<TokenMasks> read_responses_constraint(const RequestFields& fields, std::string_view text, const ToolsRequest& tools,
                                                      ConstraintCache& cache) {
  std::optional<Ask> ask;
  const auto holder = fields.object("text");
  const auto format = holder ? holder->object("format") : std::nullopt;
  const std::string type = format ? format->required_text("type") : "text";
  if (type == "json_object") {
    ask = Ask{"text.format", Ask::Kind::object};
  } else if (type == "json_schema") {
    if (!format->has("schema")) throw field_error("text.format.schema", "want an object, found nothing");
    const OrderedJson ordered = ordered_member(*fields.find("text"), text, "text");
    ask = Ask{"text.format.schema", Ask::Kind::schema, ordered.at("format").at("schema")};
  } else if (type != "text") {
    throw field_error("text.format.type", "want text, json_object or json_schema, found '{}'", escaped(type, 60));
  }
  return masks_of(ask, tools, cache);
}

}  // namespace quern
