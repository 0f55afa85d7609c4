#include "models/layers/decoder_layer.h"

namespace quern {

DecoderLayer load_decoder_layer(WeightLoader& loader, const ModelConfig& config, size_t layer) {
  loader.verify_layer(layer);
  DecoderLayer l;
  l.norm1 = loader.vector({"blk.*.norm1"}, layer);
  l.qkv = loader.matrix(WeightUse::qkv, {"blk.*.q", "blk.*.k", "blk.*.v"}, layer);
  if (config.qkv_bias) l.qkv_bias = loader.vector({"blk.*.q.bias", "blk.*.k.bias", "blk.*.v.bias"}, layer);
  if (config.qk_norm) {
    l.q_norm = loader.vector({"blk.*.q_norm"}, layer);
    l.k_norm = loader.vector({"blk.*.k_norm"}, layer);
  }
  l.out = loader.matrix(WeightUse::attention_out, {"blk.*.out"}, layer);
  l.norm2 = loader.vector({"blk.*.norm2"}, layer);
  l.gate_up = loader.matrix(WeightUse::gate_up, {"blk.*.gate", "blk.*.up"}, layer);
  l.down = loader.matrix(WeightUse::down, {"blk.*.down"}, layer);
  l.window = static_cast<int32_t>(config.windows[layer]);
  return l;
}

}  // namespace quern
