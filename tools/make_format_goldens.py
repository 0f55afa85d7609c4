#!/usr/bin/env python3
"""Random blocks of every GGUF format with the values that the Python package `gguf` reads from them.

Writes tests/goldens/formats.json: {format: {"row": hex of the blocks, "values": hex of the float32 values, little-endian}}.
Needs gguf and numpy. The random numbers are fixed, so that a second run writes the same file.
"""
import json
import pathlib

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

# Quern's name, GGUF's type, byte offsets of the f16 scales inside a block: random bytes there would give NaN and infinity.
FORMATS = [
    ("f16", T.F16, [0]), ("bf16", T.BF16, []), ("i8g32", T.Q8_0, [0]), ("i4g32", T.Q4_0, [0]), ("q4_1", T.Q4_1, [0, 2]),
    ("q5_0", T.Q5_0, [0]), ("q5_1", T.Q5_1, [0, 2]), ("q2_k", T.Q2_K, [80, 82]), ("q3_k", T.Q3_K, [108]),
    ("q4_k", T.Q4_K, [0, 2]), ("q5_k", T.Q5_K, [0, 2]), ("q6_k", T.Q6_K, [208]),
]


def main():
    random = np.random.default_rng(20240607)
    goldens = {}
    for name, kind, scales in FORMATS:
        values, size = GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, (max(2, 1024 // values), size), dtype=np.uint8)
        for at in scales:
            # Every exponent from denormal to large, both signs.
            bits = random.integers(0, 0x7C00, len(blocks), dtype=np.uint16) | (random.integers(0, 2, len(blocks), dtype=np.uint16) << 15)
            blocks[:, at:at + 2] = bits.astype("<u2").view(np.uint8).reshape(-1, 2)
        if kind == T.BF16:
            blocks[:, 1] &= 0xBF  # keeps the exponent finite
        with np.errstate(over="raise", invalid="raise"):
            read = dequantize(blocks.reshape(1, -1), kind).astype("<f4")
        assert np.isfinite(read).all()
        goldens[name] = {"row": blocks.tobytes().hex(), "values": read.tobytes().hex()}
    path = pathlib.Path(__file__).parent.parent / "tests" / "goldens" / "formats.json"
    path.write_text(json.dumps(goldens, indent=0) + "\n")
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
