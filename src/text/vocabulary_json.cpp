// Hugging Face's tokenizer.json, and the added tokens of tokenizer_config.json.
#include <algorithm>

#include "base/error.h"
#include "base/parse.h"
#include "text/splitter.h"
#include "text/vocabulary_builder.h"
#include "text/vocabulary_files.h"

namespace quern {
namespace {

using Kind = TokenizerData::Kind;
using Prefix = TokenizerData::Prefix;
using Splitter = TokenizerData::Splitter;

constexpr const char* kLowerBlock = "\xe2\x96\x81";

// The members of a (maybe nested) "Sequence" in order, or the one object; empty for null.
void flatten(const Json& value, const char* list, const std::string& where, int depth, std::vector<JsonFields>& out) {
  if (value.is_null()) return;
  if (depth > 8) raise(invalid_input, "{}: sequences nested deeper than 8", where);
  const JsonFields fields(value, where);
  if (fields.text({"type"}) != "Sequence") {
    out.push_back(fields);
    return;
  }
  if (!fields.has(list) || !value.at(list).is_array()) raise(invalid_input, "{}: {}: want a list", where, list);
  for (const Json& member : value.at(list)) flatten(member, list, where, depth + 1, out);
}

std::vector<JsonFields> members(const JsonFields& root, const char* name, const char* list) {
  std::vector<JsonFields> out;
  if (root.has(name)) flatten(root.raw().at(name), list, fmt::format("{}: {}", root.where(), name), 0, out);
  return out;
}

std::string types_of(const std::vector<JsonFields>& parts) {
  std::string types;
  for (const JsonFields& part : parts) types += (types.empty() ? "" : ", ") + part.text({"type"});
  return escaped(types);
}

void read_metaspace(const JsonFields& part, TokenizerData& data) {
  if (part.optional_text({"replacement"}).value_or(kLowerBlock) != kLowerBlock) {
    raise(incompatible, "{}: Metaspace: only U+2581 is implemented as its replacement", part.where());
  }
  std::string scheme = part.flag("add_prefix_space", true) ? "always" : "never";
  if (const auto given = part.optional_text({"prepend_scheme"})) scheme = *given;
  if (scheme == "always") {
    data.prefix = Prefix::meta_each;
  } else if (scheme == "first") {
    data.prefix = Prefix::meta_first;
  } else if (scheme == "never") {
    data.prefix = Prefix::none;
  } else {
    raise(incompatible, "{}: Metaspace: prepend_scheme \"{}\" is not implemented", part.where(), escaped(scheme));
  }
}

Splitter split_pattern(const JsonFields& part) {
  const auto pattern = part.optional_object("pattern");
  if (!pattern) raise(invalid_input, "{}: Split: want a pattern", part.where());
  const std::string regex = pattern->text({"Regex", "String"});
  const std::string behavior = part.text({"behavior"});
  const bool invert = part.flag("invert", false);
  // The patterns match all of a text, so what they match, isolated, is the same as removing what they do not match.
  const bool is_plain = (behavior == "Isolated" && !invert) || (behavior == "Removed" && invert);
  const auto splitter = splitter_of_pattern(regex);
  if (!splitter || !is_plain) {
    raise(incompatible, "{}: Split: not implemented: pattern {}, behavior {}, invert {}", part.where(), escaped(regex, 400),
          escaped(behavior), invert);
  }
  return *splitter;
}

// Sets kind and splitter (byte level), or kind and prefix (characters).
void read_pre_tokenizer(const JsonFields& root, TokenizerData& data) {
  const std::vector<JsonFields> parts = members(root, "pre_tokenizer", "pretokenizers");
  data.kind = Kind::char_bpe;
  data.splitter = Splitter::none;
  if (parts.empty()) return;
  if (parts.size() == 1 && parts[0].text({"type"}) == "Metaspace") {
    read_metaspace(parts[0], data);
    return;
  }
  const auto refuse = [&](const char* why) {
    raise(incompatible, "{}: pre_tokenizer: not implemented: {} ({})", root.where(), types_of(parts), why);
  };
  const JsonFields& last = parts.back();
  if (last.text({"type"}) != "ByteLevel" || parts.size() > 2) refuse("want ByteLevel, alone or after one Split or Digits");
  if (last.flag("add_prefix_space", true)) refuse("ByteLevel with add_prefix_space");
  data.kind = Kind::byte_bpe;
  const bool use_regex = last.flag("use_regex", true);
  if (parts.size() == 1) {
    if (!use_regex) refuse("ByteLevel without a pattern");
    data.splitter = Splitter::gpt2;
    return;
  }
  const std::string first = parts[0].text({"type"});
  if (first == "Split" && !use_regex) {
    data.splitter = split_pattern(parts[0]);
  } else if (first == "Digits" && use_regex && parts[0].flag("individual_digits", false)) {
    data.splitter = Splitter::smollm;
  } else {
    refuse("want Split before ByteLevel without its pattern, or Digits one by one before ByteLevel with it");
  }
}

void read_normalizer(const JsonFields& root, TokenizerData& data) {
  for (const JsonFields& part : members(root, "normalizer", "normalizers")) {
    const std::string type = part.text({"type"});
    if (type == "NFC") {
      data.nfc = true;
      continue;
    }
    if (type == "Prepend" && data.kind == Kind::char_bpe && part.text({"prepend"}) == kLowerBlock) {
      data.prefix = Prefix::each;
      continue;
    }
    if (type == "Replace" && data.kind == Kind::char_bpe && part.text({"content"}) == kLowerBlock) {
      const auto pattern = part.optional_object("pattern");
      if (pattern && pattern->optional_text({"String"}) == " ") continue;
    }
    raise(incompatible, "{}: normalizer \"{}\" is not implemented in this form", root.where(), escaped(type));
  }
}

// Only templates that put one special token in front; returns its text.
std::string bos_of_template(const JsonFields& part) {
  std::string bos;
  bool is_plain = part.has("single") && part.raw().at("single").is_array();
  if (is_plain) {
    const Json& steps = part.raw().at("single");
    const size_t size = steps.size();
    is_plain = (size == 1 || size == 2) && steps[size - 1].is_object() && steps[size - 1].contains("Sequence");
    if (is_plain && size == 2) {
      is_plain = steps[0].is_object() && steps[0].contains("SpecialToken") && steps[0]["SpecialToken"].is_object();
      if (is_plain) bos = JsonFields(steps[0]["SpecialToken"], part.where()).text({"id"});
    }
  }
  if (!is_plain) raise(incompatible, "{}: TemplateProcessing: only one special token before the text is implemented", part.where());
  return bos;
}

std::string read_post_processor(const JsonFields& root) {
  std::string bos;
  for (const JsonFields& part : members(root, "post_processor", "processors")) {
    const std::string type = part.text({"type"});
    if (type == "ByteLevel") continue;  // offsets only
    if (type != "TemplateProcessing") raise(incompatible, "{}: post_processor \"{}\" is not implemented", root.where(), escaped(type));
    bos = bos_of_template(part);
  }
  return bos;
}

void read_model(const JsonFields& model, TokenizerData& data, VocabularyBuilder& builder) {
  if (const auto type = model.optional_text({"type"}); type && *type != "BPE") {
    raise(incompatible, "{}: want a BPE, found \"{}\"", model.where(), escaped(*type));
  }
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.optional_text({name}).value_or("").empty()) raise(incompatible, "{}: {} is not implemented", model.where(), name);
  }
  if (model.optional_number({"dropout"}).value_or(0.0) != 0.0) raise(incompatible, "{}: dropout is not implemented", model.where());
  if (data.kind == Kind::char_bpe && !model.flag("byte_fallback", false)) {
    raise(incompatible, "{}: neither byte-level nor with byte_fallback: not implemented", model.where());
  }
  data.whole_pieces = model.flag("ignore_merges", false);
  const Json& raw = model.raw();
  if (!model.has("vocab") || !raw.at("vocab").is_object()) raise(invalid_input, "{}: vocab: want an object of tokens", model.where());
  for (const auto& [text, id] : raw.at("vocab").items()) {
    if (!id.is_number_integer()) raise(invalid_input, "{}: token \"{}\": want an id", model.where(), escaped(text, 60));
    builder.add_token(text, id.is_number_unsigned() && id.get<uint64_t>() > INT64_MAX ? INT64_MAX : id.get<int64_t>());
  }
  if (!model.has("merges") || !raw.at("merges").is_array()) raise(invalid_input, "{}: merges: want a list", model.where());
  size_t line = 0;
  for (const Json& merge : raw.at("merges")) {
    if (merge.is_string()) {
      builder.add_merge(merge.get_ref<const std::string&>(), line);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      builder.add_merge(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>(), line);
    } else {
      raise(invalid_input, "{}: merge {}: want \"left right\" or a list of the two", model.where(), line);
    }
    ++line;
  }
}

void read_added_tokens(const JsonFields& root, VocabularyBuilder& builder) {
  if (!root.has("added_tokens")) return;
  const Json& list = root.raw().at("added_tokens");
  if (!list.is_array()) raise(invalid_input, "{}: added_tokens: want a list", root.where());
  size_t i = 0;
  for (const Json& token : list) {
    const JsonFields fields(token, fmt::format("{}: added_tokens: entry {}", root.where(), i++));
    builder.add_special(fields, static_cast<int64_t>(fields.size({"id"}, 0, INT32_MAX)));
  }
}

}  // namespace

TokenizerData read_tokenizer_json(const std::string& path, const std::string& config_path) {
  const Json json = read_vocabulary_json(path);
  const JsonFields root(json, escaped(path));
  const auto model = root.optional_object("model");
  if (!model) raise(invalid_input, "{}: model: want an object, found nothing", root.where());
  TokenizerData data;
  data.origin = "tokenizer.json";
  read_pre_tokenizer(root, data);
  read_normalizer(root, data);
  const std::string bos = read_post_processor(root);
  VocabularyBuilder builder(data.kind, root.where());
  read_model(*model, data, builder);
  read_added_tokens(root, builder);
  if (!config_path.empty()) add_config_tokens(read_vocabulary_json(config_path), escaped(config_path), builder);
  data = builder.finish(std::move(data));
  if (!bos.empty()) {
    const auto special = std::find_if(data.specials.begin(), data.specials.end(), [&](const auto& s) { return s.text == bos; });
    if (special == data.specials.end()) {
      raise(invalid_input, "{}: post_processor: \"{}\" is not an added token", root.where(), escaped(bos, 60));
    }
    data.bos = special->id;
  }
  return data;
}

void add_config_tokens(const Json& config, const std::string& where, VocabularyBuilder& builder) {
  const auto tokens = JsonFields(config, where).optional_object("added_tokens_decoder");
  if (!tokens) return;
  for (const auto& [name, token] : tokens->raw().items()) {
    const auto id = parse_number<int64_t>(name);
    if (!id) raise(invalid_input, "{}: added_tokens_decoder: want an id, found \"{}\"", where, escaped(name, 60));
    const JsonFields fields(token, fmt::format("{}: added_tokens_decoder: {}", where, *id));
    if (!builder.has_special(fields.text({"content"}))) builder.add_special(fields, *id);
  }
}

}  // namespace quern
