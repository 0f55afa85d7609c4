#include "models/families/rope_fields.h"

#include <algorithm>
#include <cmath>

namespace quern {
namespace {

using Scaling = RopeConfig::Scaling;

constexpr const char* kTypes = "default, linear, yarn, llama3";
constexpr double kMostFactor = 1e6, kMostBase = 1e15;

double mscale(double factor, double multiplier) { return factor <= 1 ? 1 : 0.1 * multiplier * std::log(factor) + 1; }

void read_yarn(ConfigFields& fields, const ModelConfig& config, RopeConfig& rope) {
  rope.factor = fields.number({"factor"}, 1, kMostFactor);
  rope.original_context =
      fields.optional_size({"original_max_position_embeddings"}, 1, kMaxPositions).value_or(config.max_position_embeddings);
  rope.beta_fast = fields.optional_number({"beta_fast"}, 0, kMostFactor).value_or(0);
  rope.beta_slow = fields.optional_number({"beta_slow"}, 0, kMostFactor).value_or(0);
  if (rope.beta_fast == 0) rope.beta_fast = 32;  // transformers reads 0 as absent, too
  if (rope.beta_slow == 0) rope.beta_slow = 1;
  rope.truncate = fields.flag("truncate", true);
  rope.attention_factor = fields.optional_number({"attention_factor"}, 0, kMostFactor).value_or(0);
  const double scale = fields.optional_number({"mscale"}, 0, kMostFactor).value_or(0);
  const double scale_all = fields.optional_number({"mscale_all_dim"}, 0, kMostFactor).value_or(0);
  if (rope.attention_factor == 0 && scale != 0 && scale_all != 0) {
    rope.attention_factor = mscale(rope.factor, scale) / mscale(rope.factor, scale_all);
  }
}

// One object of scaling fields. `type` is its "rope_type" or "type"; "rope_theta" may stand beside them.
RopeConfig read_scaling(ConfigFields fields, const ModelConfig& config) {
  RopeConfig rope;
  rope.rotary_dims = config.head_dim;
  rope.base = fields.optional_number({"rope_theta"}, 1, kMostBase).value_or(0);
  fields.want_number("partial_rotary_factor", 1, "rotating a part of a head is not supported");
  const std::string type = fields.optional_text({"rope_type", "type"}).value_or("default");
  if (fields.has("mrope_section") || type == "mrope") {
    raise(incompatible, "{}: mrope: rope of vision-language models is not supported; want one of {}", fields.where(), kTypes);
  }
  if (type == "linear") {
    rope.scaling = Scaling::linear;
    rope.factor = fields.number({"factor"}, 1, kMostFactor);
  } else if (type == "yarn") {
    rope.scaling = Scaling::yarn;
    read_yarn(fields, config, rope);
  } else if (type == "llama3") {
    rope.scaling = Scaling::llama3;
    rope.factor = fields.number({"factor"}, 1, kMostFactor);
    rope.original_context =
        fields.optional_size({"original_max_position_embeddings"}, 1, kMaxPositions).value_or(config.max_position_embeddings);
    rope.low_freq_factor = fields.number({"low_freq_factor"}, 0, kMostFactor);
    rope.high_freq_factor = fields.number({"high_freq_factor"}, 0, kMostFactor);
  } else if (type != "default") {
    raise(incompatible, "{}: rope_type: want one of {}, found \"{}\"", fields.where(), kTypes, escaped(type, 80));
  }
  fields.refuse_unread();
  return rope;
}

// A static scaling stretches the context: factor times the original one.
void stretch_context(ModelConfig& config) {
  if (config.rope.scaling != Scaling::yarn) return;
  const double stretched = std::min(std::floor(config.rope.factor * config.rope.original_context), static_cast<double>(kMaxPositions));
  config.max_position_embeddings = std::max(config.max_position_embeddings, static_cast<uint32_t>(stretched));
}

}  // namespace

void read_rope(ConfigFields& fields, ModelConfig& config) {
  fields.want_number("partial_rotary_factor", 1, "rotating a part of a head is not supported");
  fields.want_number("rotary_pct", 1, "rotating a part of a head is not supported");
  const std::optional<double> theta = fields.optional_number({"rope_theta"}, 1, kMostBase);
  std::optional<ConfigFields> parameters = fields.optional_object("rope_parameters"), scaling = fields.optional_object("rope_scaling");
  if (scaling && scaling->raw().raw().empty()) scaling.reset();
  std::optional<RopeConfig> from_parameters, from_scaling;
  if (parameters) from_parameters = read_scaling(*std::move(parameters), config);
  if (scaling) from_scaling = read_scaling(*std::move(scaling), config);
  RopeConfig rope = from_parameters.value_or(from_scaling.value_or(RopeConfig{.base = 0, .rotary_dims = config.head_dim}));
  if (theta && rope.base != 0 && *theta != rope.base) {
    raise(invalid_input, "{}: rope_theta is {} but rope_parameters has {}", fields.where(), *theta, rope.base);
  }
  if (rope.base == 0) rope.base = theta.value_or(10000);  // the default of transformers, which old Llama configs leave out
  if (from_parameters && from_scaling) {
    from_scaling->base = from_scaling->base == 0 ? rope.base : from_scaling->base;
    if (*from_scaling != rope) raise(invalid_input, "{}: rope_scaling and rope_parameters differ", fields.where());
  }
  config.rope = rope;
  stretch_context(config);
}

void read_gguf_rope(ConfigFields& fields, const std::string& arch, ModelConfig& config) {
  const auto key = [&](const char* name) { return arch + "." + name; };
  RopeConfig& rope = config.rope;
  const auto number = [&](const char* name, double min, double max) {
    const std::string full = key(name);
    return fields.optional_number({full.c_str()}, min, max);
  };
  rope.base = number("rope.freq_base", 1, kMostBase).value_or(10000);
  const std::string dimension = key("rope.dimension_count"), type_key = key("rope.scaling.type"),
                    context = key("rope.scaling.original_context_length");
  rope.rotary_dims = fields.optional_size({dimension.c_str()}, 1, kMaxDimension).value_or(config.head_dim);
  if (rope.rotary_dims != config.head_dim) {
    raise(incompatible, "{}: {}: want the head's {} dimensions, found {}: rotating a part of a head is not supported", fields.where(),
          dimension, config.head_dim, rope.rotary_dims);
  }
  const std::optional<double> linear = number("rope.scale_linear", 1 / kMostFactor, kMostFactor);  // files before rope.scaling.*
  const std::string type = fields.optional_text({type_key.c_str()}).value_or(linear && *linear != 1 ? "linear" : "none");
  const std::optional<double> factor = number("rope.scaling.factor", 0, kMostFactor);
  const std::optional<uint32_t> original = fields.optional_size({context.c_str()}, 1, kMaxPositions);
  const double attention = number("rope.scaling.attn_factor", 0, kMostFactor).value_or(1);
  const double beta_fast = number("rope.scaling.yarn_beta_fast", 0, kMostFactor).value_or(0);
  const double beta_slow = number("rope.scaling.yarn_beta_slow", 0, kMostFactor).value_or(0);
  const std::string finetuned = key("rope.scaling.finetuned");
  fields.flag(finetuned.c_str(), false);
  if (type == "linear") {
    rope.factor = factor.value_or(linear.value_or(1));
    if (rope.factor != 0 && rope.factor != 1) rope.scaling = Scaling::linear;
    if (rope.factor == 0) rope.factor = 1;
  } else if (type == "yarn") {
    rope.scaling = Scaling::yarn;
    rope.factor = factor.value_or(1);
    if (rope.factor < 1)
      raise(invalid_input, "{}: {}: want a number of at least 1, found {}", fields.where(), key("rope.scaling.factor"), rope.factor);
    rope.original_context = original.value_or(config.max_position_embeddings);
    if (beta_fast != 0) rope.beta_fast = beta_fast;
    if (beta_slow != 0) rope.beta_slow = beta_slow;
    if (attention != 0 && attention != 1) rope.attention_factor = attention * mscale(rope.factor, 1);  // the key is a factor on the formula
  } else if (type != "none") {
    raise(incompatible, "{}: {}: want one of none, linear, yarn, found \"{}\"", fields.where(), type_key, escaped(type, 80));
  }
  stretch_context(config);
}

}  // namespace quern
