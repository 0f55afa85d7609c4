// Plain texts as Grammars: one of a list, or what fits a regular expression. Stateless.
#pragma once
#include <string>
#include <vector>

#include "text/grammar.h"

namespace quern {

// Exactly one of `choices`.
Grammar choice_grammar(const std::vector<std::string>& choices);
// A text that fits a regular expression from end to end. Throws invalid_input.
Grammar regex_grammar(const std::string& expression);

}  // namespace quern
