#include "text/text_grammars.h"

#include "text/character_automaton.h"
#include "text/regular_expression.h"

namespace quern {

Grammar choice_grammar(const std::vector<std::string>& choices) {
  Grammar grammar;
  const uint32_t root = grammar.add_rule();
  grammar.add_texts(grammar.rule_start(root), choices, grammar.rule_end(root));
  return grammar;
}

Grammar regex_grammar(const std::string& expression) {
  Grammar grammar;
  const uint32_t root = grammar.add_rule();
  const CharacterAutomaton automaton = read_regular_expression(expression, RegexReach::whole);
  grammar.add_free(automaton.write(grammar, grammar.rule_start(root), CharacterAutomaton::Form::plain), grammar.rule_end(root));
  return grammar;
}

}  // namespace quern
