#include "eval/quality_check.h"

#include <algorithm>
#include <cmath>

#include "eval/log_softmax.h"
#include "eval/window_runner.h"

namespace quern {
namespace {

constexpr double kPerplexityShare = 0.005, kAgreement = 0.01, kDivergenceShare = 0.1, kDivergence = 0.0005;

EvalText quality_eval_text(const Tokenizer& tokenizer, const ModelConfig& config) {
  const QualityWindows quality = quality_windows(tokenizer, config);
  EvalText text;
  text.ids = quality.sequences.ids;
  const size_t length = quality.sequences.length, targets = length - quality.first_target;
  for (size_t i = 0; i < quality.sequences.count; ++i) {
    text.windows.push_back({i * length, (i + 1) * length, i * length + quality.first_target, static_cast<double>(targets)});
  }
  return text;
}

}  // namespace

Quality measure_again(const std::shared_ptr<EngineFile>& file, Backend& backend, const Quality& saved) {
  const std::string where = escaped(file->path());
  const EvalText text =
      quality_eval_text(Tokenizer::unpack(file->tokenizer_bytes(), where), ModelConfig::from_json(file->metadata().model, where));
  WindowRunner runner(file, backend, text, {});
  std::vector<double> losses;
  std::vector<uint32_t> choices;
  for (size_t i = 0; i < runner.steps().size(); ++i) {
    const std::span<const float> logits = runner.run(i);
    const WindowStep& step = runner.steps()[i];
    const size_t before = losses.size(), vocab_size = runner.vocab_size();
    losses.resize(before + step.rows.size());
    choices.resize(losses.size());
    for_each_row(backend, step.rows.size(), [&](size_t row) {
      const std::span<const float> own = logits.subspan(row * vocab_size, vocab_size);
      losses[before + row] = log_sum_exp(own) - own[static_cast<size_t>(text.ids[step.rows[row].target])];
      choices[before + row] = static_cast<uint32_t>(std::ranges::max_element(own) - own.begin());
    });
  }
  if (losses.size() != saved.source_choices.size()) {
    raise(invalid_input, "{}: receipt: want {} tokens, found {}", where, losses.size(), saved.source_choices.size());
  }
  double loss = 0, same = 0;
  for (size_t i = 0; i < losses.size(); ++i) {
    loss += losses[i];
    same += choices[i] == saved.source_choices[i] ? 1 : 0;
  }
  const auto count = static_cast<double>(losses.size());
  Quality found{.tokens = losses.size(), .perplexity = std::exp(loss / count), .top1_agreement = same / count};
  found.source_perplexity = saved.source_perplexity;
  return found;
}

Quality measure_against_source(const SourceModel& source, const EngineFile& file, size_t num_threads) {
  const std::string where = escaped(file.path());
  if (ModelConfig::from_json(file.metadata().model, where).to_json() != source.config.to_json()) {
    raise(incompatible, "--source: want the model that {} was built from, found another config", where);
  }
  std::vector<Format> formats;
  std::vector<Tensor> tensors;
  for (const TensorPlan& plan : source.plans) {
    tensors.push_back(file.tensor(plan.engine_name, plan.shape));
    formats.push_back(tensors.back().format);
  }
  const QualityRun::Rows rows = [&](size_t plan, size_t begin, size_t count) {
    const size_t bytes = tensors[plan].row_bytes();
    return std::span<const std::byte>(tensors[plan].data + begin * bytes, count * bytes);
  };
  QualityRun run(source, formats, rows, num_threads);
  for (size_t layer = 0; layer < source.config.num_layers; ++layer) {
    LayerTensors own;
    for (size_t i = 0; i < source.plans.size(); ++i) {
      const std::string name = name_in_layer(source.plans[i].engine_name, layer);
      if (!name.empty()) own.emplace(name, tensors[i]);
    }
    run.advance(layer, own);
  }
  return run.finish();
}

std::string quality_difference(const Quality& saved, const Quality& found, bool with_divergence) {
  const auto apart = [](double a, double b, double share, double absolute) {
    return !(std::fabs(a - b) <= share * std::fabs(a) + absolute);
  };
  if (apart(saved.perplexity, found.perplexity, kPerplexityShare, 0)) {
    return fmt::format("perplexity: want {:.5g}, found {:.5g}", saved.perplexity, found.perplexity);
  }
  if (apart(saved.top1_agreement, found.top1_agreement, 0, kAgreement)) {
    return fmt::format("same first choice: want {:.2f} %, found {:.2f} %", 100 * saved.top1_agreement, 100 * found.top1_agreement);
  }
  if (!with_divergence) return "";
  if (apart(saved.source_perplexity, found.source_perplexity, kPerplexityShare, 0)) {
    return fmt::format("perplexity of the source: want {:.5g}, found {:.5g}", saved.source_perplexity, found.source_perplexity);
  }
  if (apart(saved.kl_mean, found.kl_mean, kDivergenceShare, kDivergence)) {
    return fmt::format("KL mean: want {:.3g}, found {:.3g}", saved.kl_mean, found.kl_mean);
  }
  return "";
}

}  // namespace quern
