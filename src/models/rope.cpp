#include "models/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/thread_pool.h"

namespace quern {
namespace {

using Scaling = RopeConfig::Scaling;

// base^(2i/d), each power rounded once.
std::vector<float> powers(double base, uint32_t rotary_dims) {
  std::vector<float> powers(rotary_dims / 2);
  for (size_t i = 0; i < powers.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rotary_dims);
    powers[i] = static_cast<float>(std::pow(static_cast<double>(static_cast<float>(base)), static_cast<double>(exponent)));
  }
  return powers;
}

std::vector<float> plain(double base, uint32_t rotary_dims) {
  std::vector<float> inv_freq = powers(base, rotary_dims);
  for (float& f : inv_freq) f = 1.F / f;
  return inv_freq;
}

// Which pair makes `rotations` turns within the original context; docs/models.md.
double correction_dim(const RopeConfig& rope, double rotations) {
  return rope.rotary_dims * std::log(rope.original_context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(rope.base));
}

std::vector<float> yarn(const RopeConfig& rope) {
  double low = correction_dim(rope, rope.beta_fast), high = correction_dim(rope, rope.beta_slow);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rope.rotary_dims) - 1);
  if (low == high) high += 0.001;
  std::vector<float> inv_freq = powers(rope.base, rope.rotary_dims);
  const auto factor = static_cast<float>(rope.factor);
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const float ramp = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float kept = 1.F - std::clamp(ramp, 0.F, 1.F);
    inv_freq[i] = 1.F / (factor * inv_freq[i]) * (1.F - kept) + 1.F / inv_freq[i] * kept;
  }
  return inv_freq;
}

std::vector<float> llama3(const RopeConfig& rope) {
  std::vector<float> inv_freq = plain(rope.base, rope.rotary_dims);
  const auto context = static_cast<float>(rope.original_context), factor = static_cast<float>(rope.factor);
  const auto low = static_cast<float>(rope.low_freq_factor), high = static_cast<float>(rope.high_freq_factor);
  for (float& f : inv_freq) {
    const float wavelength = static_cast<float>(2 * std::numbers::pi) / f;
    const float smooth = (context / wavelength - low) / (high - low);
    if (wavelength > context / low) {
      f /= factor;
    } else if (wavelength >= context / high) {
      f = (1.F - smooth) * f / factor + smooth * f;
    }
  }
  return inv_freq;
}

double ntk_base(const RopeConfig& rope, int32_t variant) {
  const double d = rope.rotary_dims;
  return d > 2 ? rope.base * std::pow(rope_ntk_alpha(variant), d / (d - 2)) : rope.base;
}

}  // namespace

std::vector<float> rope_inv_freq(const RopeConfig& rope, int32_t variant) {
  switch (rope.scaling) {
    case Scaling::none: return plain(rope.base, rope.rotary_dims);
    case Scaling::yarn: return yarn(rope);
    case Scaling::llama3: return llama3(rope);
    case Scaling::qwen_ntk: return plain(ntk_base(rope, variant), rope.rotary_dims);
    case Scaling::linear: {
      std::vector<float> inv_freq = plain(rope.base, rope.rotary_dims);
      for (float& f : inv_freq) f /= static_cast<float>(rope.factor);
      return inv_freq;
    }
    case Scaling::divided: {
      std::vector<float> inv_freq = plain(rope.base, rope.rotary_dims);
      for (size_t i = 0; i < inv_freq.size(); ++i) inv_freq[i] /= rope.divisors[i];
      return inv_freq;
    }
  }
  raise(internal, "rope scaling {}", static_cast<int>(rope.scaling));
}

double rope_attention_factor(const RopeConfig& rope) {
  if (rope.scaling != Scaling::yarn) return 1;
  if (rope.attention_factor != 0) return rope.attention_factor;
  return rope.factor <= 1 ? 1 : 0.1 * std::log(rope.factor) + 1;
}

int32_t rope_variant(const RopeConfig& rope, size_t prompt_tokens) {
  if (rope.scaling != Scaling::qwen_ntk) return 0;
  int32_t variant = 0;
  for (uint64_t reach = rope.original_context; reach < prompt_tokens; reach *= 2) ++variant;
  return variant;
}

double rope_ntk_alpha(int32_t variant) { return variant == 0 ? 1 : std::ldexp(1.0, variant + 1) - 1; }

float logn_scale(uint32_t logn_length, size_t position) {
  const size_t i = position + 1;
  return i > logn_length ? static_cast<float>(std::log(static_cast<double>(i)) / std::log(static_cast<double>(logn_length))) : 1.F;
}

RopeTables make_rope_tables(const ModelConfig& config, size_t max_positions, ThreadPool* pool) {
  RopeTables tables;
  tables.num_variants = static_cast<size_t>(rope_variant(config.rope, max_positions)) + 1;
  tables.max_positions = max_positions;
  tables.rotary_dims = config.rope.rotary_dims;
  tables.cos_sin.resize(tables.num_variants * max_positions * tables.rotary_dims);
  const auto factor = static_cast<float>(rope_attention_factor(config.rope));
  for (size_t variant = 0; variant < tables.num_variants; ++variant) {
    const std::vector<float> inv_freq = rope_inv_freq(config.rope, static_cast<int32_t>(variant));
    const auto fill = [&](size_t begin, size_t end) {
      float* pair = &tables.cos_sin[(variant * max_positions + begin) * tables.rotary_dims];
      for (size_t position = begin; position < end; ++position) {
        for (const float f : inv_freq) {
          const float angle = static_cast<float>(position) * f;  // rounded as the reference rounds it
          *pair++ = static_cast<float>(std::cos(static_cast<double>(angle))) * factor;
          *pair++ = static_cast<float>(std::sin(static_cast<double>(angle))) * factor;
        }
      }
    };
    if (pool != nullptr) {
      pool->parallel_for(max_positions, 64, fill);
    } else {
      fill(0, max_positions);
    }
  }
  if (config.logn_attention) {
    tables.query_scale.resize(max_positions);
    for (size_t position = 0; position < max_positions; ++position) tables.query_scale[position] = logn_scale(config.logn_length, position);
  }
  return tables;
}

}  // namespace quern
