#include "models/families/tensor_names.h"

namespace quern {
namespace {

constexpr TensorRule kDecoder[] = {
    {"model.embed_tokens.weight", "embed"},
    {"model.layers.*.input_layernorm.weight", "blk.*.norm1"},
    {"model.layers.*.self_attn.q_proj.weight", "blk.*.q"},
    {"model.layers.*.self_attn.k_proj.weight", "blk.*.k"},
    {"model.layers.*.self_attn.v_proj.weight", "blk.*.v"},
    {"model.layers.*.self_attn.q_proj.bias", "blk.*.q.bias"},
    {"model.layers.*.self_attn.k_proj.bias", "blk.*.k.bias"},
    {"model.layers.*.self_attn.v_proj.bias", "blk.*.v.bias"},
    {"model.layers.*.self_attn.q_norm.weight", "blk.*.q_norm"},
    {"model.layers.*.self_attn.k_norm.weight", "blk.*.k_norm"},
    {"model.layers.*.self_attn.o_proj.weight", "blk.*.out"},
    {"model.layers.*.post_attention_layernorm.weight", "blk.*.norm2"},
    {"model.layers.*.mlp.gate_proj.weight", "blk.*.gate"},
    {"model.layers.*.mlp.up_proj.weight", "blk.*.up"},
    {"model.layers.*.mlp.down_proj.weight", "blk.*.down"},
    {"model.norm.weight", "norm"},
    {"lm_head.weight", "head"},
};

constexpr TensorRule kGgufDecoder[] = {
    {"token_embd.weight", "embed"},
    {"blk.*.attn_norm.weight", "blk.*.norm1"},
    {"blk.*.attn_q.weight", "blk.*.q"},
    {"blk.*.attn_k.weight", "blk.*.k"},
    {"blk.*.attn_v.weight", "blk.*.v"},
    {"blk.*.attn_q.bias", "blk.*.q.bias"},
    {"blk.*.attn_k.bias", "blk.*.k.bias"},
    {"blk.*.attn_v.bias", "blk.*.v.bias"},
    {"blk.*.attn_q_norm.weight", "blk.*.q_norm"},
    {"blk.*.attn_k_norm.weight", "blk.*.k_norm"},
    {"blk.*.attn_output.weight", "blk.*.out"},
    {"blk.*.ffn_norm.weight", "blk.*.norm2"},
    {"blk.*.ffn_gate.weight", "blk.*.gate"},
    {"blk.*.ffn_up.weight", "blk.*.up"},
    {"blk.*.ffn_down.weight", "blk.*.down"},
    {"output_norm.weight", "norm"},
    {"output.weight", "head"},
};

}  // namespace

std::span<const TensorRule> decoder_rules() { return kDecoder; }
std::span<const TensorRule> gguf_decoder_rules() { return kGgufDecoder; }

}  // namespace quern
