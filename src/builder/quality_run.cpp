#include "builder/quality_run.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/thread_pool.h"
#include "builder/distribution_sums.h"
#include "builder/repack.h"
#include "formats/list.h"

namespace quern {
namespace {

constexpr size_t kSliceRows = 4096;  // of the vocabulary: their float32 logits of a thousand tokens are 17 MB

size_t plan_index(const SourceModel& model, const std::string& name) {
  const auto plan = std::ranges::find(model.plans, name, &TensorPlan::engine_name);
  CHECK(plan != model.plans.end(), "no tensor {}", name);
  return static_cast<size_t>(plan - model.plans.begin());
}

Tensor view_of(std::span<const std::byte> bytes, const Shape& shape, Format format) {
  return {.data = const_cast<std::byte*>(bytes.data()), .shape = shape, .format = format};
}
template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

// Logits of all rows of `hidden` over one slice of the vocabulary.
class HeadSlice {
 public:
  HeadSlice(const SourceModel& model, Backend& backend, std::vector<float> hidden, const std::vector<float>& norm)
      : model_(model), backend_(backend), hidden_(std::move(hidden)), norm_(norm), rows_(hidden_.size() / model.config.hidden_size) {
    sample_rows_.resize(rows_);
    std::iota(sample_rows_.begin(), sample_rows_.end(), 0);
  }

  size_t rows() const { return rows_; }
  std::span<const float> logits(std::span<const std::byte> weights, size_t count, Format format) {
    const size_t hidden = model_.config.hidden_size;
    logits_.resize(rows_ * count);
    const std::vector<Tensor> parts = {view_of(weights, {count, hidden}, format)};
    const LoadedWeight w = backend_.load_weight({.use = WeightUse::head, .parts = parts});
    HeadArgs args{.h = view_of(bytes_of(hidden_), {rows_, hidden}, Format::f32),
                  .batch = {},
                  .norm = view_of(bytes_of(norm_), {hidden}, Format::f32),
                  .norm_epsilon = static_cast<float>(model_.config.norm_epsilon),
                  .w = &w.weight,
                  .logits = view_of(bytes_of(logits_), {rows_, count}, Format::f32)};
    args.batch.num_tokens = args.batch.num_sample_rows = static_cast<int32_t>(rows_);
    args.batch.sample_rows = sample_rows_.data();
    backend_.require(args);
    backend_.head(args);
    return logits_;
  }

 private:
  const SourceModel& model_;
  Backend& backend_;
  std::vector<float> hidden_;
  const std::vector<float>& norm_;
  size_t rows_;
  std::vector<int32_t> sample_rows_;
  std::vector<float> logits_;
};

// With linear interpolation between neighbours.
double quantile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const double rest = place - static_cast<double>(below);
  return below + 1 < values.size() ? values[below] + rest * (values[below + 1] - values[below]) : values[below];
}

Quality summary(std::span<const DistributionSums> rows) {
  Quality quality{.tokens = rows.size()};
  std::vector<double> divergences;
  double source_loss = 0, engine_loss = 0, same = 0, sum = 0;
  for (const DistributionSums& row : rows) {
    divergences.push_back(row.divergence());
    sum += row.divergence();
    source_loss += row.p_loss();
    engine_loss += row.q_loss();
    same += row.p_choice() == row.q_choice() ? 1 : 0;
    quality.source_choices.push_back(static_cast<uint32_t>(row.p_choice()));
  }
  const auto count = static_cast<double>(rows.size());
  if (!std::isfinite(sum) || !std::isfinite(source_loss) || !std::isfinite(engine_loss)) {
    raise(invalid_input, "quality text: a probability is not a number");
  }
  quality.kl_mean = sum / count;
  quality.kl_p99 = quantile(std::move(divergences), 0.99);
  quality.top1_agreement = same / count;
  quality.source_perplexity = std::exp(source_loss / count);
  quality.perplexity = std::exp(engine_loss / count);
  return quality;
}

}  // namespace

QualityRun::QualityRun(const SourceModel& model, std::span<const Format> formats, Rows rows, size_t num_threads)
    : model_(model),
      formats_(formats.begin(), formats.end()),
      rows_(std::move(rows)),
      backend_({.num_threads = num_threads}),
      windows_(quality_windows(model.tokenizer, model.config)) {
  ThreadPool& pool = *backend_.runtime().stream().pool;
  const TokenSequences& sequences = windows_.sequences;
  source_ = std::make_unique<LayerRun>(model, backend_, sequences, embed_source(model, sequences.ids, pool), Format::f32);
  // The KV cache that the engine runs with by default.
  bool is_narrow = false;
  for (size_t i = 0; i < model.plans.size(); ++i) is_narrow |= model.plans[i].shape.rank() == 2 && formats_[i] != Format::f32;
  engine_ = std::make_unique<LayerRun>(model, backend_, sequences, embed_engine(), is_narrow ? Format::f16 : Format::f32);
}

std::vector<float> QualityRun::embed_engine() {
  const size_t plan = plan_index(model_, "embed"), hidden = model_.config.hidden_size;
  const FormatInfo& format = format_info(formats_[plan]);
  const std::vector<TokenId>& ids = windows_.sequences.ids;
  std::vector<float> values(ids.size() * hidden);
  for (size_t i = 0; i < ids.size(); ++i)
    format.unpack(rows_(plan, static_cast<size_t>(ids[i]), 1).data(), hidden, values.data() + i * hidden);
  return values;
}

void QualityRun::advance(size_t layer, const LayerTensors& engine) {
  {
    const LayerValues values = load_layer(model_, layer, *backend_.runtime().stream().pool);
    source_->advance(layer, views_of(model_, layer, values));
  }
  engine_->advance(layer, engine);
}

// The rows of the hidden state that predict a token that counts.
std::vector<float> QualityRun::counted_rows(const LayerRun& run) const {
  const size_t hidden = model_.config.hidden_size, length = windows_.sequences.length;
  std::vector<float> rows;
  for (size_t s = 0; s < windows_.sequences.count; ++s) {
    const float* all = run.hidden().data() + s * length * hidden;
    rows.insert(rows.end(), all + (windows_.first_target - 1) * hidden, all + (length - 1) * hidden);
  }
  return rows;
}

Quality QualityRun::finish() {
  const size_t norm_plan = plan_index(model_, "norm"), hidden = model_.config.hidden_size;
  const size_t head_plan = plan_index(model_, model_.config.tied_embeddings ? "embed" : "head");
  std::vector<float> norm(hidden);
  format_info(formats_[norm_plan]).unpack(rows_(norm_plan, 0, 1).data(), hidden, norm.data());
  HeadSlice source(model_, backend_, counted_rows(*source_), norm), engine(model_, backend_, counted_rows(*engine_), norm);
  std::vector<size_t> targets;
  for (size_t s = 0; s < windows_.sequences.count; ++s) {
    for (size_t t = windows_.first_target; t < windows_.sequences.length; ++t) {
      targets.push_back(static_cast<size_t>(windows_.sequences.ids[s * windows_.sequences.length + t]));
    }
  }
  ThreadPool& pool = *backend_.runtime().stream().pool;
  const TensorPlan& plan = model_.plans[head_plan];
  const TensorRepacker values(plan, model_.config, Format::f32, escaped(plan.engine_name));
  std::vector<std::byte> room(kSliceRows * values.row_bytes());
  std::vector<DistributionSums> rows(targets.size());
  for (size_t begin = 0; begin < plan.shape.rows(); begin += kSliceRows) {
    const size_t count = std::min(kSliceRows, plan.shape.rows() - begin);
    const std::span<const float> p = source.logits(values.make_rows(begin, count, room, pool), count, Format::f32);
    const std::span<const float> q = engine.logits(rows_(head_plan, begin, count), count, formats_[head_plan]);
    pool.parallel_for(rows.size(), 1, [&](size_t from, size_t to) {
      for (size_t r = from; r < to; ++r) rows[r].add(p.subspan(r * count, count), q.subspan(r * count, count), begin, targets[r]);
    });
  }
  return summary(rows);
}

}  // namespace quern
