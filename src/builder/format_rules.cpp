#include "builder/format_rules.h"

#include "base/error.h"
#include "formats/list.h"

namespace quern {
namespace {

struct OtherName {
  const char* name;
  Format format;
};
constexpr OtherName kOtherNames[] = {
    {"fp32", Format::f32},   {"float32", Format::f32}, {"fp16", Format::f16},   {"float16", Format::f16}, {"bfloat16", Format::bf16},
    {"int8", Format::i8g32}, {"int4", Format::i4g32},  {"q8_0", Format::i8g32}, {"q4_0", Format::i4g32},
};

std::optional<Format> format_named(const std::string& name) {
  for (const OtherName& other : kOtherNames) {
    if (name == other.name) return other.format;
  }
  return find_format(name);
}

std::string format_names() {
  std::string names;
  for (const FormatInfo& info : kFormats) names += fmt::format("{}{}", names.empty() ? "" : ", ", info.name);
  return names;
}

}  // namespace

std::vector<KeepRule> parse_keep_rules(std::span<const std::string> texts) {
  std::vector<KeepRule> rules;
  for (const std::string& text : texts) {
    const size_t equals = text.rfind('=');
    if (equals == text.npos || equals == 0) raise(usage, "--keep: want PATTERN=FORMAT, found '{}'", escaped(text, 100));
    const std::string name = text.substr(equals + 1);
    KeepRule rule{.pattern = text.substr(0, equals), .format = {}};
    if (name != "source") {
      rule.format = format_named(name);
      if (!rule.format) raise(usage, "--keep: want source or one of {}, found '{}'", format_names(), escaped(name, 60));
    }
    rules.push_back(std::move(rule));
  }
  return rules;
}

bool matches_pattern(std::string_view name, std::string_view pattern) {
  size_t n = 0, p = 0, star = pattern.npos, retry = 0;  // after a mismatch the last star takes one character more
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      retry = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p, ++n;
    } else if (star != pattern.npos) {
      p = star + 1;
      n = ++retry;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::map<std::string, Format> apply_keep_rules(std::span<const KeepRule> rules, std::span<const TensorPlan> plans) {
  std::map<std::string, Format> formats;
  for (const KeepRule& rule : rules) {
    bool is_used = false;
    for (const TensorPlan& plan : plans) {
      if (plan.role == TensorRole::vector || !matches_pattern(plan.engine_name, rule.pattern)) continue;
      is_used = true;
      const Format format = rule.format.value_or(plan.source->tensor.format);
      const size_t block = format_info(format).block_values;
      if (plan.shape.columns() % block != 0) {
        raise(usage, "--keep: {}: want columns in whole blocks of {} values for {}, found {}", escaped(plan.engine_name), block,
              format_name(format), plan.shape.columns());
      }
      formats[plan.engine_name] = format;
    }
    if (!is_used) {
      raise(usage, "--keep: want a pattern that some matrix has (blk.*.down, embed, head; quern info --tensors lists them), found '{}'",
            escaped(rule.pattern, 100));
    }
  }
  return formats;
}

}  // namespace quern
