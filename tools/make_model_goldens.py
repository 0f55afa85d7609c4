#!/usr/bin/env python3
"""Small random checkpoints and their logits for tests/goldens/models: Hugging Face transformers in float32, and for first-generation
Qwen the NumPy reference beside this file. Needs torch, transformers, safetensors, numpy.

    make_model_goldens.py [OUT = tests/goldens/models] [NAME...]

A folder holds config.json and model.safetensors as any checkpoint does (or model.gguf: one of the others in that form, with the
same golden values), golden.json {"cases": [{"ids", "prompt_tokens", "rows", "dynamic_ntk",
"logn"}]}, and logits.f32: for every row of every case in order, vocab_size little-endian floats.
"""
import json
import os
import shutil
import sys

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import qwen1_reference  # noqa: E402

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
# Bases are small so that the few pairs of a small head lie on all sides of the scalings' bands.
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}


def sizes(hidden, intermediate, layers, heads, kv_heads, vocab, positions, **more):
    return dict(hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers, num_attention_heads=heads,
                num_key_value_heads=kv_heads, vocab_size=vocab, max_position_embeddings=positions, **more)


# name: class of the config, its fields, dtype on disk, lengths of the sequences, how config.json is written ("v4": rope_theta + rope_scaling)
MODELS = {
    "qwen2-gqa": ("Qwen2Config", sizes(56, 92, 2, 7, 1, 203, 256, rope_theta=1e6, rms_norm_eps=1e-6), "bfloat16", [1, 5, 70], "v4"),
    "qwen2-yarn-tied": ("Qwen2Config", sizes(48, 80, 2, 3, 3, 160, 128, rope_theta=1e4, rope_scaling=YARN, tie_word_embeddings=True,
                                             rms_norm_eps=1e-6), "float32", [9, 120], "v4"),
    "qwen2-window": ("Qwen2Config", sizes(32, 64, 3, 4, 2, 150, 256, rope_theta=1e4, use_sliding_window=True, sliding_window=8,
                                          max_window_layers=1, rms_norm_eps=1e-6), "bfloat16", [7, 8, 9, 60], "v4"),
    "qwen3-wide-heads": ("Qwen3Config", sizes(40, 72, 2, 4, 2, 190, 256, head_dim=16, rope_theta=1e6, tie_word_embeddings=True,
                                              rms_norm_eps=1e-6), "bfloat16", [1, 6, 90], "v5"),
    "qwen3-yarn-window": ("Qwen3Config", sizes(32, 48, 3, 6, 2, 140, 128, head_dim=16, rope_theta=100.0, rope_scaling=YARN | {"beta_fast": 2.0, "beta_slow": 0.5},
                                               use_sliding_window=True, sliding_window=16, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                                               rms_norm_eps=1e-6), "bfloat16", [17, 100], "v5"),
    "llama3-scaled": ("LlamaConfig", sizes(48, 88, 2, 6, 2, 170, 512, rope_theta=100.0, rope_scaling=LLAMA3, rms_norm_eps=1e-5), "bfloat16",
                      [4, 150], "v4"),
    "llama-untied": ("LlamaConfig", sizes(64, 88, 2, 8, 2, 130, 256, rope_theta=1e4, rms_norm_eps=1e-5), "float16", [3, 65], "v4"),
    "llama-linear-tied": ("LlamaConfig", sizes(36, 60, 2, 9, 3, 180, 256, rope_theta=1e5, rope_scaling={"rope_type": "linear", "factor": 2.5},
                                               tie_word_embeddings=True, rms_norm_eps=1e-5), "bfloat16", [11, 80], "v5"),
}


def randomize(tensors, generator):
    """Weights that make every part of the function visible: small embeddings (epsilon), uneven norms, large biases."""
    for name, tensor in tensors.items():
        noise = torch.randn(tensor.shape, generator=generator)
        if "norm" in name or ".ln_" in name:
            tensor.copy_(1 + 0.3 * noise)
        elif name.endswith(".bias"):
            tensor.copy_(0.5 * noise)
        elif "embed" in name or "wte" in name:
            tensor.copy_(0.03 * noise)
        else:
            tensor.copy_(1.5 * noise / tensor.shape[-1] ** 0.5)


def write_config(config, folder, form):
    fields = config.to_dict()
    keep = {"architectures", "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
            "head_dim", "vocab_size", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "hidden_act", "attention_bias", "mlp_bias",
            "use_sliding_window", "sliding_window", "max_window_layers", "layer_types", "rope_parameters", "dtype", "transformers_version", "use_cache"}
    fields = {name: value for name, value in fields.items() if name in keep}
    if form == "v4":
        rope = fields.pop("rope_parameters")
        fields.pop("layer_types", None)
        fields["rope_theta"] = rope.pop("rope_theta")
        fields["rope_scaling"] = None if rope["rope_type"] == "default" else rope
        fields["torch_dtype"] = fields.pop("dtype")
        fields["transformers_version"] = "4.46.0"
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as out:
        json.dump(fields, out, indent=1)
        out.write("\n")


def rows_of(length):
    return sorted({0, length // 3, length // 2, length - 2, length - 1} & set(range(length)))


def write_golden(folder, cases, rows):
    with open(os.path.join(folder, "golden.json"), "w", encoding="utf-8") as out:
        json.dump({"cases": cases}, out, separators=(",", ":"))
        out.write("\n")
    np.concatenate(rows).astype("<f4").tofile(os.path.join(folder, "logits.f32"))


def make_transformers(name, folder):
    config_class, fields, dtype, lengths, form = MODELS[name]
    config = getattr(transformers, config_class)(**fields)
    config.architectures = [config_class.replace("Config", "ForCausalLM")]
    disk = getattr(torch, dtype)
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    tensors = {key: value for key, value in model.state_dict().items() if not (config.tie_word_embeddings and key == "lm_head.weight")}
    randomize(tensors, generator)
    for tensor in tensors.values():
        tensor.copy_(tensor.to(disk).float())
    save_file({key: value.to(disk).contiguous() for key, value in tensors.items()}, os.path.join(folder, "model.safetensors"), {"format": "pt"})
    config.dtype = disk
    write_config(config, folder, form)
    cases, rows = [], []
    for length in lengths:
        ids = torch.randint(0, config.vocab_size, (length,), generator=generator)
        out = model(input_ids=ids[None], use_cache=False).logits[0]
        cases.append({"ids": ids.tolist(), "prompt_tokens": length, "rows": rows_of(length)})
        rows += [out[row].numpy() for row in rows_of(length)]
    write_golden(folder, cases, rows)


def make_qwen1(folder):
    config = {"architectures": ["QWenLMHeadModel"], "auto_map": {"AutoConfig": "configuration_qwen.QWenConfig"}, "attn_dropout_prob": 0.0,
              "bf16": False, "emb_dropout_prob": 0.0, "fp16": False, "fp32": False, "hidden_size": 32, "intermediate_size": 112,
              "initializer_range": 0.02, "kv_channels": 8, "layer_norm_epsilon": 1e-6, "max_position_embeddings": 256, "model_type": "qwen",
              "no_bias": True, "num_attention_heads": 4, "num_hidden_layers": 2, "onnx_safe": None, "rotary_emb_base": 10000, "rotary_pct": 1.0,
              "scale_attn_weights": True, "seq_length": 32, "tie_word_embeddings": False, "tokenizer_class": "QWenTokenizer",
              "transformers_version": "4.32.0", "use_cache": True, "use_dynamic_ntk": True, "use_flash_attn": "auto", "use_logn_attn": True,
              "vocab_size": 151}
    hidden, inter, vocab = 32, 56, 151
    shapes = {"transformer.wte.weight": (vocab, hidden), "transformer.ln_f.weight": (hidden,), "lm_head.weight": (vocab, hidden)}
    for n in range(config["num_hidden_layers"]):
        layer = f"transformer.h.{n}."
        shapes |= {layer + "ln_1.weight": (hidden,), layer + "attn.c_attn.weight": (3 * hidden, hidden), layer + "attn.c_attn.bias": (3 * hidden,),
                   layer + "attn.c_proj.weight": (hidden, hidden), layer + "ln_2.weight": (hidden,), layer + "mlp.w1.weight": (inter, hidden),
                   layer + "mlp.w2.weight": (inter, hidden), layer + "mlp.c_proj.weight": (hidden, inter)}
    generator = torch.Generator().manual_seed(7)
    tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
    randomize(tensors, generator)
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
    save_file(tensors, os.path.join(folder, "model.safetensors"), {"format": "pt"})
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as out:
        json.dump(config, out, indent=1)
        out.write("\n")
    weights = {name: tensor.float().numpy() for name, tensor in tensors.items()}
    cases, rows = [], []
    # (prompt, whole sequence): both sides of every threshold S * 2^k, and answers that cross one with the prompt's alpha.
    lengths = [(31, 31), (32, 32), (33, 33), (64, 64), (65, 65), (128, 128), (129, 129), (30, 40), (60, 72), (33, 140)]
    for flags in [(True, True), (True, False), (False, True), (False, False)]:
        for prompt, length in lengths if all(flags) else [(33, 33), (65, 65)]:
            ids = torch.randint(0, vocab, (length,), generator=generator).tolist()
            out = qwen1_reference.logits(config | {"use_dynamic_ntk": flags[0], "use_logn_attn": flags[1]}, weights, ids, prompt)
            wanted = sorted({prompt - 1, length // 2, length - 1})
            cases.append({"ids": ids, "prompt_tokens": prompt, "rows": wanted, "dynamic_ntk": flags[0], "logn": flags[1]})
            rows += [out[row] for row in wanted]
    write_golden(folder, cases, rows)


GGUF_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
              "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
              "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
              "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "transformer.wte": "token_embd", "transformer.ln_f": "output_norm",
              "ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.w2": "ffn_gate",
              "mlp.w1": "ffn_up", "mlp.c_proj": "ffn_down"}


def gguf_name(name):
    stem, kind = name.rsplit(".", 1)
    for prefix in ("model.layers.", "transformer.h."):
        if stem.startswith(prefix):
            layer, rest = stem[len(prefix) :].split(".", 1)
            return f"blk.{layer}.{GGUF_NAMES[rest]}.{kind}"
    return f"{GGUF_NAMES[stem]}.{kind}"


def llama3_divisors(rope, base, head_dim):
    """What converters store as rope_freqs.weight."""
    divisors = []
    for i in range(0, head_dim, 2):
        wavelength = 2 * np.pi * base ** (i / head_dim)
        low, high = (rope["original_max_position_embeddings"] / rope[name] for name in ("low_freq_factor", "high_freq_factor"))
        if wavelength < high:
            divisors.append(1.0)
        elif wavelength > low:
            divisors.append(rope["factor"])
        else:
            smooth = (rope["original_max_position_embeddings"] / wavelength - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.asarray(divisors, dtype=np.float32)


def make_gguf(source, folder):
    """The checkpoint in `source` as converters write it: fused or permuted q and k, dimensions under arch keys, no rope scaling keys."""
    import gguf
    from safetensors.torch import load_file

    with open(os.path.join(source, "config.json"), encoding="utf-8") as text:
        c = json.load(text)
    arch = c["model_type"]
    writer = gguf.GGUFWriter(os.path.join(folder, "model.gguf"), arch)
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    if arch != "qwen":
        writer.add_head_count_kv(c["num_key_value_heads"])
    if "head_dim" in c:
        writer.add_key_length(c["head_dim"])
        writer.add_value_length(c["head_dim"])
    writer.add_rope_freq_base(c.get("rope_theta") or c.get("rotary_emb_base") or c["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(c.get("rms_norm_eps") or c["layer_norm_epsilon"])
    head_dim = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    for name, tensor in sorted(load_file(os.path.join(source, "model.safetensors")).items()):
        values = tensor.float().numpy()
        if arch == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            rows, columns = values.shape
            values = values.reshape(rows // head_dim, 2, head_dim // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        kind = gguf.GGMLQuantizationType.F32 if values.ndim == 1 else gguf.GGMLQuantizationType.BF16
        writer.add_tensor(gguf_name(name), gguf.quants.quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)
    if (c.get("rope_scaling") or {}).get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(c["rope_scaling"], c["rope_theta"], head_dim))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for name in ("golden.json", "logits.f32"):
        shutil.copyfile(os.path.join(source, name), os.path.join(folder, name))


# name: the checkpoint that it is the GGUF form of
GGUF_MODELS = {"llama3-scaled-gguf": "llama3-scaled", "qwen3-wide-heads-gguf": "qwen3-wide-heads", "qwen1-gguf": "qwen1-ntk"}


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "goldens", "models")
    out = sys.argv[1] if len(sys.argv) > 1 else root
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    for name in sys.argv[2:] or [*MODELS, "qwen1-ntk", *GGUF_MODELS]:
        folder = os.path.join(out, name)
        os.makedirs(folder, exist_ok=True)
        if name in MODELS:
            make_transformers(name, folder)
        elif name in GGUF_MODELS:
            make_gguf(os.path.join(out, GGUF_MODELS[name]), folder)
        else:
            make_qwen1(folder)
        print(name, sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder)), "bytes")


if __name__ == "__main__":
    main()
