// quern tokenize: text to token ids and back.
#include <fmt/format.h>

#include <memory>

#include "base/json.h"
#include "base/utf8.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/prompting.h"
#include "cli/verbs.h"
#include "engine/generation_defaults.h"

namespace quern {

extern const Verb kTokenizeVerb;

namespace {

struct Options {
  ModelOptions model;
  std::string prompt, file;
  bool decode = false, json = false, ids_only = false, chat = false, add_bos = true, parse_special = true;
};

// Ids in any dress: "1 2 3", "1,2,3", "[1, 2, 3]".
std::vector<TokenId> parse_ids(const std::string& text, size_t num_tokens) {
  constexpr const char* kBetween = " \t\r\n,[]";
  std::vector<TokenId> ids;
  for (size_t begin = text.find_first_not_of(kBetween); begin != std::string::npos;) {
    const size_t end = std::min(text.find_first_of(kBetween, begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    const std::optional<TokenId> id = parse_number<TokenId>(word, 0, static_cast<TokenId>(num_tokens) - 1);
    if (!id) raise(invalid_input, "ids[{}]: want a token id from 0 to {}, found '{}'", ids.size(), num_tokens - 1, escaped(word, 60));
    ids.push_back(*id);
    begin = text.find_first_not_of(kBetween, end);
  }
  return ids;
}

int print_decoded(const Tokenizer& tokenizer, const std::string& text, bool json) {
  const std::vector<TokenId> ids = parse_ids(text, tokenizer.num_tokens());
  const std::string decoded = tokenizer.decode(ids, false);
  if (!json) {
    write_stdout(decoded);
    return 0;
  }
  OrderedJson object;
  object["text"] = utf8_repaired(decoded);
  object["count"] = ids.size();
  write_stdout(fmt::format("{}\n", object.dump()));
  return 0;
}

int print_ids(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, const Options& options) {
  if (options.json) {
    OrderedJson object;
    object["count"] = ids.size();
    object["ids"] = ids;
    object["pieces"] = OrderedJson::array();
    for (const TokenId id : ids) object["pieces"].push_back(utf8_repaired(tokenizer.bytes(id)));
    write_stdout(fmt::format("{}\n", object.dump()));
    return 0;
  }
  if (options.ids_only) {
    write_stdout(fmt::format("[{}]\n", fmt::join(ids, ", ")));
    return 0;
  }
  std::string lines;
  for (const TokenId id : ids) lines += fmt::format("{:7} '{}'\n", id, escaped(tokenizer.bytes(id), 4000));
  write_stdout(lines);
  return 0;
}

int tokenize(const Options& options) {
  if (!options.prompt.empty() && !options.file.empty()) raise(usage, "-p and -f: want one of them");
  const std::shared_ptr<EngineFile> file = open_engine_file(options.model, Interrupt());
  const Tokenizer tokenizer = Tokenizer::unpack(file->tokenizer_bytes(), file->path());
  const std::string text = options.prompt.empty() ? read_prompt_file(options.file.empty() ? "-" : options.file) : options.prompt;
  if (options.decode) return print_decoded(tokenizer, text, options.json);
  if (options.chat) {
    const PromptStyle style{.tokenizer = &tokenizer, .chat = read_generation_defaults(*file, tokenizer).chat, .system = {}, .thinking = {}};
    const ChatMessage message{.role = "user", .content = text};
    return print_ids(tokenizer, encode_messages(style, {&message, 1}), options);
  }
  const auto specials = options.parse_special ? Tokenizer::Specials::all : Tokenizer::Specials::as_text;
  return print_ids(tokenizer, tokenizer.encode(text, specials, options.add_bos), options);
}

VerbWork declare(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_option(app, options->model);
  add_text(app, "-p,--prompt", options->prompt, "TEXT", "The text (default: standard input)");
  add_text(app, "-f,--file", options->file, "FILE", "The text, from a file; - is standard input");
  app.add_flag("--decode", options->decode, "The text holds token ids; print what they mean");
  app.add_flag("--chat", options->chat, "Put the text into the model's chat format as a user's message first");
  app.add_flag("!--no-bos", options->add_bos, "No token for the beginning of text");
  app.add_flag("!--no-parse-special", options->parse_special, "Special tokens in the text stay text");
  app.add_flag("--ids", options->ids_only, "Print the ids alone, as a list");
  app.add_flag("--json", options->json, "Print one JSON object: count, ids, pieces (or text)");
  return [options] { return tokenize(*options); };
}

}  // namespace

const Verb kTokenizeVerb = {"tokenize", "Text to token ids and back", &declare};

}  // namespace quern
