#include "models/family.h"

#include <algorithm>

#include "base/log.h"
#include "models/families/list.h"

namespace quern {
namespace {

std::string architecture_list(Checkpoint::Kind kind) {
  std::string list;
  for (const ModelFamily* family : kModelFamilies) {
    for (const char* name : kind == Checkpoint::Kind::gguf ? family->gguf_architectures : family->architectures) {
      list += fmt::format("{}{}", list.empty() ? "" : ", ", name);
    }
  }
  return list;
}

// The architecture's name and what a message calls its place.
std::pair<std::string, std::string> architecture_of(const Checkpoint& checkpoint) {
  if (checkpoint.kind() == Checkpoint::Kind::gguf) {
    const JsonFields fields(checkpoint.config(), checkpoint.path());
    return {fields.text({"general.architecture"}), fmt::format("{}: general.architecture", checkpoint.path())};
  }
  const std::string where = fmt::format("{}/config.json", checkpoint.path());
  const JsonFields fields(checkpoint.config(), where);
  const Json* names = fields.has("architectures") ? &fields.raw().at("architectures") : nullptr;
  if (names == nullptr || !names->is_array() || names->empty() || !names->front().is_string()) {
    raise(invalid_input, "{}: architectures: want a list with a name, found {}", where, names == nullptr ? "nothing" : "another value");
  }
  return {names->front().get<std::string>(), fmt::format("{}: architectures", where)};
}

const char* reason_for(std::string_view architecture) {
  const bool is_moe = architecture.find("Moe") != architecture.npos || architecture.find("moe") != architecture.npos ||
                      architecture.find("Mixtral") != architecture.npos;
  return is_moe ? "mixture-of-experts models are not supported; " : "";
}

void refuse_quantized_config(const Checkpoint& checkpoint) {
  for (const char* name : {"quantization_config", "quantization", "compression_config"}) {
    if (checkpoint.is_packed() && std::string_view(name) == "quantization_config") continue;
    const Json& config = checkpoint.config();
    const auto found = config.find(name);
    if (found == config.end() || found->is_null()) continue;
    std::string method = "an unnamed method";
    if (found->is_object() && found->contains("quant_method") && found->at("quant_method").is_string()) {
      method = escaped(found->at("quant_method").get<std::string>(), 40);
    }
    raise(incompatible, "{}/config.json: {}: quantized checkpoints ({}) are not read; want the f32, f16 or bf16 checkpoint, or a GGUF",
          checkpoint.path(), name, method);
  }
}

// What a GGUF says by its tensors alone.
void read_gguf_tensors(ModelConfig& config, const Checkpoint& checkpoint) {
  config.tied_embeddings = checkpoint.find("output.weight") == nullptr;
  const SourceTensor* embed = checkpoint.find("token_embd.weight");
  if (config.vocab_size == 0 && embed != nullptr)
    config.vocab_size = static_cast<uint32_t>(std::min(embed->tensor.rows(), kMaxVocabSize + 1));
  config.qkv_bias = config.qkv_bias || checkpoint.find("blk.0.attn_q.bias") != nullptr;
  const SourceTensor* divisors = checkpoint.find("rope_freqs.weight");
  if (divisors == nullptr) return;
  if (config.rope.scaling != RopeConfig::Scaling::none) {
    raise(incompatible, "{}: rope_freqs.weight: a second rope scaling beside the one of the keys", checkpoint.path());
  }
  const Tensor& tensor = divisors->weight(checkpoint.path());
  if (tensor.shape != Shape{config.rope.rotary_dims / 2}) {
    raise(invalid_input, "{}: rope_freqs.weight: want [{}], file has {} {}", checkpoint.path(), config.rope.rotary_dims / 2,
          tensor.shape.text(), divisors->dtype);
  }
  config.rope.scaling = RopeConfig::Scaling::divided;
  config.rope.divisors.resize(tensor.columns());
  format_info(tensor.format).unpack(tensor.data, tensor.columns(), config.rope.divisors.data());
}

}  // namespace

std::span<const ModelFamily* const> model_families() { return kModelFamilies; }

const ModelFamily& family_of(const Checkpoint& checkpoint) {
  const auto [name, where] = architecture_of(checkpoint);
  for (const ModelFamily* family : kModelFamilies) {
    const auto& names = checkpoint.kind() == Checkpoint::Kind::gguf ? family->gguf_architectures : family->architectures;
    if (std::ranges::find(names, std::string_view(name)) != names.end()) return *family;
  }
  raise(incompatible, "{}: {}want one of {}, found \"{}\"", where, reason_for(name), architecture_list(checkpoint.kind()),
        escaped(name, 80));
}

const ModelFamily& find_family(std::string_view name) {
  for (const ModelFamily* family : kModelFamilies) {
    if (name == family->name) return *family;
  }
  std::vector<std::string_view> names;
  for (const ModelFamily* family : kModelFamilies) names.emplace_back(family->name);
  raise(incompatible, "model family: want one of {}, found \"{}\"", fmt::join(names, ", "), escaped(name, 80));
}

ModelConfig read_model_config(const ModelFamily& family, const Checkpoint& checkpoint, const ConfigOptions& options) {
  ModelConfig config;
  std::string where = checkpoint.path();
  if (checkpoint.kind() == Checkpoint::Kind::gguf) {
    config = family.read_gguf_config(JsonFields(checkpoint.config(), where), options);
    read_gguf_tensors(config, checkpoint);
  } else {
    where += "/config.json";
    refuse_quantized_config(checkpoint);
    config = family.read_config(JsonFields(checkpoint.config(), where));
    if (checkpoint.config().contains("auto_map")) log_info("{}: auto_map names code, which is never run", where);
  }
  config.family = family.name;
  config.check(where);
  return config;
}

}  // namespace quern
