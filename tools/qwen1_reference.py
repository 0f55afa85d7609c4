#!/usr/bin/env python3
"""First-generation Qwen by its published formulas, in NumPy: dynamic NTK rope, logn attention, fused c_attn, w2 as the gate.

Written from the formulas of docs/models.md and the field names of the released config.json, independently of the engine.
Sums are float64; the rotary tables are float32, as the released model computes them.
"""
import math

import numpy as np


def ntk_alpha(prompt_tokens, seq_length):
    exponent = math.ceil(math.log(prompt_tokens / seq_length, 2) + 1)
    return max(2**exponent - 1, 1)


def rotary_tables(config, prompt_tokens, positions):
    d = int(config["kv_channels"] * config["rotary_pct"])
    base = config["rotary_emb_base"]
    if config["use_dynamic_ntk"]:
        base = base * ntk_alpha(prompt_tokens, config["seq_length"]) ** (d / (d - 2))
    inv_freq = np.float32(1) / np.float32(base) ** (np.arange(0, d, 2, dtype=np.float32) / np.float32(d))
    angles = np.outer(np.asarray(positions, dtype=np.float32), inv_freq.astype(np.float32)).astype(np.float32)
    angles = np.concatenate([angles, angles], axis=-1).astype(np.float64)
    return np.cos(angles), np.sin(angles)


def rotate(x, cos, sin):  # x [tokens, heads, d]; pairs (i, i + d/2)
    half = x.shape[-1] // 2
    turned = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    return x * cos[:, None, :] + turned * sin[:, None, :]


def rmsnorm(x, weight, epsilon):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


def logits(config, weights, ids, prompt_tokens):
    """[tokens, vocab_size] for one sequence whose first forward had `prompt_tokens` tokens."""
    w = {name: np.asarray(value, dtype=np.float64) for name, value in weights.items()}
    heads, d, epsilon = config["num_attention_heads"], config["kv_channels"], config["layer_norm_epsilon"]
    tokens, size = len(ids), heads * d
    cos, sin = rotary_tables(config, prompt_tokens, range(tokens))
    one_based = np.arange(1, tokens + 1)
    logn = np.where(one_based > config["seq_length"], np.log(one_based) / np.log(config["seq_length"]), 1.0)
    causal = np.tril(np.ones((tokens, tokens), dtype=bool))
    h = w["transformer.wte.weight"][np.asarray(ids)]
    for n in range(config["num_hidden_layers"]):
        layer = f"transformer.h.{n}."
        x = rmsnorm(h, w[layer + "ln_1.weight"], epsilon)
        qkv = x @ w[layer + "attn.c_attn.weight"].T + w[layer + "attn.c_attn.bias"]
        q, k, v = (qkv[:, i * size : (i + 1) * size].reshape(tokens, heads, d) for i in range(3))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if config["use_logn_attn"]:
            q = q * logn[:, None, None]
        scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(d)
        scores = np.where(causal, scores, -np.inf)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        attended = np.einsum("hij,jhd->ihd", scores / scores.sum(axis=-1, keepdims=True), v).reshape(tokens, size)
        h = h + attended @ w[layer + "attn.c_proj.weight"].T
        x = rmsnorm(h, w[layer + "ln_2.weight"], epsilon)
        gate = x @ w[layer + "mlp.w2.weight"].T
        h = h + ((x @ w[layer + "mlp.w1.weight"].T) * gate / (1 + np.exp(-gate))) @ w[layer + "mlp.c_proj.weight"].T
    return rmsnorm(h, w["transformer.ln_f.weight"], epsilon) @ w["lm_head.weight"].T
