#include "models/model_config.h"

#include <algorithm>
#include <iterator>

#include "base/checked.h"
#include "models/config_fields.h"

namespace quern {
namespace {

using Scaling = RopeConfig::Scaling;

constexpr const char* kScalingNames[] = {"none", "linear", "yarn", "llama3", "divided", "qwen_ntk"};  // by enumerator

constexpr double kMostFactor = 1e6, kMostBase = 1e15;

Json rope_to_json(const RopeConfig& rope) {
  Json json = {{"scaling", kScalingNames[static_cast<size_t>(rope.scaling)]},
               {"base", rope.base},
               {"rotary_dims", rope.rotary_dims},
               {"factor", rope.factor},
               {"original_context", rope.original_context}};
  if (rope.scaling == Scaling::yarn) {
    json.update({{"beta_fast", rope.beta_fast},
                 {"beta_slow", rope.beta_slow},
                 {"attention_factor", rope.attention_factor},
                 {"truncate", rope.truncate}});
  }
  if (rope.scaling == Scaling::llama3)
    json.update({{"low_freq_factor", rope.low_freq_factor}, {"high_freq_factor", rope.high_freq_factor}});
  if (rope.scaling == Scaling::divided) json["divisors"] = rope.divisors;
  return json;
}

RopeConfig rope_from_json(ConfigFields fields) {
  RopeConfig rope;
  const std::string scaling = fields.optional_text({"scaling"}).value_or("");
  const auto* const name = std::ranges::find(kScalingNames, scaling, [](const char* text) { return std::string_view(text); });
  if (name == std::end(kScalingNames)) {
    raise(incompatible, "{}: scaling: want one of {}, found \"{}\"", fields.where(), fmt::join(kScalingNames, ", "), escaped(scaling));
  }
  rope.scaling = static_cast<Scaling>(name - std::begin(kScalingNames));
  rope.base = fields.number({"base"}, 1, kMostBase);
  rope.rotary_dims = fields.size({"rotary_dims"}, 2, kMaxHeadDim);
  rope.factor = fields.number({"factor"}, 1 / kMostFactor, kMostFactor);
  rope.original_context = fields.size({"original_context"}, 0, kMaxPositions);
  if (rope.scaling == Scaling::yarn) {
    rope.beta_fast = fields.number({"beta_fast"}, 0, kMostFactor);
    rope.beta_slow = fields.number({"beta_slow"}, 0, kMostFactor);
    rope.attention_factor = fields.number({"attention_factor"}, 0, kMostFactor);
    rope.truncate = fields.flag("truncate", true);
  }
  if (rope.scaling == Scaling::llama3) {
    rope.low_freq_factor = fields.number({"low_freq_factor"}, 0, kMostFactor);
    rope.high_freq_factor = fields.number({"high_freq_factor"}, 0, kMostFactor);
  }
  if (fields.has("divisors")) {
    const Json& divisors = fields.raw().raw().at("divisors");
    const bool are_numbers = divisors.is_array() && std::ranges::all_of(divisors, [](const Json& d) { return d.is_number(); });
    if (!are_numbers) raise(invalid_input, "{}: divisors: want a list of numbers", fields.where());
    rope.divisors = divisors.get<std::vector<float>>();
  }
  fields.refuse_unread();
  return rope;
}

std::vector<uint32_t> windows_from_json(ConfigFields& fields, uint32_t num_layers) {
  if (!fields.has("windows")) return std::vector<uint32_t>(num_layers, 0);
  std::vector<uint32_t> windows;
  for (const int64_t window : fields.raw().optional_ids("windows")) {
    if (window < 0 || window > static_cast<int64_t>(kMaxPositions)) {
      raise(invalid_input, "{}: windows: want integers from 0 to {}, found {}", fields.where(), kMaxPositions, window);
    }
    windows.push_back(static_cast<uint32_t>(window));
  }
  return windows;
}

void want_range(const std::string& where, const char* field, uint64_t value, uint64_t min, uint64_t max) {
  if (value < min || value > max) raise(invalid_input, "{}: {}: want an integer from {} to {}, found {}", where, field, min, max, value);
}

void want_number(const std::string& where, const char* field, double value, bool holds, const char* wanted) {
  if (!holds) raise(invalid_input, "{}: {}: want {}, found {}", where, field, wanted, value);
}

void check_rope(const RopeConfig& rope, const ModelConfig& config, const std::string& where) {
  want_range(where, "rope: rotary_dims", rope.rotary_dims, 2, config.head_dim);
  if (rope.rotary_dims % 2 != 0) raise(invalid_input, "{}: rope: rotary_dims: want an even number, found {}", where, rope.rotary_dims);
  want_number(where, "rope: base", rope.base, rope.base > 1 && rope.base <= kMostBase, "a number above 1, at most 1e15");
  want_number(where, "rope: factor", rope.factor, rope.factor >= 1 / kMostFactor && rope.factor <= kMostFactor,
              "a number from 1e-6 to 1e6");
  const bool needs_context = rope.scaling == Scaling::yarn || rope.scaling == Scaling::llama3 || rope.scaling == Scaling::qwen_ntk;
  if (needs_context) want_range(where, "rope: original context", rope.original_context, 1, kMaxPositions);
  if (rope.scaling == Scaling::yarn) {
    want_number(where, "rope: beta_fast", rope.beta_fast, rope.beta_fast > 0 && rope.beta_fast <= kMostFactor,
                "a number above 0, at most 1e6");
    want_number(where, "rope: beta_slow", rope.beta_slow, rope.beta_slow > 0 && rope.beta_slow <= kMostFactor,
                "a number above 0, at most 1e6");
    want_number(where, "rope: attention_factor", rope.attention_factor, rope.attention_factor >= 0 && rope.attention_factor <= kMostFactor,
                "a number from 0 to 1e6");
  }
  if (rope.scaling == Scaling::llama3) {
    const bool bands = rope.low_freq_factor > 0 && rope.high_freq_factor > rope.low_freq_factor;
    want_number(where, "rope: high_freq_factor", rope.high_freq_factor, bands, "more than low_freq_factor, and that above 0");
  }
  if (rope.scaling == Scaling::divided) {
    if (rope.divisors.size() != rope.rotary_dims / 2) {
      raise(invalid_input, "{}: rope: divisors: want {} numbers, found {}", where, rope.rotary_dims / 2, rope.divisors.size());
    }
    for (const float divisor : rope.divisors) {
      want_number(where, "rope: divisor", divisor, divisor >= 1 / kMostFactor && divisor <= kMostFactor, "a number from 1e-6 to 1e6");
    }
  }
}

}  // namespace

void ModelConfig::check(const std::string& where) const {
  want_range(where, "hidden_size", hidden_size, 1, kMaxDimension);
  want_range(where, "intermediate_size", intermediate_size, 1, kMaxDimension);
  want_range(where, "num_layers", num_layers, 1, kMaxLayers);
  want_range(where, "num_heads", num_heads, 1, kMaxDimension);
  want_range(where, "num_kv_heads", num_kv_heads, 1, num_heads);
  want_range(where, "head_dim", head_dim, 2, kMaxHeadDim);
  if (num_heads % num_kv_heads != 0) {
    raise(invalid_input, "{}: num_kv_heads: want a divisor of the {} heads, found {}", where, num_heads, num_kv_heads);
  }
  want_range(where, "heads * head_dim", uint64_t{num_heads} * head_dim, 2, kMaxDimension);
  want_range(where, "vocab_size", vocab_size, 1, kMaxVocabSize);
  want_range(where, "max_position_embeddings", max_position_embeddings, 1, kMaxPositions);
  want_number(where, "norm_epsilon", norm_epsilon, norm_epsilon > 0 && norm_epsilon <= 1, "a number above 0, at most 1");
  check_rope(rope, *this, where);
  if (logn_attention) want_range(where, "logn_length", logn_length, 2, kMaxPositions);
  if (windows.size() != num_layers) raise(invalid_input, "{}: windows: want one a layer ({}), found {}", where, num_layers, windows.size());
}

Json ModelConfig::to_json() const {
  Json json = {{"family", family},
               {"hidden_size", hidden_size},
               {"intermediate_size", intermediate_size},
               {"num_layers", num_layers},
               {"num_heads", num_heads},
               {"num_kv_heads", num_kv_heads},
               {"head_dim", head_dim},
               {"vocab_size", vocab_size},
               {"max_position_embeddings", max_position_embeddings},
               {"norm_epsilon", norm_epsilon},
               {"rope", rope_to_json(rope)},
               {"tied_embeddings", tied_embeddings},
               {"qkv_bias", qkv_bias},
               {"qk_norm", qk_norm}};
  if (logn_attention) json["logn_length"] = logn_length;
  if (std::ranges::any_of(windows, [](uint32_t window) { return window != 0; })) json["windows"] = windows;
  return json;
}

ModelConfig ModelConfig::from_json(const Json& json, const std::string& where) {
  ConfigFields fields(JsonFields(json, where));
  ModelConfig config;
  config.family = fields.optional_text({"family"}).value_or("");
  config.hidden_size = fields.size({"hidden_size"}, 1, kMaxDimension);
  config.intermediate_size = fields.size({"intermediate_size"}, 1, kMaxDimension);
  config.num_layers = fields.size({"num_layers"}, 1, kMaxLayers);
  config.num_heads = fields.size({"num_heads"}, 1, kMaxDimension);
  config.num_kv_heads = fields.size({"num_kv_heads"}, 1, kMaxDimension);
  config.head_dim = fields.size({"head_dim"}, 2, kMaxHeadDim);
  config.vocab_size = fields.size({"vocab_size"}, 1, kMaxVocabSize);
  config.max_position_embeddings = fields.size({"max_position_embeddings"}, 1, kMaxPositions);
  config.norm_epsilon = fields.number({"norm_epsilon"}, 0, 1);
  std::optional<ConfigFields> rope = fields.optional_object("rope");
  if (!rope) raise(invalid_input, "{}: rope: want an object, found nothing", where);
  config.rope = rope_from_json(*std::move(rope));
  config.tied_embeddings = fields.flag("tied_embeddings", false);
  config.qkv_bias = fields.flag("qkv_bias", false);
  config.qk_norm = fields.flag("qk_norm", false);
  if (const std::optional<uint32_t> length = fields.optional_size({"logn_length"}, 2, kMaxPositions)) {
    config.logn_attention = true;
    config.logn_length = *length;
  }
  config.windows = windows_from_json(fields, config.num_layers);
  fields.refuse_unread();
  config.check(where);
  return config;
}

}  // namespace quern
