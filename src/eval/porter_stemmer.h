// The Porter stemmer as ROUGE uses it: the published algorithm with the departures of NLTK's default mode, which the scores that
// others print were made with. Pure function, any thread.
#pragma once
#include <string>
#include <string_view>

namespace quern {

// `word`: a-z and 0-9 only.
std::string porter_stem(std::string_view word);

}  // namespace quern
