// The numbers and per-layer kinds of one model, as saved in its engine file. Plain data.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace quern {

struct RopeConfig {
  enum class Scaling : uint8_t {
    none,
    linear,    // inv_freq / factor
    yarn,      // static; docs/models.md
    llama3,    // low and high frequency bands
    divided,   // inv_freq[i] / divisors[i]: what a GGUF keeps of llama3
    qwen_ntk,  // first-generation Qwen: base by the prompt's length, per sequence
  };
  Scaling scaling = Scaling::none;
  double base = 10000;
  uint32_t rotary_dims = 0;  // leading dimensions of a head that are rotated
  double factor = 1;
  uint32_t original_context = 0;  // yarn, llama3: original_max_position_embeddings; qwen_ntk and logn: seq_length
  double beta_fast = 32, beta_slow = 1, attention_factor = 0;  // yarn; 0 = by formula
  bool truncate = true;                                        // yarn
  double low_freq_factor = 1, high_freq_factor = 4;            // llama3
  std::vector<float> divisors;                                 // divided: [rotary_dims / 2]
  bool operator==(const RopeConfig&) const = default;
};

// Limits of what is read; beyond them a config is refused.
inline constexpr uint64_t kMaxDimension = uint64_t{1} << 20;  // hidden, intermediate, heads * head_dim
inline constexpr uint64_t kMaxLayers = 512;
inline constexpr uint64_t kMaxVocabSize = uint64_t{1} << 22;
inline constexpr uint64_t kMaxHeadDim = 1024;
inline constexpr uint64_t kMaxPositions = uint64_t{1} << 24;

struct ModelConfig {
  std::string family;  // name of its ModelFamily
  uint32_t hidden_size = 0, intermediate_size = 0, num_layers = 0;
  uint32_t num_heads = 0, num_kv_heads = 0, head_dim = 0;
  uint32_t vocab_size = 0;               // rows of embedding and head, padding included
  uint32_t max_position_embeddings = 0;  // tokens that the model is meant for, a static rope scaling included
  double norm_epsilon = 0;
  RopeConfig rope;
  bool logn_attention = false;  // first-generation Qwen: q *= log(i) / log(logn_length) for 1-based positions i beyond it
  uint32_t logn_length = 0;
  bool tied_embeddings = false, qkv_bias = false, qk_norm = false;
  std::vector<uint32_t> windows;  // [num_layers] sliding window of each layer, 0 = full attention
  bool operator==(const ModelConfig&) const = default;

  uint32_t q_rows() const { return num_heads * head_dim; }
  uint32_t kv_rows() const { return num_kv_heads * head_dim; }

  Json to_json() const;
  static ModelConfig from_json(const Json& json, const std::string& where);  // checks every range
  // Throws invalid_input "<where>: <field>: ..." for numbers out of range or at odds with each other.
  void check(const std::string& where) const;
};

}  // namespace quern
