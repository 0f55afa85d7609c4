#!/usr/bin/env python3
"""A first-generation Qwen checkpoint that computes the function of a Qwen2 GGUF: a real test of that family.

    make_qwen1.py MODEL.gguf OUT_FOLDER [--dtype f32|f16|bf16] [--shard-mib 1024]

The weights are dequantised; KV heads are repeated until every query head has its own; q, k, v become c_attn, gate and up w2 and w1; the
tied or untied head is written as lm_head. seq_length is the model's context, so dynamic NTK and logn attention, both on, do nothing
within it. f32 keeps every value of the GGUF. Needs numpy and gguf; nothing is executed from the model.
"""
import argparse
import base64
import json
import math
import os
import struct

import gguf
import numpy as np

EOS, IM_START, IM_END = 151643, 151644, 151645


class Source:
    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        self.tensors = {tensor.name: tensor for tensor in self.reader.tensors}
        if self.key("general.architecture") != "qwen2":
            raise SystemExit(f"{path}: general.architecture: want qwen2, found {self.key('general.architecture')}")

    def key(self, name, default=None):
        field = self.reader.fields.get(name)
        return default if field is None else field.contents()

    def has(self, name):
        return name in self.tensors

    def values(self, name):
        tensor = self.tensors[name]
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)


def as_bytes(values, dtype):
    if dtype == "f32":
        return values.astype("<f4").tobytes()
    if dtype == "f16":
        return values.astype("<f2").tobytes()
    bits = values.astype("<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()  # to the nearest, ties to even


class ShardWriter:
    """Tensors in order into model-0000N-of-0000M.safetensors of about `limit` bytes, and their index."""

    def __init__(self, folder, dtype, limit):
        self.folder, self.dtype, self.limit = folder, dtype, limit
        self.shards, self.pending, self.pending_bytes = [], [], 0

    def add(self, name, values):
        data = as_bytes(values, self.dtype)
        if self.pending and self.pending_bytes + len(data) > self.limit:
            self.flush()
        self.pending.append((name, list(values.shape), data))
        self.pending_bytes += len(data)

    def flush(self):
        header, offset = {"__metadata__": {"format": "pt"}}, 0
        for name, shape, data in self.pending:
            header[name] = {"dtype": self.dtype.upper(), "shape": shape, "data_offsets": [offset, offset + len(data)]}
            offset += len(data)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        path = os.path.join(self.folder, f"shard-{len(self.shards)}.tmp")
        with open(path, "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            for _, _, data in self.pending:
                out.write(data)
        self.shards.append((path, [name for name, _, _ in self.pending], offset))
        self.pending, self.pending_bytes = [], 0

    def finish(self):
        self.flush()
        weight_map = {}
        for i, (path, names, _) in enumerate(self.shards):
            final = f"model-{i + 1:05d}-of-{len(self.shards):05d}.safetensors"
            os.replace(path, os.path.join(self.folder, final))
            weight_map |= {name: final for name in names}
        total = sum(size for _, _, size in self.shards)
        write_json(self.folder, "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
        return total


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
        json.dump(value, out, indent=2)
        out.write("\n")


def byte_alphabet():
    """The GPT-2 characters of the 256 bytes, as {character: byte}."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


def write_tokenizer(source, folder):
    alphabet = byte_alphabet()
    tokens = source.key("tokenizer.ggml.tokens")
    with open(os.path.join(folder, "qwen.tiktoken"), "w", encoding="ascii") as out:
        for rank in range(EOS):
            data = bytes(alphabet[character] for character in tokens[rank])
            out.write(f"{base64.b64encode(data).decode()} {rank}\n")
    write_json(folder, "tokenizer_config.json", {"model_max_length": 32768, "tokenizer_class": "QWenTokenizer"})


def repeated(values, kv_heads, heads, head_dim):
    """One copy of each KV head for every query head that reads it."""
    shape = values.shape[1:]
    return np.repeat(values.reshape(kv_heads, head_dim, *shape), heads // kv_heads, axis=0).reshape(heads * head_dim, *shape)


def write_weights(source, writer, layers, heads, kv_heads, head_dim):
    writer.add("transformer.wte.weight", source.values("token_embd.weight"))
    for n in range(layers):
        here, there = f"blk.{n}.", f"transformer.h.{n}."
        for kind in ("weight", "bias"):
            q, k, v = (source.values(f"{here}attn_{part}.{kind}") for part in "qkv")
            k, v = (repeated(part, kv_heads, heads, head_dim) for part in (k, v))
            writer.add(f"{there}attn.c_attn.{kind}", np.concatenate([q, k, v]))
        for ours, name in (("attn_norm", "ln_1"), ("ffn_norm", "ln_2"), ("attn_output", "attn.c_proj"), ("ffn_up", "mlp.w1"), ("ffn_gate", "mlp.w2"),
                           ("ffn_down", "mlp.c_proj")):
            writer.add(f"{there}{name}.weight", source.values(f"{here}{ours}.weight"))
    writer.add("transformer.ln_f.weight", source.values("output_norm.weight"))
    writer.add("lm_head.weight", source.values("output.weight" if source.has("output.weight") else "token_embd.weight"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--dtype", choices=("f32", "f16", "bf16"), default="f32")
    parser.add_argument("--shard-mib", type=int, default=1024)
    options = parser.parse_args()
    source = Source(options.model)
    hidden, layers = source.key("qwen2.embedding_length"), source.key("qwen2.block_count")
    heads, kv_heads = source.key("qwen2.attention.head_count"), source.key("qwen2.attention.head_count_kv")
    context = source.key("qwen2.context_length")
    # The GGUF keeps epsilon as a float32; its shortest decimal is the config's number.
    epsilon = float(np.format_float_scientific(np.float32(source.key("qwen2.attention.layer_norm_rms_epsilon")), unique=True))
    os.makedirs(options.out, exist_ok=True)
    write_json(options.out, "config.json", {
        "architectures": ["QWenLMHeadModel"], "attn_dropout_prob": 0.0, "bf16": options.dtype == "bf16", "emb_dropout_prob": 0.0,
        "fp16": options.dtype == "f16", "fp32": options.dtype == "f32", "hidden_size": hidden,
        "intermediate_size": 2 * source.key("qwen2.feed_forward_length"), "initializer_range": 0.02, "kv_channels": hidden // heads,
        "layer_norm_epsilon": epsilon, "max_position_embeddings": context, "model_type": "qwen", "no_bias": True, "num_attention_heads": heads,
        "num_hidden_layers": layers, "onnx_safe": None, "rotary_emb_base": source.key("qwen2.rope.freq_base"), "rotary_pct": 1.0,
        "scale_attn_weights": True, "seq_length": context, "tie_word_embeddings": False, "tokenizer_class": "QWenTokenizer",
        "transformers_version": "4.32.0", "use_cache": True, "use_dynamic_ntk": True, "use_flash_attn": "auto", "use_logn_attn": True,
        "vocab_size": len(source.key("tokenizer.ggml.tokens"))})
    write_json(options.out, "generation_config.json", {
        "chat_format": "chatml", "do_sample": True, "eos_token_id": EOS, "max_new_tokens": 512, "max_window_size": 24000, "pad_token_id": EOS,
        "top_k": 0, "top_p": 0.8, "transformers_version": "4.32.0"})
    write_tokenizer(source, options.out)
    writer = ShardWriter(options.out, options.dtype, options.shard_mib << 20)
    write_weights(source, writer, layers, heads, kv_heads, hidden // heads)
    print(f"{options.out}: {writer.finish() / math.pow(2, 20):.0f} MiB of weights in {len(writer.shards)} shards")


if __name__ == "__main__":
    main()
