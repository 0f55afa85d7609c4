#!/usr/bin/env python3
"""Small checkpoints in the layouts of quantized models, with the values that they mean, for tests/goldens/quantized.

    make_quantized_goldens.py [OUT = tests/goldens/quantized] [NAME...]

A folder holds config.json, model.safetensors, golden.json and logits.f32 as those of make_model_goldens.py do. golden.json has "weights" as
well: for each quantized matrix the format that Quern reads it as and the XXH3-64 of its values, [out, in] as little-endian float32. The values
are unpacked here, by NumPy, from the tensors that were written; the logits are those of a model that has these values.
compressed-tensors' int4 codes are packed by that package; GPTQ, AWQ and FP8 by their published rules.
Needs torch, transformers, safetensors, numpy, xxhash, compressed-tensors.
"""
import json
import os
import sys

import numpy as np
import torch
import transformers
import xxhash
from safetensors.torch import save_file

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import qwen1_reference  # noqa: E402
from make_model_goldens import randomize, rows_of, sizes, write_config, write_golden  # noqa: E402

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # nibble i of word c is output 8c + AWQ_ORDER[i]


def grid(weight, bits, index, symmetric, dtype=np.float16):
    """Codes [out, in], scales [out, groups] and zero points of round to nearest; index: the group of each column."""
    top, groups = 2**bits - 1, int(index.max()) + 1
    scales = np.zeros((len(weight), groups), np.float32)
    zeros = np.zeros((len(weight), groups), np.int64)
    for g in range(groups):
        part = weight[:, index == g]
        if symmetric:
            scales[:, g], zeros[:, g] = np.abs(part).max(1) / (top // 2), (top + 1) // 2
        else:
            low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
            scales[:, g] = (high - low) / top
            zeros[:, g] = np.clip(np.round(-low / scales[:, g]), 1, top)
    scales = torch.from_numpy(scales).to(dtype if isinstance(dtype, torch.dtype) else torch.float16)
    exact = scales.float().numpy()
    codes = np.clip(np.round(weight / exact[:, index]) + zeros[:, index], 0, top).astype(np.int64)
    return codes, scales, zeros


def words(codes, bits):
    """Neighbours of the last axis into int32 words, the first one lowest."""
    many = 32 // bits
    shifts = np.arange(many, dtype=np.uint64) * np.uint64(bits)
    packed = (codes.astype(np.uint64).reshape(*codes.shape[:-1], -1, many) << shifts).sum(-1)
    return torch.from_numpy(packed.astype(np.uint32).view(np.int32).copy())


def unwords(packed, bits):
    values = packed.numpy().view(np.uint32)[..., None] >> (np.arange(32 // bits, dtype=np.uint32) * np.uint32(bits))
    return (values & np.uint32(2**bits - 1)).reshape(*packed.shape[:-1], -1).astype(np.int64)


class Gptq:
    def __init__(self, bits=4, group=128, symmetric=True, version=1, act_order=False, dtype=torch.float16):
        self.bits, self.group, self.symmetric, self.version, self.act_order, self.dtype = bits, group, symmetric, version, act_order, dtype

    def config(self):
        fields = {"bits": self.bits, "group_size": self.group, "damp_percent": 0.01, "desc_act": self.act_order, "static_groups": False,
                  "sym": self.symmetric, "true_sequential": True, "model_name_or_path": None, "model_file_base_name": "model", "quant_method": "gptq"}
        return fields | ({"checkpoint_format": "gptq_v2"} if self.version == 2 else {})

    def pack(self, name, weight, random):
        rows, columns = weight.shape
        group = columns if self.group == -1 else self.group
        index = np.arange(columns) // group
        if self.act_order:
            index = index[random.permutation(columns)]
        codes, scales, zeros = grid(weight, self.bits, index, self.symmetric, self.dtype)
        stored = zeros - (1 if self.version == 1 else 0)
        return {name + ".qweight": words(codes, self.bits).T.contiguous(), name + ".qzeros": words(stored.T, self.bits).contiguous(),
                name + ".scales": scales.T.contiguous(), name + ".g_idx": torch.from_numpy(index.astype(np.int32))}

    def unpack(self, name, t):
        codes = unwords(t[name + ".qweight"].T.contiguous(), self.bits)
        zeros = unwords(t[name + ".qzeros"], self.bits).T + (1 if self.version == 1 else 0)
        index = t[name + ".g_idx"].numpy()
        scales = t[name + ".scales"].float().numpy().T
        return scales[:, index] * (codes - zeros[:, index]).astype(np.float32)

    def format(self, shape):
        block = shape[1] if self.group == -1 else self.group
        if self.act_order or (self.bits == 8 and not self.symmetric):
            return "f32"
        if self.bits == 8 and block == shape[1]:
            return "i8"
        return f"i{self.bits}g{block}" + ("" if self.symmetric else "z")


class Awq:
    def __init__(self, group=64):
        self.group = group

    def config(self):
        return {"quant_method": "awq", "bits": 4, "group_size": self.group, "zero_point": True, "version": "gemm", "modules_to_not_convert": None}

    def pack(self, name, weight, random):
        codes, scales, zeros = grid(weight, 4, np.arange(weight.shape[1]) // self.group, False)
        order = np.array(AWQ_ORDER)

        def interleaved(values):  # [.., out] -> words
            return words(values.reshape(len(values), -1, 8)[..., order].reshape(len(values), -1), 4).contiguous()

        return {name + ".qweight": interleaved(codes.T), name + ".qzeros": interleaved(zeros.T), name + ".scales": scales.T.contiguous()}

    def unpack(self, name, t):
        def straight(packed):
            nibbles, out = unwords(packed, 4).reshape(packed.shape[0], -1, 8), np.empty((packed.shape[0], packed.shape[1], 8), np.int64)
            for i, place in enumerate(AWQ_ORDER):
                out[..., place] = nibbles[..., i]
            return out.reshape(packed.shape[0], -1)

        codes, zeros, scales = straight(t[name + ".qweight"]), straight(t[name + ".qzeros"]), t[name + ".scales"].float().numpy()
        return (np.repeat(scales, self.group, 0) * (codes - np.repeat(zeros, self.group, 0)).astype(np.float32)).T

    def format(self, shape):
        return f"i4g{self.group}z"


def to_e4m3(weight, scale):
    return torch.from_numpy(np.clip(weight / scale, -448, 448)).to(torch.float8_e4m3fn)


class Fp8:
    """By tensor, by row, or by block of 128x128 as Qwen3's checkpoints are."""

    def __init__(self, by, compressed=False):
        self.by, self.compressed = by, compressed
        self.scale = ".weight_scale_inv" if by == "block" else ".weight_scale"

    def config(self):
        if self.compressed:
            weights = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True, "dynamic": False, "group_size": None}
            return {"quant_method": "compressed-tensors", "format": "float-quantized", "quantization_status": "compressed", "ignore": ["lm_head"],
                    "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "output_activations": None,
                                                  "input_activations": {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}}}}
        fields = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "static" if self.by == "tensor" else "dynamic"}
        return fields | ({"weight_block_size": [128, 128]} if self.by == "block" else {})

    def pack(self, name, weight, random):
        if self.by == "tensor":
            scale = torch.tensor(np.abs(weight).max() / 448, dtype=torch.float32)
            return {name + ".weight": to_e4m3(weight, scale.numpy()), name + self.scale: scale, name + ".input_scale": torch.tensor(0.02)}
        if self.by == "row":
            scale = torch.from_numpy(np.abs(weight).max(1, keepdims=True) / 448).to(torch.bfloat16 if self.compressed else torch.float32)
            return {name + ".weight": to_e4m3(weight, scale.float().numpy()), name + self.scale: scale}
        down, across = (-(-n // 128) for n in weight.shape)
        scale = np.array([[np.abs(weight[128 * i : 128 * i + 128, 128 * j : 128 * j + 128]).max() / 448 for j in range(across)] for i in range(down)])
        scale = torch.from_numpy(scale).to(torch.bfloat16)
        return {name + ".weight": to_e4m3(weight, self.spread(scale, weight.shape)), name + self.scale: scale}

    @staticmethod
    def spread(scale, shape):
        return np.repeat(np.repeat(scale.float().numpy(), 128, 0), 128, 1)[: shape[0], : shape[1]]

    def unpack(self, name, t):
        bits = t[name + ".weight"].view(torch.uint8).numpy().astype(np.int64)
        exponent, mantissa = bits >> 3 & 15, bits & 7
        values = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0)) * np.where(bits >> 7, -1.0, 1.0)
        scale = t[name + self.scale]
        scale = self.spread(scale, bits.shape) if self.by == "block" else scale.float().numpy()
        return values.astype(np.float32) * scale

    def format(self, shape):
        return "f8g128" if shape[1] % 128 == 0 else "f8g32"


class Compressed:
    def __init__(self, bits, group, symmetric=True, act_order=False, packed=True):
        self.bits, self.group, self.symmetric, self.act_order, self.packed = bits, group, symmetric, act_order, packed

    def config(self):
        weights = {"num_bits": self.bits, "type": "int", "strategy": "group" if self.group else "channel", "group_size": self.group,
                   "symmetric": self.symmetric, "actorder": "group" if self.act_order else None, "dynamic": False}
        return {"quant_method": "compressed-tensors", "format": "pack-quantized" if self.packed else "int-quantized",
                "quantization_status": "compressed", "ignore": ["lm_head"], "kv_cache_scheme": None,
                "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None}}}

    def pack(self, name, weight, random):
        rows, columns = weight.shape
        index = np.arange(columns) // (self.group or columns)
        if self.act_order:
            index = index[random.permutation(columns)]
        codes, scales, zeros = grid(weight, self.bits, index, self.symmetric, torch.bfloat16)
        middle = 2 ** (self.bits - 1)
        signed, points = torch.from_numpy(codes - middle).to(torch.int8), torch.from_numpy(zeros - middle).to(torch.int8)
        if not self.packed:
            return {name + ".weight": signed, name + ".weight_scale": scales}
        from compressed_tensors.compressors.pack_quantized import pack_to_int32

        tensors = {name + ".weight_packed": pack_to_int32(signed, self.bits), name + ".weight_scale": scales,
                   name + ".weight_shape": torch.tensor([rows, columns])}
        if not self.symmetric:
            tensors[name + ".weight_zero_point"] = pack_to_int32(points, self.bits, packed_dim=0).contiguous()
        if self.act_order:
            tensors[name + ".weight_g_idx"] = torch.from_numpy(index.astype(np.int32))
        return tensors

    def unpack(self, name, t):
        middle, scales = 2 ** (self.bits - 1), t[name + ".weight_scale"].float().numpy()
        codes = unwords(t[name + ".weight_packed"], self.bits) - middle if self.packed else t[name + ".weight"].numpy().astype(np.int64)
        columns = codes.shape[1]
        index = t[name + ".weight_g_idx"].numpy() if self.act_order else np.arange(columns) // (columns // scales.shape[1])
        zeros = np.zeros(scales.shape, np.int64)
        if not self.symmetric:
            zeros = unwords(t[name + ".weight_zero_point"].T.contiguous(), self.bits).T[: len(codes)] - middle
        return scales[:, index] * (codes - zeros[:, index]).astype(np.float32)

    def format(self, shape):
        if self.act_order:
            return "f32"
        if self.bits == 8 and self.group in (None, shape[1]):
            return "i8"
        return f"i{self.bits}g{self.group or 128}" + ("" if self.symmetric else "z")


LAYOUTS = {
    "gptq-int4": Gptq(), "gptq-int8": Gptq(bits=8, group=64), "gptq-int4-asymmetric": Gptq(group=32, symmetric=False),
    "gptq-v2-asymmetric": Gptq(group=64, symmetric=False, version=2), "gptq-act-order": Gptq(group=32, act_order=True),
    "gptq-whole-rows": Gptq(bits=8, group=-1), "gptq-int8-asymmetric": Gptq(bits=8, group=128, symmetric=False),
    "gptq-qwen1-int4": Gptq(group=32), "awq-gemm": Awq(),
    "fp8-tensor": Fp8("tensor"), "fp8-row": Fp8("row"), "fp8-block": Fp8("block"),
    "compressed-int4": Compressed(4, 128), "compressed-int4-asymmetric": Compressed(4, 32, symmetric=False),
    "compressed-int4-act-order": Compressed(4, 64, act_order=True), "compressed-int8": Compressed(8, None, packed=False),
    "compressed-int8-packed": Compressed(8, 128), "compressed-fp8": Fp8("row", compressed=True),
}


def is_matrix(name):
    return name.endswith(".weight") and not any(part in name for part in ("norm", "ln_", "embed", "wte", "lm_head"))


def quantize(layout, tensors, random):
    """The tensors as written, the float32 values that they mean, and golden "weights"."""
    written, meant, golden = {}, {}, {}
    for name, tensor in tensors.items():
        if not is_matrix(name):
            written[name], meant[name] = tensor.to(torch.float16), tensor.to(torch.float16).float()
            continue
        module = name.removesuffix(".weight")
        parts = layout.pack(module, tensor.float().numpy(), random)
        values = np.ascontiguousarray(layout.unpack(module, parts), dtype="<f4")
        golden[name] = {"format": layout.format(values.shape), "xxh3": xxhash.xxh3_64_hexdigest(values.tobytes())}
        written |= parts
        meant[name] = torch.from_numpy(values)
    return written, meant, golden


def save(folder, written, config):
    save_file({name: tensor.contiguous() for name, tensor in written.items()}, os.path.join(folder, "model.safetensors"), {"format": "pt"})
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as out:
        json.dump(config, out, indent=1)
        out.write("\n")


def add_weights(folder, golden):
    path = os.path.join(folder, "golden.json")
    with open(path, encoding="utf-8") as text:
        fields = json.load(text)
    with open(path, "w", encoding="utf-8") as out:
        json.dump(fields | {"weights": golden}, out, separators=(",", ":"))
        out.write("\n")


def make_qwen2(layout, folder, seed):
    block = isinstance(layout, Fp8) and layout.by == "block"
    fields = sizes(128, 160 if block else 128, 1, 2, 1, 96, 128, rope_theta=1e4, rms_norm_eps=1e-6, tie_word_embeddings=True)
    config = transformers.Qwen2Config(**fields)
    config.architectures = ["Qwen2ForCausalLM"]
    generator, random = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    tensors = {key: value for key, value in model.state_dict().items() if key != "lm_head.weight"}
    randomize(tensors, generator)
    written, meant, golden = quantize(layout, tensors, random)
    for name, tensor in tensors.items():
        tensor.copy_(meant[name])
    config.dtype = torch.float16
    write_config(config, folder, "v4")
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as text:
        save(folder, written, json.load(text) | {"quantization_config": layout.config()})
    cases, rows = [], []
    for length in (3, 40):
        ids = torch.randint(0, config.vocab_size, (length,), generator=generator)
        out = model(input_ids=ids[None], use_cache=False).logits[0]
        cases.append({"ids": ids.tolist(), "prompt_tokens": length, "rows": rows_of(length)})
        rows += [out[row].numpy() for row in rows_of(length)]
    write_golden(folder, cases, rows)
    add_weights(folder, golden)


def make_qwen1(layout, folder, seed):
    hidden, inter, vocab = 64, 96, 96
    config = {"architectures": ["QWenLMHeadModel"], "attn_dropout_prob": 0.0, "bf16": False, "emb_dropout_prob": 0.0, "fp16": True, "fp32": False,
              "hidden_size": hidden, "intermediate_size": 2 * inter, "initializer_range": 0.02, "kv_channels": 16, "layer_norm_epsilon": 1e-6,
              "max_position_embeddings": 256, "model_type": "qwen", "no_bias": True, "num_attention_heads": 4, "num_hidden_layers": 1,
              "onnx_safe": None, "rotary_emb_base": 10000, "rotary_pct": 1.0, "scale_attn_weights": True, "seq_length": 32,
              "tie_word_embeddings": False, "tokenizer_class": "QWenTokenizer", "transformers_version": "4.32.0", "use_cache": True,
              "use_dynamic_ntk": True, "use_flash_attn": "auto", "use_logn_attn": True, "vocab_size": vocab, "quantization_config": layout.config()}
    layer = "transformer.h.0."
    shapes = {"transformer.wte.weight": (vocab, hidden), "transformer.ln_f.weight": (hidden,), "lm_head.weight": (vocab, hidden),
              layer + "ln_1.weight": (hidden,), layer + "attn.c_attn.weight": (3 * hidden, hidden), layer + "attn.c_attn.bias": (3 * hidden,),
              layer + "attn.c_proj.weight": (hidden, hidden), layer + "ln_2.weight": (hidden,), layer + "mlp.w1.weight": (inter, hidden),
              layer + "mlp.w2.weight": (inter, hidden), layer + "mlp.c_proj.weight": (hidden, inter)}
    generator, random = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
    randomize(tensors, generator)
    written, meant, golden = quantize(layout, tensors, random)
    for module, size in (("attn.c_proj", hidden), ("mlp.w1", inter), ("mlp.w2", inter), ("mlp.c_proj", hidden)):
        written[layer + module + ".bias"] = torch.zeros(size, dtype=torch.float16)  # as the released ones have them
    save(folder, written, config)
    weights = {name: tensor.numpy() for name, tensor in meant.items()}
    cases, rows = [], []
    for prompt, length in ((5, 5), (33, 40)):
        ids = torch.randint(0, vocab, (length,), generator=generator).tolist()
        out = qwen1_reference.logits(config, weights, ids, prompt)
        wanted = sorted({prompt - 1, length // 2, length - 1})
        cases.append({"ids": ids, "prompt_tokens": prompt, "rows": wanted, "dynamic_ntk": True, "logn": True})
        rows += [out[row] for row in wanted]
    write_golden(folder, cases, rows)
    add_weights(folder, golden)


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "goldens", "quantized")
    out = sys.argv[1] if len(sys.argv) > 1 else root
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    for name in sys.argv[2:] or LAYOUTS:
        folder = os.path.join(out, name)
        os.makedirs(folder, exist_ok=True)
        make = make_qwen1 if "qwen1" in name else make_qwen2
        make(LAYOUTS[name], folder, sum(map(ord, name)))
        print(name, sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder)), "bytes")


if __name__ == "__main__":
    main()
