// One decoder layer: its weights, and its operations from top to bottom.
// Owned by Transformer, used on the engine thread.
#pragma once
#include <cstdint>

#include "models/weight_loader.h"

namespace quern {

// What the operations of one step share.
struct StepView {
  Tensor h;         // [tokens, hidden], f32: the residual stream
  Tensor q;         // [tokens, num_heads * head_dim]
  Tensor attended;  // [tokens, num_heads * head_dim]
  Tensor gated;     // [tokens, intermediate]
  Tensor logits;    // [sample rows, vocab_size], f32
  BatchView batch;
  RopeView rope;
  float norm_epsilon = 0;
  float attention_scale = 0;
};

struct DecoderLayer {
  Tensor norm1, norm2;    // [hidden]
  LoadedWeight qkv;       // q [num_heads * head_dim, hidden], k and v [num_kv_heads * head_dim, hidden]
  Tensor qkv_bias;        // [(num_heads + 2 * num_kv_heads) * head_dim], or none
  Tensor q_norm, k_norm;  // [head_dim], or none
  LoadedWeight out;       // [hidden, num_heads * head_dim]
  LoadedWeight gate_up;   // two of [intermediate, hidden]
  LoadedWeight down;      // [hidden, intermediate]
  int32_t window = 0;     // keys that a query sees, 0 = all before it

  // Gives each operation to `launch`: to run it, or to find its kernel.
  template <class Launch>
  void forward(const StepView& s, const KvView& kv, Launch&& launch) const {
    launch(QkvArgs{.h = s.h,
                   .norm = norm1,
                   .norm_epsilon = s.norm_epsilon,
                   .w = &qkv.weight,
                   .bias = qkv_bias,
                   .q_norm = q_norm,
                   .k_norm = k_norm,
                   .rope = s.rope,
                   .batch = s.batch,
                   .kv = kv,
                   .q = s.q});
    launch(AttentionArgs{.q = s.q, .kv = kv, .batch = s.batch, .scale = s.attention_scale, .window = window, .y = s.attended});
    launch(LinearArgs{.x = s.attended, .w = &out.weight, .residual = s.h, .y = s.h});
    launch(GateUpArgs{.h = s.h, .norm = norm2, .norm_epsilon = s.norm_epsilon, .w = &gate_up.weight, .y = s.gated});
    launch(LinearArgs{.x = s.gated, .w = &down.weight, .residual = s.h, .y = s.h});
  }
};

DecoderLayer load_decoder_layer(WeightLoader& loader, const ModelConfig& config, size_t layer);

}  // namespace quern
