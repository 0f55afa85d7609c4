#include "eval/summarize.h"

#include "base/clock.h"

namespace quern {

SummaryBatch summarize_batch(Engine& engine, std::span<const Article> articles, const SummarizeOptions& options) {
  SummaryBatch batch;
  SamplingParams params{.temperature = 0};
  params.max_tokens = static_cast<int64_t>(options.max_new_tokens);
  params.ignore_eos = options.force_length;
  const double start = monotonic_seconds();
  std::vector<Session> sessions;
  for (const Article& article : articles) {
    SummaryPrompt prompt = options.chat != nullptr ? chat_prompt(article, engine.tokenizer(), *options.chat, options.max_input_tokens)
                                                   : text_prompt(article, engine.tokenizer(), options.max_input_tokens);
    batch.summaries.push_back({.id = article.id, .input_tokens = prompt.ids.size(), .was_cut = prompt.was_cut});
    sessions.push_back(engine.submit(std::move(prompt.ids), params));
  }
  while (engine.step()) {
  }
  for (size_t i = 0; i < articles.size(); ++i) {
    Summary& summary = batch.summaries[i];
    SessionOutput output = sessions[i].read_all();
    if (!output.finish || output.finish->reason == FinishReason::error || output.finish->reason == FinishReason::cancelled) {
      raise(invalid_input, "{}: no summary: {}", escaped(articles[i].id, 60), output.finish ? output.finish->detail : "not finished");
    }
    for (const OutputToken& token : output.tokens) summary.output_ids.push_back(token.id);
    if (output.finish->stop_token && !summary.output_ids.empty()) summary.output_ids.pop_back();
    summary.text = std::move(output.text);
  }
  batch.seconds = monotonic_seconds() - start;
  for (size_t i = 0; i < articles.size(); ++i) {
    batch.summaries[i].rouge = rouge(articles[i].highlights, batch.summaries[i].text, options.stem);
  }
  return batch;
}

SummarizeResult summarize_result(std::vector<Summary> summaries, double seconds) {
  SummarizeResult result{.seconds = seconds};
  std::vector<RougeScores> scores;
  for (const Summary& summary : summaries) {
    result.tokens += summary.output_ids.size();
    scores.push_back(summary.rouge);
  }
  result.rouge = rouge_intervals(scores);
  result.summaries = std::move(summaries);
  return result;
}

}  // namespace quern
