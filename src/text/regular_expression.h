// Regular expressions, of the kind that needs no memory of what was matched: alternatives, groups, classes, repeats, anchors at the ends.
// Read into an automaton, so that matching is linear. Stateless.
#pragma once
#include <string>
#include <string_view>

#include "text/character_automaton.h"

namespace quern {

// `whole`: a text that fits the expression from end to end. `anywhere`: one that has it inside, unless ^ and $ say otherwise (JSON Schema's
// pattern).
enum class RegexReach { whole, anywhere };

// Throws invalid_input "<offset>: want ..., found ..." for what is not understood: look-around, back-references, word boundaries.
CharacterAutomaton read_regular_expression(std::string_view expression, RegexReach reach);

}  // namespace quern
