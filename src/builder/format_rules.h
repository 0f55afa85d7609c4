// Formats that are chosen tensor by tensor, before the policy is asked: what --keep says, and what a bit budget was spent on. Plain data.
#pragma once
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "formats/format.h"
#include "models/family.h"

namespace quern {

// "PATTERN=FORMAT": engine names as `quern info --tensors` shows them, `*` standing for any characters; a format of docs/formats.md, or
// f16, bf16, int8, int4 by their other names, or `source` for what the source has.
struct KeepRule {
  std::string pattern;
  std::optional<Format> format;  // absent: the source's
};
// Throws usage naming the option and what is wrong with it.
std::vector<KeepRule> parse_keep_rules(std::span<const std::string> texts);

bool matches_pattern(std::string_view name, std::string_view pattern);

// Engine name -> format, of the matrices that a rule names; the last rule that matches counts. Throws usage when a rule matches no matrix,
// or its format's blocks do not divide the columns.
std::map<std::string, Format> apply_keep_rules(std::span<const KeepRule> rules, std::span<const TensorPlan> plans);

}  // namespace quern
