// The summaries that a model writes of articles, how long they took, and how near they are to the references: the evaluation of 2023
// (docs/quality.md). Plain functions; the engine must not have a thread of its own.
#pragma once
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "eval/articles.h"
#include "eval/rouge.h"

namespace quern {

struct SummarizeOptions {
  const ChatFormat* chat = nullptr;  // null: plain text
  size_t batch = 1;                  // articles at one time
  size_t max_input_tokens = 923, max_new_tokens = 100;
  bool force_length = false;  // always max_new_tokens tokens, end tokens or not
  bool stem = false;          // ROUGE on stems
};

struct Summary {
  std::string id;
  size_t input_tokens = 0;
  bool was_cut = false;
  std::vector<TokenId> output_ids;  // the end token left out
  std::string text;
  RougeScores rouge;
};

struct SummarizeResult {
  std::vector<Summary> summaries;  // in the order of the articles
  double seconds = 0;              // encoding, generating and decoding of all batches
  size_t tokens = 0;               // written, end tokens left out
  RougeIntervals rouge;
};

// One batch of articles: its summaries, and the seconds that it took.
struct SummaryBatch {
  std::vector<Summary> summaries;
  double seconds = 0;
};
SummaryBatch summarize_batch(Engine& engine, std::span<const Article> articles, const SummarizeOptions& options);

// Adds up tokens and scores of what was written.
SummarizeResult summarize_result(std::vector<Summary> summaries, double seconds);

}  // namespace quern
