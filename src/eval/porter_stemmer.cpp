#include "eval/porter_stemmer.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace quern {
namespace {

struct Irregular {
  std::string_view word, stem;
};
constexpr Irregular kIrregular[] = {
    {"sky", "sky"},        {"skies", "sky"},       {"dying", "die"},        {"lying", "lie"},
    {"tying", "tie"},      {"news", "news"},       {"innings", "inning"},   {"inning", "inning"},
    {"outings", "outing"}, {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
    {"howe", "howe"},      {"proceed", "proceed"}, {"exceed", "exceed"},    {"succeed", "succeed"},
};

// Which letters are consonants: y is one at the beginning and after a vowel.
std::vector<bool> consonants(std::string_view word) {
  std::vector<bool> result(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    const char c = word[i];
    const bool is_vowel = c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u';
    result[i] = !is_vowel && (c != 'y' || i == 0 || !result[i - 1]);
  }
  return result;
}

// The number of times that a consonant follows a vowel: [C](VC)^m[V].
size_t measure(std::string_view stem) {
  const std::vector<bool> consonant = consonants(stem);
  size_t count = 0;
  for (size_t i = 1; i < stem.size(); ++i) count += !consonant[i - 1] && consonant[i] ? 1 : 0;
  return count;
}

bool has_vowel(std::string_view stem) {
  const std::vector<bool> consonant = consonants(stem);
  return std::ranges::find(consonant, false) != consonant.end();
}

bool ends_in_double_consonant(std::string_view word) {
  const size_t n = word.size();
  return n >= 2 && word[n - 1] == word[n - 2] && consonants(word).back();
}

// Consonant, vowel, consonant other than w, x, y; or a word of a vowel and a consonant.
bool ends_in_cvc(std::string_view word) {
  const std::vector<bool> consonant = consonants(word);
  const size_t n = word.size();
  if (n == 2) return !consonant[0] && consonant[1];
  if (n < 3) return false;
  const char last = word[n - 1];
  return consonant[n - 3] && !consonant[n - 2] && consonant[n - 1] && last != 'w' && last != 'x' && last != 'y';
}

struct Suffix {
  std::string_view ending, replacement;
};

// Replaces the first ending of the list that `word` has when its stem measures more than `more_than`; a later ending is not tried.
std::string replace_first(std::string word, std::span<const Suffix> suffixes, size_t more_than) {
  for (const Suffix& suffix : suffixes) {
    if (!word.ends_with(suffix.ending)) continue;
    const std::string_view stem = std::string_view(word).substr(0, word.size() - suffix.ending.size());
    return measure(stem) > more_than ? std::string(stem) + std::string(suffix.replacement) : word;
  }
  return word;
}

std::string without(const std::string& word, size_t count) { return word.substr(0, word.size() - count); }

// Plurals.
std::string step_1a(const std::string& word) {
  if (word.ends_with("ies")) return word.size() == 4 ? without(word, 1) : without(word, 2);
  if (word.ends_with("sses")) return without(word, 2);
  return word.ends_with("s") && !word.ends_with("ss") ? without(word, 1) : word;
}

// Past tenses and -ing.
std::string step_1b(const std::string& word) {
  if (word.ends_with("ied")) return word.size() == 4 ? without(word, 1) : without(word, 2);
  if (word.ends_with("eed")) return measure(without(word, 3)) > 0 ? without(word, 1) : word;
  const size_t ending = word.ends_with("ed") ? 2 : word.ends_with("ing") ? 3 : 0;
  if (ending == 0 || !has_vowel(without(word, ending))) return word;
  std::string stem = without(word, ending);
  if (stem.ends_with("at") || stem.ends_with("bl") || stem.ends_with("iz")) return stem + "e";
  if (ends_in_double_consonant(stem)) {
    const char last = stem.back();
    return last == 'l' || last == 's' || last == 'z' ? stem : without(stem, 1);
  }
  return measure(stem) == 1 && ends_in_cvc(stem) ? stem + "e" : stem;
}

std::string step_1c(std::string word) {
  if (word.size() > 2 && word.back() == 'y' && consonants(word)[word.size() - 2]) word.back() = 'i';
  return word;
}

constexpr Suffix kStep2[] = {
    {"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"},   {"anci", "ance"},   {"izer", "ize"},  {"bli", "ble"},    {"alli", "al"},
    {"entli", "ent"},   {"eli", "e"},       {"ousli", "ous"},   {"ization", "ize"}, {"ation", "ate"}, {"ator", "ate"},   {"alism", "al"},
    {"iveness", "ive"}, {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},    {"iviti", "ive"}, {"biliti", "ble"}, {"fulli", "ful"},
};

std::string step_2(std::string word) {
  if (word.ends_with("alli") && measure(without(word, 4)) > 0) word = without(word, 2);
  // The l of -logi counts as the stem's, so that geo- and theo- are long enough.
  if (word.ends_with("logi")) return measure(without(word, 3)) > 0 ? without(word, 1) : word;
  return replace_first(std::move(word), kStep2, 0);
}

constexpr Suffix kStep3[] = {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"}, {"ical", "ic"}, {"ful", ""}, {"ness", ""}};

constexpr Suffix kStep4[] = {{"al", ""},   {"ance", ""}, {"ence", ""},  {"er", ""},   {"ic", ""},  {"able", ""},
                             {"ible", ""}, {"ant", ""},  {"ement", ""}, {"ment", ""}, {"ent", ""}, {"ou", ""},
                             {"ism", ""},  {"ate", ""},  {"iti", ""},   {"ous", ""},  {"ive", ""}, {"ize", ""}};

std::string step_4(std::string word) {
  if (word.ends_with("ion")) {
    const std::string stem = without(word, 3);
    const bool is_cut = measure(stem) > 1 && (stem.back() == 's' || stem.back() == 't');
    return is_cut ? stem : word;
  }
  return replace_first(std::move(word), kStep4, 1);
}

std::string step_5(std::string word) {
  if (word.ends_with("e")) {
    const std::string stem = without(word, 1);
    const size_t m = measure(stem);
    if (m > 1 || (m == 1 && !ends_in_cvc(stem))) word = stem;
  }
  return word.ends_with("ll") && measure(without(word, 1)) > 1 ? without(word, 1) : word;
}

}  // namespace

std::string porter_stem(std::string_view word) {
  for (const Irregular& irregular : kIrregular) {
    if (word == irregular.word) return std::string(irregular.stem);
  }
  std::string stem(word);
  if (stem.size() <= 2) return stem;
  stem = step_1c(step_1b(step_1a(stem)));
  stem = replace_first(step_2(std::move(stem)), kStep3, 0);
  return step_5(step_4(std::move(stem)));
}

}  // namespace quern
