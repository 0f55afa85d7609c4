#include "cli/figures.h"

#include "backend/measure.h"
#include "models/kv_cache.h"

namespace quern {
namespace {

double rate(double count, double seconds) { return count > 0 && seconds > 0 ? count / seconds : 0; }

// Bytes of KV that one token's step reads for each token before it.
double kv_bytes_per_token(const Engine& engine) {
  const EngineOptions& options = engine.options();
  return static_cast<double>(KvCache::bytes_per_block(*engine.config(), options.block_tokens, *options.kv_format)) /
         static_cast<double>(options.block_tokens);
}

}  // namespace

double Figures::prefill_rate() const { return rate(static_cast<double>(prompt_tokens - cached_tokens), prefill_seconds); }
double Figures::decode_rate() const { return rate(static_cast<double>(output_tokens - std::min(output_tokens, prompts)), decode_seconds); }
double Figures::read_rate() const { return rate(read_bytes, decode_seconds); }

std::string Figures::line() const {
  std::string text = prompts == 1 ? "" : fmt::format("{} prompts; ", prompts);
  text += fmt::format("prompt {} tokens", prompt_tokens);
  if (cached_tokens > 0) text += fmt::format(" ({} cached)", cached_tokens);
  text += fmt::format(", output {} tokens; load {:.2f} s", output_tokens, load_seconds);
  if (prompts == 1) {
    text += fmt::format(", first token {:.3f} s", first_token_seconds);
    if (prefill_rate() > 0) text += fmt::format("; prefill {:.1f} tokens/s", prefill_rate());
    if (decode_rate() > 0) text += fmt::format(", decode {:.1f} tokens/s", decode_rate());
  } else {
    text += fmt::format("; {:.1f} s, {:.1f} prompt and {:.1f} output tokens/s", wall_seconds,
                        rate(static_cast<double>(prompt_tokens), wall_seconds), rate(static_cast<double>(output_tokens), wall_seconds));
  }
  if (read_rate() > 0) text += fmt::format("; {:.2f} GB/s", read_rate() / 1e9);
  if (read_rate() > 0 && bandwidth > 0) text += fmt::format(" = {:.0f} % of {:.2f}", 100 * read_rate() / bandwidth, bandwidth / 1e9);
  return text;
}

OrderedJson Figures::json() const {
  OrderedJson object;
  object["prompts"] = prompts;
  object["prompt_tokens"] = prompt_tokens;
  object["cached_tokens"] = cached_tokens;
  object["output_tokens"] = output_tokens;
  object["load_seconds"] = load_seconds;
  object["seconds"] = wall_seconds;
  if (prompts == 1) {
    object["first_token_seconds"] = first_token_seconds;
    object["prefill_tokens_per_second"] = prefill_rate();
    object["decode_tokens_per_second"] = decode_rate();
  }
  object["read_bytes_per_second"] = read_rate();
  object["memory_bytes_per_second"] = bandwidth;
  return object;
}

Figures answer_figures(const RunningModel& model, const Finish& finish) {
  const Usage& usage = finish.usage;
  const Timing& timing = finish.timing;
  Figures figures{.prompt_tokens = usage.prompt_tokens, .cached_tokens = usage.cached_tokens, .output_tokens = usage.output_tokens};
  figures.load_seconds = model.load_seconds;
  figures.wall_seconds = timing.finished - timing.submitted;
  if (timing.first_token > 0) {
    figures.first_token_seconds = timing.first_token - timing.submitted;
    figures.prefill_seconds = timing.first_token - timing.scheduled;
    figures.decode_seconds = timing.finished - timing.first_token;
  }
  if (usage.output_tokens > 1) {
    const auto steps = static_cast<double>(usage.output_tokens - 1);
    const double mean_context = static_cast<double>(usage.prompt_tokens) + steps / 2;
    const auto weights = static_cast<double>(model.engine->transformer()->streamed_bytes());
    figures.read_bytes = steps * (weights + mean_context * kv_bytes_per_token(*model.engine));
  }
  return figures;
}

void measure_bandwidth(Figures& figures, RunningModel& model) {
  if (figures.read_bytes <= 0) return;
  model.engine.reset();
  figures.bandwidth = measure_read_bandwidth(*model.backend);
}

}  // namespace quern
