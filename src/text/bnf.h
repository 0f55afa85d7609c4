// Grammars in the notation of llama.cpp's users (GBNF): `name ::= alternatives`, texts in quotes, classes in brackets, groups, * + ? {m,n},
// comments behind #. The answer is what `root` is. Stateless.
#pragma once
#include <string_view>

#include "text/grammar.h"

namespace quern {

// Throws invalid_input "line N: want ..., found ..." for what is not understood, for rules that are missing, and for rules that begin with
// themselves.
Grammar read_bnf(std::string_view text);

}  // namespace quern
