#include "server/completion_answer.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>

#include "base/utf8.h"

namespace quern {
namespace {

size_t num_characters(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

}  // namespace

double CompletionAnswer::Choice::mean_logprob() const {
  double sum = 0;
  for (const OutputToken& token : tokens) sum += shown_logprob(token.logprob);
  return tokens.empty() ? 0 : sum / static_cast<double>(tokens.size());
}

CompletionAnswer::CompletionAnswer(const ServedModel& model, CompletionAnswerOptions options)
    : tokenizer_(&model.tokenizer()),
      options_(std::move(options)),
      choices_(options_.num_prompts * options_.best_of),
      prompts_(options_.num_prompts) {
  totals_.prompt_tokens = options_.prompt_tokens;
  if (echoes_logprobs()) return;  // the offsets count from the prompt's first token
  for (Choice& choice : choices_) {
    if (!options_.echoes.empty()) choice.text_offset = num_characters(options_.echoes[prompt_of(choice)]);
  }
}

void CompletionAnswer::begin(std::string& out) {
  if (options_.echoes.empty() || echoes_logprobs()) return;
  for (size_t i = 0; i < choices_.size(); ++i) write_chunk(i, options_.echoes[i / options_.best_of], {}, false, nullptr, out);
}

void CompletionAnswer::add(size_t index, SessionOutput output, std::string& out) {
  Choice& choice = choices_[index];
  if (choice.finish) return;
  const size_t prompt = prompt_of(choice);
  std::ranges::move(output.prompt, std::back_inserter(prompts_[prompt]));
  totals_.output_tokens += output.tokens.size();
  if (output.finish && index % options_.best_of == 0) totals_.cached_tokens += output.finish->usage.cached_tokens;
  const bool has_begun = !output.tokens.empty() || output.finish;
  if (!options_.shows_end_token) drop_end_token(output);
  if (options_.is_stream) {
    if (echoes_logprobs() && has_begun && !choice.is_echoed) {
      write_chunk(index, options_.echoes[prompt], {}, true, nullptr, out);
      choice.is_echoed = true;
    }
    const bool has_news = !output.text.empty() || (options_.logprobs && !output.tokens.empty()) || output.finish;
    if (has_news) write_chunk(index, output.text, output.tokens, false, output.finish ? &*output.finish : nullptr, out);
  } else {
    choice.text += output.text;
    choice.tokens.insert(choice.tokens.end(), output.tokens.begin(), output.tokens.end());
  }
  choice.finish = output.finish;
}

void CompletionAnswer::write_logprobs(JsonWriter& json, Choice& choice, const std::vector<OutputToken>& tokens, bool with_prompt) {
  std::string tokens_text, logprobs, tops, offsets;
  JsonWriter token_json(tokens_text), logprob_json(logprobs), top_json(tops), offset_json(offsets);
  token_json.begin_array(), logprob_json.begin_array(), top_json.begin_array(), offset_json.begin_array();
  const auto place = [&](const std::string& text) {
    token_json.text(text);
    offset_json.integer(static_cast<int64_t>(choice.text_offset));
    choice.text_offset += num_characters(text);
  };
  const auto add = [&](const OutputToken& token) {
    const std::string text = token_text(*tokenizer_, token.id);
    place(text);
    logprob_json.number(shown_logprob(token.logprob));
    std::map<std::string, double> top;  // tokens with one text count once, at the likeliest
    for (size_t i = 0; i < std::min(*options_.logprobs, token.top.size()); ++i) {
      top.emplace(token_text(*tokenizer_, token.top[i].first), shown_logprob(token.top[i].second));
    }
    top.emplace(text, shown_logprob(token.logprob));
    top_json.begin_object();
    for (const auto& [name, logprob] : top) top_json.field(name, logprob);
    top_json.end_object();
  };
  if (with_prompt) {  // nothing comes before its first token that could make it likely
    const size_t prompt = prompt_of(choice);
    place(token_text(*tokenizer_, options_.first_tokens[prompt]));
    logprob_json.null();
    top_json.null();
    std::ranges::for_each(prompts_[prompt], add);
  }
  std::ranges::for_each(tokens, add);
  token_json.end_array(), logprob_json.end_array(), top_json.end_array(), offset_json.end_array();
  json.key("logprobs").begin_object().raw_field("tokens", tokens_text).raw_field("token_logprobs", logprobs);
  json.raw_field("top_logprobs", tops).raw_field("text_offset", offsets).end_object();
}

void CompletionAnswer::write_choice(JsonWriter& json, size_t index, Choice& choice, const std::string& text,
                                    const std::vector<OutputToken>& tokens, bool with_prompt, const Finish* finish) {
  json.begin_object().field("index", index).field("text", text);
  options_.logprobs ? write_logprobs(json, choice, tokens, with_prompt) : void(json.null_field("logprobs"));
  if (finish != nullptr) {
    write_finish(json, *finish, false, options_.stop_token_ids);
  } else {
    json.null_field("finish_reason").null_field("stop_reason");
  }
  if (options_.prompt_logprobs && !options_.is_stream) {
    write_prompt_logprobs(json, *tokenizer_, prompts_[prompt_of(choice)], *options_.prompt_logprobs);
  }
  json.end_object();
}

void CompletionAnswer::write_chunk(size_t index, const std::string& text, const std::vector<OutputToken>& tokens, bool with_prompt,
                                   const Finish* finish, std::string& out) {
  std::string chunk;
  JsonWriter json(chunk);
  write_head(json, options_.head, options_.head.object);
  json.key("choices").begin_array();
  write_choice(json, index, choices_[index], text, tokens, with_prompt, finish);
  json.end_array();
  write_chunk_usage(json, options_, totals_);
  json.end_object();
  append_event(out, chunk);
}

void CompletionAnswer::end(std::string& out) { append_stream_end(out, options_, totals_); }

std::string CompletionAnswer::body() {
  std::string text;
  JsonWriter json(text);
  write_head(json, options_.head, options_.head.object);
  json.key("choices").begin_array();
  for (size_t prompt = 0; prompt < options_.num_prompts; ++prompt) {
    std::vector<size_t> runs(options_.best_of);
    std::iota(runs.begin(), runs.end(), prompt * options_.best_of);
    if (options_.best_of > options_.n) {
      std::ranges::stable_sort(runs, [&](size_t a, size_t b) { return choices_[a].mean_logprob() > choices_[b].mean_logprob(); });
    }
    for (size_t j = 0; j < options_.n; ++j) {
      Choice& choice = choices_[runs[j]];
      const std::string told = options_.echoes.empty() ? choice.text : options_.echoes[prompt] + choice.text;
      write_choice(json, prompt * options_.n + j, choice, told, choice.tokens, echoes_logprobs(), &*choice.finish);
    }
  }
  json.end_array();
  write_usage(json, totals_);
  json.end_object();
  return text;
}

void CompletionAnswer::fail(const ApiError& error, std::string& out) { append_event(out, error.body()); }

}  // namespace quern
