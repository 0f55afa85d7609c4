#include "builder/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "base/error.h"
#include "base/thread_pool.h"
#include "builder/int4_scale.h"
#include "builder/repack.h"
#include "formats/list.h"

namespace quern {
namespace {

constexpr size_t kSequences = 4, kSequenceTokens = 64;
constexpr LayerInput kInputs[] = {LayerInput::qkv, LayerInput::out, LayerInput::gate_up, LayerInput::down};

// Sum over rows and columns of the squared rounding error times what the inputs weigh; `rounded` gets what the rows mean.
double rounding_cost(std::span<const float> values, size_t columns, Format format, std::span<const double> weights,
                     std::span<float> rounded, ThreadPool& pool) {
  const FormatInfo& info = format_info(format);
  const size_t rows = values.size() / columns, bytes = row_bytes(format, columns);
  std::vector<double> costs(rows);
  pool.parallel_for(rows, 16, [&](size_t from, size_t to) {
    std::vector<std::byte> packed(bytes);
    for (size_t r = from; r < to; ++r) {
      const float* row = values.data() + r * columns;
      float* meant = rounded.data() + r * columns;
      pack_row(info, row, columns, packed.data());
      info.unpack(packed.data(), columns, meant);
      for (size_t i = 0; i < columns; ++i) costs[r] += weights[i] * std::pow(static_cast<double>(row[i]) - meant[i], 2);
    }
  });
  return std::accumulate(costs.begin(), costs.end(), 0.0);
}

// Power of a - b as share of b's.
double relative_power(std::span<const float> a, std::span<const float> b) {
  double off = 0, power = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    off += std::pow(static_cast<double>(a[i]) - b[i], 2);
    power += static_cast<double>(b[i]) * b[i];
  }
  return power > 0 ? off / power : 0;
}

class Measurement {
 public:
  Measurement(const SourceModel& model, std::string_view text, std::span<const Format> formats, size_t num_threads)
      : model_(model),
        formats_(formats.begin(), formats.end()),
        backend_({.num_threads = num_threads}),
        pool_(*backend_.runtime().stream().pool) {
    TokenSequences sequences = spread_sequences(model.tokenizer.encode(text, Tokenizer::Specials::as_text), kSequences, kSequenceTokens);
    std::vector<float> hidden = embed_source(model, sequences.ids, pool_);
    run_ = std::make_unique<LayerRun>(model, backend_, std::move(sequences), std::move(hidden), Format::f32);
  }

  std::vector<TensorCosts> measure(const std::function<bool(size_t plan)>& is_free, const std::function<void()>& progress) {
    std::vector<TensorCosts> costs;
    for (size_t i = 0; i < model_.plans.size(); ++i) {
      if (model_.plans[i].role == TensorRole::vector || !is_free(i)) continue;
      costs.push_back({i, {}});
      for (const Format format : formats_) {
        const Shape& shape = model_.plans[i].shape;
        if (shape.columns() % format_info(format).block_values != 0) continue;
        costs.back().formats.push_back({format, static_cast<uint64_t>(shape.rows()) * row_bytes(format, shape.columns()), 0});
      }
      if (costs.back().formats.empty()) costs.pop_back();
    }
    std::map<std::string, TensorCosts*> by_name;
    for (TensorCosts& tensor : costs) by_name[model_.plans[tensor.plan].engine_name] = &tensor;
    if (const auto embed = by_name.find("embed"); embed != by_name.end()) open_embedding_copy(*embed->second);
    for (size_t layer = 0; layer < model_.config.num_layers; ++layer) {
      if (progress) progress();
      measure_layer(layer, by_name);
    }
    finish(by_name);
    return costs;
  }

 private:
  // A run in which some tensors are rounded, and the part of each in what it comes to.
  struct Copy {
    std::vector<float> hidden;
    std::vector<std::pair<TensorCosts*, double>> parts;
  };

  void open_embedding_copy(TensorCosts& tensor) {
    const size_t hidden = model_.config.hidden_size;
    std::vector<float> rounded(run_->hidden().size());
    const std::vector<double> ones(hidden, 1.0);
    for (size_t f = tensor.formats.size(); f-- > 0;) {  // the narrowest is the last to be rounded and what the copy has
      tensor.formats[f].cost = rounding_cost(run_->hidden(), hidden, tensor.formats[f].format, ones, rounded, pool_);
    }
    copies_.push_back({std::move(rounded), {{&tensor, 1.0}}});
  }

  void measure_layer(size_t layer, const std::map<std::string, TensorCosts*>& by_name) {
    const LayerValues values = load_layer(model_, layer, pool_);
    const LayerTensors own = views_of(model_, layer, values);
    std::map<LayerInput, std::vector<double>> weights;
    run_->watch(layer, own, [&](LayerInput input, const Tensor& rows) {
      std::vector<double>& squares = weights[input];
      squares.resize(rows.columns());
      for (size_t t = 0; t < rows.rows(); ++t) {
        for (size_t i = 0; i < squares.size(); ++i) squares[i] += static_cast<double>(rows.f32(t)[i]) * rows.f32(t)[i];
      }
    });
    for (Copy& copy : copies_) run_->step(layer, own, copy.hidden);
    std::vector<float> whole = run_->hidden();
    run_->step(layer, own, whole);
    LayerValues rounded;
    Copy copy;
    double parts = 0;
    for (const LayerInput input : kInputs) {
      for (const char* name : readers_of(input)) {
        const auto found = by_name.find(fmt::format("blk.{}.{}", layer, name));
        if (found == by_name.end()) continue;
        TensorCosts& tensor = *found->second;
        std::vector<float>& narrow = rounded[name];
        narrow.resize(values.at(name).size());
        for (size_t f = tensor.formats.size(); f-- > 0;) {
          tensor.formats[f].cost =
              rounding_cost(values.at(name), own.at(name).columns(), tensor.formats[f].format, weights.at(input), narrow, pool_);
        }
        LayerTensors changed = own;
        changed[name].data = reinterpret_cast<std::byte*>(narrow.data());
        std::vector<float> hidden = run_->hidden();
        run_->step(layer, changed, hidden);
        copy.parts.emplace_back(&tensor, relative_power(hidden, whole));
        parts += copy.parts.back().second;
      }
    }
    if (!copy.parts.empty()) {
      LayerTensors all = own;
      for (auto& [name, narrow] : rounded) all[name].data = reinterpret_cast<std::byte*>(narrow.data());
      copy.hidden = run_->hidden();
      run_->step(layer, all, copy.hidden);
      for (auto& [tensor, part] : copy.parts) part = parts > 0 ? part / parts : 1 / static_cast<double>(copy.parts.size());
      copies_.push_back(std::move(copy));
    }
    run_->advance(layer, own);
  }

  // The last hidden state as the head reads it.
  std::vector<float> normed(const std::vector<float>& hidden, const std::vector<float>& norm) const {
    const size_t columns = norm.size();
    std::vector<float> rows(hidden.size());
    for (size_t begin = 0; begin < hidden.size(); begin += columns) {
      double squares = 0;
      for (size_t i = 0; i < columns; ++i) squares += static_cast<double>(hidden[begin + i]) * hidden[begin + i];
      const auto factor = static_cast<float>(1 / std::sqrt(squares / static_cast<double>(columns) + model_.config.norm_epsilon));
      for (size_t i = 0; i < columns; ++i) rows[begin + i] = hidden[begin + i] * factor * norm[i];
    }
    return rows;
  }

  void finish(const std::map<std::string, TensorCosts*>& by_name) {
    const std::vector<float> norm = tensor_values(model_, "norm", pool_);
    const std::vector<float> last = normed(run_->hidden(), norm);
    for (const Copy& copy : copies_) {
      const double change = relative_power(normed(copy.hidden, norm), last);
      for (const auto& [tensor, part] : copy.parts) {
        const double narrowest = tensor->formats.front().cost;
        for (FormatCost& format : tensor->formats) format.cost = narrowest > 0 ? change * part * format.cost / narrowest : 0;
      }
    }
    const auto head = by_name.find(model_.config.tied_embeddings ? "embed" : "head");
    if (head != by_name.end()) add_head_costs(*head->second, last);
  }

  // A change of the logits counts as one of the hidden state of the same share. A tied embedding pays for both of its uses.
  void add_head_costs(TensorCosts& tensor, const std::vector<float>& last) {
    const TensorPlan& plan = model_.plans[tensor.plan];
    const size_t columns = plan.shape.columns(), slice = 4096;
    std::vector<double> weights(columns), costs(tensor.formats.size());
    for (size_t i = 0; i < last.size(); ++i) weights[i % columns] += static_cast<double>(last[i]) * last[i];
    const TensorRepacker repacker(plan, model_.config, Format::f32, escaped(plan.engine_name));
    std::vector<std::byte> room(slice * repacker.row_bytes());
    std::vector<float> values(slice * columns), rounded(slice * columns);
    double power = 0;
    for (size_t begin = 0; begin < plan.shape.rows(); begin += slice) {
      const size_t count = std::min(slice, plan.shape.rows() - begin);
      const std::span<const std::byte> bytes = repacker.make_rows(begin, count, room, pool_);
      std::memcpy(values.data(), bytes.data(), bytes.size());  // a source's own bytes lie where its file has them
      const std::span<const float> rows = std::span(values).first(count * columns);
      for (size_t i = 0; i < rows.size(); ++i) power += weights[i % columns] * rows[i] * rows[i];
      for (size_t f = 0; f < costs.size(); ++f) {
        costs[f] += rounding_cost(rows, columns, tensor.formats[f].format, weights, std::span(rounded).first(rows.size()), pool_);
      }
    }
    for (size_t f = 0; f < costs.size(); ++f) tensor.formats[f].cost += power > 0 ? costs[f] / power : 0;
  }

  const SourceModel& model_;
  std::vector<Format> formats_;
  Backend backend_;
  ThreadPool& pool_;
  std::unique_ptr<LayerRun> run_;
  std::vector<Copy> copies_;
};

}  // namespace

std::vector<TensorCosts> measure_sensitivity(const SourceModel& model, std::string_view text, std::span<const Format> formats,
                                             const std::function<bool(size_t plan)>& is_free, size_t num_threads,
                                             const std::function<void()>& progress) {
  return Measurement(model, text, formats, num_threads).measure(is_free, progress);
}

std::vector<Format> spend_bytes(std::span<const TensorCosts> tensors, uint64_t most_bytes) {
  std::vector<size_t> chosen(tensors.size());
  uint64_t bytes = 0;
  for (const TensorCosts& tensor : tensors) bytes += tensor.formats.front().bytes;
  if (bytes > most_bytes) {
    raise(usage, "--target-bpw: want at least {} bytes for the matrices in the narrowest formats, found {} left for them", bytes,
          most_bytes);
  }
  for (;;) {
    double best_rate = 0;
    size_t best = 0, best_format = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      const std::vector<FormatCost>& formats = tensors[i].formats;
      for (size_t f = chosen[i] + 1; f < formats.size(); ++f) {
        const uint64_t more = formats[f].bytes - formats[chosen[i]].bytes;
        const double rate = (formats[chosen[i]].cost - formats[f].cost) / static_cast<double>(more);
        if (more <= most_bytes - bytes && rate > best_rate) best_rate = rate, best = i, best_format = f;
      }
    }
    if (best_rate <= 0) break;
    bytes += tensors[best].formats[best_format].bytes - tensors[best].formats[chosen[best]].bytes;
    chosen[best] = best_format;
  }
  std::vector<Format> formats;
  for (size_t i = 0; i < tensors.size(); ++i) formats.push_back(tensors[i].formats[chosen[i]].format);
  return formats;
}

}  // namespace quern
