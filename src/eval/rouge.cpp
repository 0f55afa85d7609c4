#include "eval/rouge.h"

#include <algorithm>
#include <bit>
#include <map>
#include <random>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "eval/porter_stemmer.h"

namespace quern {
namespace {

using Ids = std::vector<uint32_t>;

constexpr size_t kResamples = 1000;

RougeScore score(double hits, double reference_count, double candidate_count) {
  RougeScore s{.precision = hits / candidate_count, .recall = hits / reference_count};
  if (s.precision + s.recall > 0) s.f1 = 2 * s.precision * s.recall / (s.precision + s.recall);
  return s;
}

// Words of both texts as numbers, the same for the same word.
class Words {
 public:
  explicit Words(bool stem) : stem_(stem) {}
  Ids ids(std::string_view text) {
    Ids result;
    for (std::string& token : rouge_tokens(text, stem_)) {
      result.push_back(numbers_.try_emplace(std::move(token), static_cast<uint32_t>(numbers_.size())).first->second);
    }
    return result;
  }
  size_t size() const { return numbers_.size(); }

 private:
  bool stem_;
  std::unordered_map<std::string, uint32_t> numbers_;
};

std::vector<Ids> sentences(std::string_view text, Words& words) {
  std::vector<Ids> result;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin) result.push_back(words.ids(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return result;
}

RougeScore n_gram_score(const Ids& reference, const Ids& candidate, size_t n) {
  const auto grams = [n](const Ids& ids) {
    std::map<Ids, size_t> counts;
    for (size_t i = 0; i + n <= ids.size(); ++i)
      ++counts[Ids(ids.begin() + static_cast<ptrdiff_t>(i), ids.begin() + static_cast<ptrdiff_t>(i + n))];
    return counts;
  };
  const std::map<Ids, size_t> wanted = grams(reference), found = grams(candidate);
  size_t hits = 0;
  for (const auto& [gram, count] : wanted) {
    const auto same = found.find(gram);
    if (same != found.end()) hits += std::min(count, same->second);
  }
  const auto count_of = [n](const Ids& ids) {
    return static_cast<double>(std::max<size_t>(ids.size() + 1 - std::min(ids.size() + 1, n), 1));
  };
  return score(static_cast<double>(hits), count_of(reference), count_of(candidate));
}

size_t common_length(const Ids& a, const Ids& b) {
  std::vector<uint32_t> last(b.size() + 1), row(b.size() + 1);
  for (const uint32_t id : a) {
    for (size_t j = 1; j <= b.size(); ++j) row[j] = id == b[j - 1] ? last[j - 1] + 1 : std::max(row[j - 1], last[j]);
    std::swap(last, row);
  }
  return last[b.size()];
}

RougeScore longest_common_score(const Ids& reference, const Ids& candidate) {
  if (reference.empty() || candidate.empty()) return {};
  return score(static_cast<double>(common_length(reference, candidate)), static_cast<double>(reference.size()),
               static_cast<double>(candidate.size()));
}

// Places in `reference` of one longest common subsequence: the one that walking the table back from its end finds, a step along
// `candidate` where that is longer and along `reference` otherwise.
void mark_common(const Ids& reference, const Ids& candidate, std::vector<bool>& marks) {
  const size_t width = candidate.size() + 1;
  std::vector<uint32_t> table((reference.size() + 1) * width);
  for (size_t i = 1; i <= reference.size(); ++i) {
    for (size_t j = 1; j < width; ++j) {
      table[i * width + j] = reference[i - 1] == candidate[j - 1] ? table[(i - 1) * width + j - 1] + 1
                                                                  : std::max(table[(i - 1) * width + j], table[i * width + j - 1]);
    }
  }
  for (size_t i = reference.size(), j = candidate.size(); i > 0 && j > 0;) {
    if (reference[i - 1] == candidate[j - 1]) {
      marks[i - 1] = true;
      --i;
      --j;
    } else if (table[i * width + j - 1] > table[(i - 1) * width + j]) {
      --j;
    } else {
      --i;
    }
  }
}

RougeScore summary_score(const std::vector<Ids>& reference, const std::vector<Ids>& candidate, size_t num_words) {
  std::vector<size_t> left_reference(num_words), left_candidate(num_words);
  size_t reference_count = 0, candidate_count = 0, hits = 0;
  for (const Ids& sentence : reference) {
    reference_count += sentence.size();
    for (const uint32_t id : sentence) ++left_reference[id];
  }
  for (const Ids& sentence : candidate) {
    candidate_count += sentence.size();
    for (const uint32_t id : sentence) ++left_candidate[id];
  }
  if (reference_count == 0 || candidate_count == 0) return {};
  for (const Ids& sentence : reference) {
    std::vector<bool> marks(sentence.size());
    for (const Ids& other : candidate) mark_common(sentence, other, marks);
    for (size_t i = 0; i < sentence.size(); ++i) {
      const uint32_t id = sentence[i];
      if (!marks[i] || left_reference[id] == 0 || left_candidate[id] == 0) continue;
      ++hits;
      --left_reference[id];
      --left_candidate[id];
    }
  }
  return score(static_cast<double>(hits), static_cast<double>(reference_count), static_cast<double>(candidate_count));
}

// What numpy.random.seed(seed) and numpy.random.choice draw: words of the Mersenne twister, masked and redrawn until they fit.
class NumpyChoice {
 public:
  explicit NumpyChoice(uint32_t seed) : twister_(seed) {}
  size_t below(size_t count) {
    if (count <= 1) return 0;
    const auto most = static_cast<uint32_t>(count - 1);
    const uint32_t mask = most == 0 ? 0 : static_cast<uint32_t>((uint64_t{1} << std::bit_width(most)) - 1);
    uint32_t drawn = 0;
    do drawn = static_cast<uint32_t>(twister_()) & mask;
    while (drawn > most);
    return drawn;
  }

 private:
  std::mt19937 twister_;
};

// With linear interpolation between neighbours; reorders `values`.
double percentile(std::vector<double>& values, double share) {
  std::ranges::sort(values);
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  return below + 1 < values.size() ? values[below] + (place - static_cast<double>(below)) * (values[below + 1] - values[below])
                                   : values[below];
}

}  // namespace

std::vector<std::string> rouge_tokens(std::string_view text, bool stem) {
  std::vector<std::string> tokens;
  std::string token;
  const auto close = [&] {
    if (token.empty()) return;
    tokens.push_back(stem && token.size() > 3 ? porter_stem(token) : token);
    token.clear();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      token += c;
    } else if (c >= 'A' && c <= 'Z') {
      token += static_cast<char>(c - 'A' + 'a');
    } else if (text.substr(i).starts_with("\xe2\x84\xaa")) {  // U+212A, the Kelvin sign, is a k in lower case
      token += 'k';
      i += 2;
    } else if (text.substr(i).starts_with("\xc4\xb0")) {  // U+0130, I with a dot, is an i and a combining dot
      token += 'i';
      i += 1;
      close();
    } else {
      close();
    }
  }
  close();
  return tokens;
}

RougeScores rouge(std::string_view reference, std::string_view candidate, bool stem) {
  Words words(stem);
  const Ids wanted = words.ids(reference), found = words.ids(candidate);
  const std::vector<Ids> wanted_lines = sentences(reference, words), found_lines = sentences(candidate, words);
  return {n_gram_score(wanted, found, 1), n_gram_score(wanted, found, 2), longest_common_score(wanted, found),
          summary_score(wanted_lines, found_lines, words.size())};
}

RougeIntervals rouge_intervals(std::span<const RougeScores> articles, uint32_t seed) {
  CHECK(!articles.empty() && articles.size() <= UINT32_MAX, "{} articles", articles.size());
  constexpr double RougeScore::*kParts[] = {&RougeScore::precision, &RougeScore::recall, &RougeScore::f1};
  const auto count = static_cast<double>(articles.size());
  NumpyChoice choice(seed);
  RougeIntervals intervals;
  for (size_t type = 0; type < kRougeTypes; ++type) {
    std::vector<double> means[3];
    for (size_t resample = 0; resample < kResamples; ++resample) {
      double sums[3] = {};
      for (size_t i = 0; i < articles.size(); ++i) {
        const RougeScore& drawn = articles[choice.below(articles.size())][type];
        for (size_t part = 0; part < 3; ++part) sums[part] += drawn.*kParts[part];
      }
      for (size_t part = 0; part < 3; ++part) means[part].push_back(sums[part] / count);
    }
    for (size_t part = 0; part < 3; ++part) {
      double sum = 0;
      for (const RougeScores& article : articles) sum += article[type].*kParts[part];
      intervals[type].mean.*kParts[part] = sum / count;
      intervals[type].low.*kParts[part] = percentile(means[part], 0.025);
      intervals[type].mid.*kParts[part] = percentile(means[part], 0.5);
      intervals[type].high.*kParts[part] = percentile(means[part], 0.975);
    }
  }
  return intervals;
}

}  // namespace quern
