#include "text/template_text.h"

#include <algorithm>
#include <vector>

namespace quern {
namespace {

constexpr char kTokenEnd = '\x1f', kPartEnd = '\x1e';

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'; }
bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

// End of the string literal that starts at `at`, or npos.
size_t literal_end(std::string_view text, size_t at) {
  for (size_t i = at + 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == text[at]) {
      return i + 1;
    }
  }
  return std::string_view::npos;
}

std::string decoded(std::string_view literal) {
  std::string out;
  for (size_t i = 1; i + 1 < literal.size(); ++i) {
    if (literal[i] != '\\') {
      out += literal[i];
      continue;
    }
    const char c = literal[++i];
    if (c == 'n') {
      out += '\n';
    } else if (c == 't') {
      out += '\t';
    } else if (c == 'r') {
      out += '\r';
    } else if (c == '\\' || c == '\'' || c == '"') {
      out += c;
    } else {
      out += '\\';
      out += c;
    }
  }
  return out;
}

// The tokens of a tag's inside; x['name'] is written as x.name. Nothing when a string has no end.
bool append_tokens(std::string_view inside, std::string& out) {
  std::vector<std::string> tokens;
  for (size_t at = 0; at < inside.size();) {
    if (is_space(inside[at])) {
      ++at;
      continue;
    }
    size_t end = at + 1;
    if (inside[at] == '\'' || inside[at] == '"') {
      end = literal_end(inside, at);
      if (end == inside.npos) return false;
      std::string& token = tokens.emplace_back("'");
      token += decoded(inside.substr(at, end - at));
      token += '\'';
    } else {
      if (is_word(inside[at])) {
        while (end < inside.size() && is_word(inside[end])) ++end;
      }
      tokens.emplace_back(inside.substr(at, end - at));
    }
    at = end;
    const size_t n = tokens.size();
    if (n >= 4 && tokens[n - 1] == "]" && tokens[n - 3] == "[" && tokens[n - 2].size() > 2 && tokens[n - 2][0] == '\'') {
      const std::string name = tokens[n - 2].substr(1, tokens[n - 2].size() - 2);
      const std::string& before = tokens[n - 4];
      const bool is_subscript = is_word(before.back()) || before == "]" || before == ")";
      if (is_subscript && std::all_of(name.begin(), name.end(), is_word)) {
        tokens.resize(n - 3);
        tokens.emplace_back(".");
        tokens.push_back(name);
      }
    }
  }
  for (const std::string& token : tokens) {
    out += token;
    out += kTokenEnd;
  }
  return true;
}

struct Tag {
  size_t begin = 0, end = 0;  // with its braces; begin == text.size(): none
  char kind = 0;              // '{', '%', '#'
  bool trims_before = false, keeps_before = false, trims_after = false;
  std::string_view inside;
};

// The first tag at or after `at`. False when it has no end.
bool next_tag(std::string_view text, size_t at, Tag& tag) {
  tag = {text.size(), text.size()};
  for (; at + 1 < text.size(); ++at) {
    if (text[at] == '{' && (text[at + 1] == '{' || text[at + 1] == '%' || text[at + 1] == '#')) break;
  }
  if (at + 1 >= text.size()) return true;
  tag.begin = at;
  tag.kind = text[at + 1];
  const std::string_view close = tag.kind == '{' ? "}}" : tag.kind == '%' ? "%}" : "#}";
  size_t end = at + 2;
  while (end < text.size() && text.substr(end, 2) != close) {
    if (tag.kind != '#' && (text[end] == '\'' || text[end] == '"')) {
      end = literal_end(text, end);
      if (end == text.npos) return false;
    } else {
      ++end;
    }
  }
  if (end >= text.size()) return false;
  tag.end = end + 2;
  tag.inside = text.substr(at + 2, end - at - 2);
  if (tag.inside.starts_with('-') || tag.inside.starts_with('+')) {
    tag.trims_before = tag.inside.front() == '-';
    tag.keeps_before = !tag.trims_before;
    tag.inside.remove_prefix(1);
  }
  if (tag.inside.ends_with('-')) {
    tag.trims_after = true;
    tag.inside.remove_suffix(1);
  }
  return true;
}

}  // namespace

std::string canonical_template(std::string_view jinja) {
  std::string source;
  for (size_t i = 0; i < jinja.size(); ++i) {
    if (jinja[i] != '\r') {
      source += jinja[i];
    } else if (i + 1 == jinja.size() || jinja[i + 1] != '\n') {
      source += '\n';
    }
  }
  std::string_view text = source;
  if (text.ends_with('\n')) text.remove_suffix(1);  // as Jinja does

  std::string out;
  Tag before, tag;
  bool at_line_start = true;
  for (size_t at = 0; at <= text.size(); at = before.end) {
    if (!next_tag(text, at, tag)) return {};
    std::string_view between = text.substr(at, tag.begin - at);
    if (before.trims_after) {
      while (!between.empty() && is_space(between.front())) between.remove_prefix(1);
      at_line_start = false;
    } else if ((before.kind == '%' || before.kind == '#') && between.starts_with('\n')) {  // trim_blocks
      between.remove_prefix(1);
      at_line_start = true;
    } else if (at > 0) {
      at_line_start = false;
    }
    if (tag.trims_before) {
      while (!between.empty() && is_space(between.back())) between.remove_suffix(1);
    } else if ((tag.kind == '%' || tag.kind == '#') && !tag.keeps_before) {  // lstrip_blocks
      size_t line = between.size();
      while (line > 0 && (between[line - 1] == ' ' || between[line - 1] == '\t')) --line;
      if ((line == 0 && at_line_start) || (line > 0 && between[line - 1] == '\n')) between = between.substr(0, line);
    }
    if (!between.empty()) {
      out += between;
      out += kPartEnd;
    }
    if (tag.begin == text.size()) break;
    if (tag.kind != '#') {
      out += tag.kind;
      if (!append_tokens(tag.inside, out)) return {};
      out += kPartEnd;
    }
    before = tag;
  }
  return out;
}

uint64_t template_hash(std::string_view canonical) {
  uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : canonical) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

}  // namespace quern
