// The source of every engine tensor: names by the family's rules, shapes by the config, and nothing left over.
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/log.h"
#include "base/parse.h"
#include "models/family.h"

namespace quern {
namespace {

constexpr size_t kMostNamed = 5;  // unknown tensors shown in one message

// Buffers that old versions of transformers saved; they hold no weights.
constexpr const char* kHarmlessEndings[] = {".rotary_emb.inv_freq", ".attn.masked_bias", ".attn.bias"};
constexpr const char* kQuantizedEndings[] = {".qweight",      ".qzeros",           ".g_idx",        ".scales",
                                             ".weight_scale", ".weight_scale_inv", ".weight_packed"};

bool ends_with_any(std::string_view name, std::span<const char* const> endings) {
  return std::ranges::any_of(endings, [&](const char* ending) { return name.ends_with(ending); });
}

std::string shown(const SourceTensor& source) { return fmt::format("[{}] {}", fmt::join(source.dims, ","), escaped(source.dtype, 20)); }

const TensorRule* rule_for(std::span<const TensorRule> rules, std::string_view engine) {
  const auto found = std::ranges::find(rules, engine, [](const TensorRule& rule) { return std::string_view(rule.engine); });
  return found == rules.end() ? nullptr : &*found;
}

bool is_third(RowSource how) { return how == RowSource::third_0 || how == RowSource::third_1 || how == RowSource::third_2; }

Shape source_shape(const Shape& engine, RowSource how) {
  const size_t rows = is_third(how) ? 3 * engine[0] : engine[0];
  return engine.rank() == 1 ? Shape{rows} : Shape{rows, engine[1]};
}

bool same_values(const SourceTensor& one, const SourceTensor& other) {
  const Tensor &a = one.tensor, &b = other.tensor;
  if (a.shape != b.shape) return false;
  if (a && b && a.format == b.format) return std::memcmp(a.data, b.data, a.bytes()) == 0;
  std::vector<float> left(a.columns()), right(a.columns());
  std::vector<std::byte> made;
  for (size_t row = 0; row < a.rows(); ++row) {
    format_info(a.format).unpack(one.rows(row, 1, made), left.size(), left.data());
    format_info(b.format).unpack(other.rows(row, 1, made), right.size(), right.data());
    if (left != right) return false;
  }
  return true;
}

// Some programs write a bias of zeros for every quantized matrix.
bool is_zero_bias(const Checkpoint& checkpoint, const SourceTensor& bias) {
  constexpr std::string_view kEnding = ".bias";
  if (!bias.name.ends_with(kEnding) || !bias.tensor) return false;
  const SourceTensor* weight = checkpoint.find(bias.name.substr(0, bias.name.size() - kEnding.size()) + ".weight");
  if (weight == nullptr || !weight->packed || bias.tensor.shape.rank() != 1) return false;
  std::vector<float> values(bias.tensor.columns());
  format_info(bias.tensor.format).unpack(bias.tensor.data, values.size(), values.data());
  return std::ranges::all_of(values, [](float value) { return value == 0; });
}

class Planner {
 public:
  Planner(const ModelFamily& family, const ModelConfig& config, const Checkpoint& checkpoint)
      : config_(config), checkpoint_(checkpoint), rules_(checkpoint.kind() == Checkpoint::Kind::gguf ? family.gguf_rules : family.rules) {}

  std::vector<TensorPlan> plan() {
    refuse_quantized();
    std::vector<TensorPlan> plans;
    for (const EngineTensor& tensor : engine_tensors(config_)) plans.push_back(resolve(tensor));
    check_tied_head();
    refuse_leftovers();
    return plans;
  }

 private:
  TensorPlan resolve(const EngineTensor& tensor) {
    const TensorRule* rule = rule_for(rules_, tensor.row->name);
    CHECK(rule != nullptr, "no rule for {}", tensor.row->name);
    const std::string name = layer_tensor_name(rule->source, tensor.layer);
    const Shape want = source_shape(tensor.shape, rule->how);
    const SourceTensor* source = checkpoint_.find(name);
    if (source == nullptr) {
      const char* hint = tensor.role == TensorRole::head ? " (tie_word_embeddings is false)" : "";
      raise(invalid_input, "{}: {}: want {}, found no such tensor{}", checkpoint_.path(), name, want.text(), hint);
    }
    const Tensor& found = source->weight(checkpoint_.path());
    if (found.shape != want) {
      const bool other_vocab = tensor.row->rows == Dim::vocab && found.shape.rank() == 2 && found.shape[1] == want[1];
      if (other_vocab)
        raise(invalid_input, "{}: {}: vocab_size is {}, the tensor has {} rows", checkpoint_.path(), name, want[0], found.shape[0]);
      raise(invalid_input, "{}: {}: want {}, file has {}", checkpoint_.path(), name, want.text(), shown(*source));
    }
    used_.insert(name);
    return {tensor.name, tensor.shape, tensor.role, rule->how, source};
  }

  // A head beside tied embeddings is accepted when it says the same.
  void check_tied_head() {
    if (!config_.tied_embeddings) return;
    const TensorRule *head = rule_for(rules_, "head"), *embed = rule_for(rules_, "embed");
    const SourceTensor* found = checkpoint_.find(head->source);
    if (found == nullptr) return;
    found->weight(checkpoint_.path());
    if (!same_values(*found, *checkpoint_.find(embed->source))) {
      raise(invalid_input, "{}: {}: tie_word_embeddings is true but its values differ from {}", checkpoint_.path(), head->source,
            embed->source);
    }
    log_info("{}: {} equals {}; tied", checkpoint_.path(), head->source, embed->source);
    used_.insert(head->source);
  }

  void refuse_quantized() const {
    for (const char* ending : kQuantizedEndings) {
      const auto found = std::ranges::find_if(checkpoint_.tensors(), [&](const auto& entry) { return entry.first.ends_with(ending); });
      if (found == checkpoint_.tensors().end()) continue;
      raise(incompatible,
            "{}: {}: a part of a quantized weight: want a quantization_config in config.json that names its method, found none that does",
            checkpoint_.path(), escaped(found->first, 80));
    }
  }

  // Whether `name` is a tensor of this architecture in a layer that the config does not count.
  bool is_of_later_layer(std::string_view name) const {
    return std::ranges::any_of(rules_, [&](const TensorRule& rule) {
      const std::string_view source = rule.source;
      const size_t star = source.find('*');
      if (star == source.npos || name.size() < source.size() || !name.starts_with(source.substr(0, star)) ||
          !name.ends_with(source.substr(star + 1)))
        return false;
      const auto layer = parse_number<uint64_t>(name.substr(star, name.size() - (source.size() - 1)));
      return layer && *layer >= config_.num_layers;
    });
  }

  void refuse_leftovers() const {
    std::string names;
    size_t count = 0;
    for (const auto& [name, tensor] : checkpoint_.tensors()) {
      if (used_.contains(name) || ends_with_any(name, kHarmlessEndings) || name == "rope_freqs.weight") continue;
      if (is_zero_bias(checkpoint_, tensor)) continue;
      if (is_of_later_layer(name)) {
        raise(invalid_input, "{}: {}: want the tensors of num_layers {}, as the config says, found a later layer", checkpoint_.path(),
              escaped(name, 80), config_.num_layers);
      }
      if (count++ < kMostNamed) names += fmt::format("{}{} {}", count == 1 ? "" : ", ", escaped(name, 80), shown(tensor));
    }
    if (count == 0) return;
    raise(incompatible, "{}: {} tensor{} that this architecture does not have: {}{}", checkpoint_.path(), count, count == 1 ? "" : "s",
          names, count > kMostNamed ? ", ..." : "");
  }

  const ModelConfig& config_;
  const Checkpoint& checkpoint_;
  std::span<const TensorRule> rules_;
  std::set<std::string, std::less<>> used_;
};

}  // namespace

std::vector<TensorPlan> plan_tensors(const ModelFamily& family, const ModelConfig& config, const Checkpoint& checkpoint) {
  return Planner(family, config, checkpoint).plan();
}

size_t source_row(const TensorPlan& plan, const ModelConfig& config, size_t row) {
  switch (plan.how) {
    case RowSource::whole:
    case RowSource::third_0: return row;
    case RowSource::third_1: return plan.shape[0] + row;
    case RowSource::third_2: return 2 * plan.shape[0] + row;
    case RowSource::unpermute_heads: {
      const size_t half = config.head_dim / 2, head = row / config.head_dim, within = row % config.head_dim;
      return head * config.head_dim + 2 * (within % half) + within / half;
    }
  }
  raise(internal, "row source {}", static_cast<int>(plan.how));
}

}  // namespace quern
