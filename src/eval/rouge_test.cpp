// ROUGE equals the Python package rouge_score: composed texts, words with their stems, and 475 news articles where they are.
#include "eval/rouge.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/json.h"
#include "base/mapped_file.h"
#include "eval/porter_stemmer.h"
#include "source_dir.h"

namespace quern {
namespace {

// Both sides compute the same quotients of small integers in double; means of some hundred of them differ in the last bits.
constexpr double kTolerance = 1e-9;

Json golden(const std::string& name) {
  const std::string path = source_dir() + "/tests/goldens/rouge/" + name;
  return parse_json(read_text_file(path, 1 << 24), path);
}

void expect_intervals(const Json& wanted, const std::vector<RougeScores>& articles) {
  const RougeIntervals found = rouge_intervals(articles);
  for (size_t type = 0; type < kRougeTypes; ++type) {
    const RougeScore* ends[] = {&found[type].low, &found[type].mid, &found[type].high};
    for (size_t end = 0; end < 3; ++end) {
      EXPECT_NEAR(ends[end]->precision, wanted[type][end][0].get<double>(), kTolerance) << kRougeNames[type] << " " << end;
      EXPECT_NEAR(ends[end]->recall, wanted[type][end][1].get<double>(), kTolerance) << kRougeNames[type] << " " << end;
      EXPECT_NEAR(ends[end]->f1, wanted[type][end][2].get<double>(), kTolerance) << kRougeNames[type] << " " << end;
    }
  }
}

TEST(Rouge, StemsAreThoseOfTheReference) {
  const Json texts = golden("texts.json");
  for (const Json& pair : texts.at("stems")) EXPECT_EQ(porter_stem(pair[0].get<std::string>()), pair[1].get<std::string>()) << pair[0];
  EXPECT_GT(texts.at("stems").size(), 500U);
}

TEST(Rouge, ComposedTexts) {
  const Json texts = golden("texts.json");
  for (const bool stem : {false, true}) {
    std::vector<RougeScores> articles;
    for (const Json& pair : texts.at("pairs")) {
      const RougeScores found = rouge(pair.at("reference").get<std::string>(), pair.at("candidate").get<std::string>(), stem);
      const Json& wanted = pair.at(stem ? "stemmed" : "plain");
      for (size_t type = 0; type < kRougeTypes; ++type) {
        EXPECT_NEAR(found[type].precision, wanted[type][0].get<double>(), kTolerance) << kRougeNames[type] << " " << pair;
        EXPECT_NEAR(found[type].recall, wanted[type][1].get<double>(), kTolerance) << kRougeNames[type] << " " << pair;
        EXPECT_NEAR(found[type].f1, wanted[type][2].get<double>(), kTolerance) << kRougeNames[type] << " " << pair;
      }
      articles.push_back(found);
    }
    expect_intervals(texts.at(stem ? "stemmed_intervals" : "plain_intervals"), articles);
  }
}

// candidate_of() of tools/make_rouge_goldens.py.
std::string candidate_of(const std::string& article) {
  std::string head = article.substr(0, 700);
  if (article.size() > 700) {  // a character that is cut in two is left out
    size_t start = head.size();
    while (start > 0 && (static_cast<unsigned char>(head[start - 1]) & 0xC0) == 0x80) --start;
    const auto lead = static_cast<unsigned char>(start > 0 ? head[start - 1] : ' ');
    const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (length > 1 && head.size() - (start - 1) < length) head.resize(start - 1);
  }
  std::string candidate;
  size_t number = 0;
  for (size_t begin = 0; begin <= head.size(); ++number) {
    const size_t end = std::min(head.find(' ', begin), head.size());
    if (number % 7 != 6) {
      if (number > 0) candidate += ' ';
      candidate += head.substr(begin, end - begin);
    }
    begin = end + 1;
  }
  for (size_t at = 0; (at = candidate.find(". ", at)) != std::string::npos; at += 2) candidate[at + 1] = '\n';
  return candidate;
}

TEST(Rouge, NewsArticles) {
  const std::string path = source_dir() + "/../shared/data/cnn_dailymail.jsonl";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  const std::string lines = read_text_file(path, 1 << 26);
  const Json goldens = golden("cnn_dailymail.json");
  std::vector<RougeScores> articles[2];
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = std::min(lines.find('\n', begin), lines.size());
    const Json record = parse_json(std::string_view(lines).substr(begin, end - begin), path);
    begin = end + 1;
    const size_t i = articles[0].size();
    const std::string candidate = candidate_of(record.at("article").get<std::string>());
    for (const bool stem : {false, true}) {
      const RougeScores found = rouge(record.at("highlights").get<std::string>(), candidate, stem);
      for (size_t type = 0; type < kRougeTypes; ++type) {
        EXPECT_NEAR(found[type].f1, goldens.at(stem ? "stemmed" : "plain").at(i)[type].get<double>(), kTolerance)
            << kRougeNames[type] << " article " << i;
      }
      articles[stem ? 1 : 0].push_back(found);
    }
  }
  EXPECT_EQ(articles[0].size(), 475U);
  expect_intervals(goldens.at("plain_intervals"), articles[0]);
  expect_intervals(goldens.at("stemmed_intervals"), articles[1]);
}

TEST(Rouge, AHugeWordIsQuick) {
  const std::string word(1 << 16, 'y');
  EXPECT_EQ(rouge(word, word, true)[0].f1, 1);
}

}  // namespace
}  // namespace quern
