#!/usr/bin/env python3
"""A model of the same function whose weights lie on no quantizer's grid, as float16 GGUF: what quantizers are compared on when the only
source at hand is quantized already (docs/quality.md).

    make_offgrid_gguf.py SOURCE.gguf OUT.gguf

Channels between two linear maps may be scaled on one side and unscaled on the other: inputs of q, k, v and of gate, up against their norm, rows
of up against columns of down, rows of v (and its bias) against columns of the output projection, and inputs of a head of its own against the last
norm. Each factor is drawn from [0.8, 1.25], the same ones each time. The embedding stays what it is. Needs gguf and numpy. Architectures qwen2 and llama.
"""
import sys

import gguf
import numpy as np

source, out = sys.argv[1:3]
reader = gguf.GGUFReader(source)
field = {name: f.contents() for name, f in reader.fields.items() if f.types and f.types[0] != gguf.GGUFValueType.ARRAY}
arch = field["general.architecture"]
heads, kv_heads = field[f"{arch}.attention.head_count"], field[f"{arch}.attention.head_count_kv"]
tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
random = np.random.default_rng(7)


def factors(n):
    return np.exp(random.uniform(np.log(0.8), np.log(1.25), n)).astype(np.float32)


for i in range(field[f"{arch}.block_count"]):
    b = f"blk.{i}."
    for norm, readers in (("attn_norm", ("attn_q", "attn_k", "attn_v")), ("ffn_norm", ("ffn_gate", "ffn_up"))):
        s = factors(tensors[b + norm + ".weight"].size)
        tensors[b + norm + ".weight"] /= s
        for name in readers:
            tensors[b + name + ".weight"] *= s
    t = factors(tensors[b + "ffn_up.weight"].shape[0])
    tensors[b + "ffn_up.weight"] *= t[:, None]
    tensors[b + "ffn_down.weight"] /= t
    r = factors(tensors[b + "attn_v.weight"].shape[0])
    tensors[b + "attn_v.weight"] *= r[:, None]
    if b + "attn_v.bias" in tensors:
        tensors[b + "attn_v.bias"] *= r
    each = r.reshape(kv_heads, -1)
    tensors[b + "attn_output.weight"] /= np.repeat(each, heads // kv_heads, axis=0).reshape(-1)
if "output.weight" in tensors:
    s = factors(tensors["output_norm.weight"].size)
    tensors["output_norm.weight"] /= s
    tensors["output.weight"] *= s
writer = gguf.GGUFWriter(out, arch)
for name, f in reader.fields.items():
    if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type", "general.quantization_version"):
        continue
    kind = f.types[0]
    writer.add_key_value(name, f.contents(), kind, f.types[1] if kind == gguf.GGUFValueType.ARRAY else None)
writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
for t in reader.tensors:
    values = tensors[t.name]
    writer.add_tensor(t.name, values if values.ndim == 1 else values.astype(np.float16))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
