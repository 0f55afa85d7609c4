#include "builder/source_model.h"

#include <map>
#include <optional>
#include <utility>

#include "base/error.h"
#include "formats/list.h"
#include "text/vocabulary_files.h"

namespace quern {
namespace {

// The policy as it came out: what each kind of tensor became, and why when that is not what was asked for.
class PolicyRecord {
 public:
  explicit PolicyRecord(const WeightPolicy& policy) : rule_(policy.text()) {}

  void add(const TensorPlan& plan, const WeightPolicy::Choice& choice) {
    const char* format = format_name(choice.format);
    switch (plan.role) {
      case TensorRole::embedding: embedding_ = format; break;
      case TensorRole::head: head_ = format; break;
      case TensorRole::matrix: ++matrices_[format]; break;
      case TensorRole::vector: break;
    }
    if (!choice.reason.empty()) ++exceptions_[fmt::format("{}: {}: {}", kind_of(plan.engine_name), format, choice.reason)];
  }

  Json json() const {
    Json out = {{"rule", rule_}, {"embedding", embedding_}, {"matrices", matrices_}, {"vectors", "f32"}};
    out["head"] = head_.empty() ? Json("the embedding") : Json(head_);
    if (!exceptions_.empty()) out["exceptions"] = exceptions_;
    return out;
  }

 private:
  // "blk.7.down" -> "blk.*.down"
  static std::string kind_of(const std::string& name) {
    std::string kind;
    for (const char c : name) {
      const bool is_digit = c >= '0' && c <= '9';
      if (!is_digit) kind += c;
      if (is_digit && (kind.empty() || kind.back() != '*')) kind += '*';
    }
    return kind;
  }

  std::string rule_, embedding_, head_;
  std::map<std::string, size_t> matrices_;    // format -> how many
  std::map<std::string, size_t> exceptions_;  // kind: format: reason -> how many tensors
};

Tokenizer read_tokenizer(const Checkpoint& checkpoint) {
  if (checkpoint.kind() == Checkpoint::Kind::hugging_face) return Tokenizer::from_folder(checkpoint.path());
  const std::string where = escaped(checkpoint.path());
  const std::optional<Checkpoint::GgufTokenizer>& arrays = checkpoint.gguf_tokenizer();
  if (!arrays) raise(invalid_input, "{}: tokenizer.ggml.tokens: want a vocabulary, found none", where);
  const JsonFields metadata(checkpoint.config(), where);
  const std::string architecture = metadata.text({"general.architecture"});
  const auto flag = [&](const char* name) { return metadata.has(name) ? std::optional(metadata.flag(name, false)) : std::nullopt; };
  return Tokenizer(tokenizer_data_from_gguf({.architecture = architecture,
                                             .model = arrays->model,
                                             .pre = arrays->pre,
                                             .tokens = arrays->tokens,
                                             .token_types = arrays->token_types,
                                             .scores = arrays->scores,
                                             .merges = arrays->merges,
                                             .bos_id = metadata.optional_size({"tokenizer.ggml.bos_token_id"}, 0, kMaxVocabSize),
                                             .add_bos = flag("tokenizer.ggml.add_bos_token"),
                                             .add_space_prefix = flag("tokenizer.ggml.add_space_prefix")},
                                            where),
                   where);
}

}  // namespace

uint64_t SourceModel::num_parameters() const {
  uint64_t count = 0;
  for (const TensorPlan& plan : plans) count += static_cast<uint64_t>(plan.shape.rows()) * plan.shape.columns();
  return count;
}

uint64_t SourceModel::source_bytes() const {
  uint64_t bytes = 0;
  for (const auto& file : checkpoint.files()) bytes += file->size();
  return bytes;
}

SourceModel read_source_model(const std::string& path, const ConfigOptions& options) {
  Checkpoint checkpoint = Checkpoint::open(path);
  const ModelFamily& family = family_of(checkpoint);
  const ModelConfig config = read_model_config(family, checkpoint, options);
  std::vector<TensorPlan> plans = plan_tensors(family, config, checkpoint);
  Tokenizer tokenizer = read_tokenizer(checkpoint);
  if (tokenizer.num_tokens() > config.vocab_size) {
    raise(invalid_input, "{}: vocab_size: want at least the tokenizer's {} tokens, found {}", escaped(path), tokenizer.num_tokens(),
          config.vocab_size);
  }
  Prompting prompting = read_prompting(family, checkpoint, tokenizer);
  return {std::move(checkpoint), &family, config, std::move(plans), std::move(tokenizer), std::move(prompting)};
}

WeightFormats lay_out(const SourceModel& model, const WeightPolicy& policy, const std::map<std::string, Format>& chosen) {
  WeightFormats layout;
  PolicyRecord record(policy);
  for (const TensorPlan& plan : model.plans) {
    WeightPolicy::Choice choice = policy.choose(plan.role, plan.source->tensor.format, plan.shape.columns());
    if (const auto found = chosen.find(plan.engine_name); found != chosen.end()) choice = {found->second, ""};
    if (plan.source->packed && policy.dtype() == WeightDtype::automatic) choice.reason = plan.source->packed->wider_because();
    record.add(plan, choice);
    layout.formats.push_back(choice.format);
    layout.bytes += static_cast<uint64_t>(plan.shape.rows()) * row_bytes(choice.format, plan.shape.columns());
  }
  layout.record = record.json();
  return layout;
}

std::vector<EngineTensorInfo> engine_layout(const SourceModel& model, const WeightFormats& layout, size_t tokenizer_bytes) {
  std::vector<EngineTensorInfo> infos = {{.name = "tokenizer", .shape = Shape{tokenizer_bytes}, .is_raw = true, .bytes = tokenizer_bytes}};
  for (size_t i = 0; i < model.plans.size(); ++i) {
    const TensorPlan& plan = model.plans[i];
    const uint64_t bytes = static_cast<uint64_t>(plan.shape.rows()) * row_bytes(layout.formats[i], plan.shape.columns());
    infos.push_back({.name = plan.engine_name, .format = layout.formats[i], .shape = plan.shape, .bytes = bytes});
  }
  return infos;
}

}  // namespace quern
