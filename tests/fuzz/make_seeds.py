#!/usr/bin/env python3
"""Writes small good inputs for each fuzz target: make_seeds.py FOLDER -> FOLDER/{safetensors,gguf,engine_file,tokenizer,json_schema,http}/*. Standard library only."""
import base64
import json
import pathlib
import struct
import sys


def safetensors(entries, metadata=None, align=8):
    """A safetensors file of (name, dtype, shape, bytes)."""
    header, at = ({"__metadata__": metadata} if metadata else {}), 0
    for name, dtype, shape, size in entries:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % align)
    return struct.pack("<Q", len(text)) + text + bytes(at)


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def key(name, kind, value):
    return text(name) + struct.pack("<I", kind) + value


def array(name, kind, count, elements):
    return key(name, 9, struct.pack("<IQ", kind, count) + elements)


def gguf(keys, tensors, version=3):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys)
    data = 0
    for name, dims, kind, size in tensors:
        out += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind, data)
        data += size + -size % 32
    return out + bytes(-len(out) % 32) + bytes(data)


def gguf_seeds():
    base = [key("general.architecture", 8, text("qwen2")), key("qwen2.block_count", 4, struct.pack("<I", 2))]
    tokens = array("tokenizer.ggml.tokens", 8, 3, text("a") + text("b") + text("ab"))
    tokenizer = [key("tokenizer.ggml.model", 8, text("gpt2")), tokens, array("tokenizer.ggml.token_type", 5, 3, struct.pack("<3i", 1, 3, 1)),
                 array("tokenizer.ggml.scores", 6, 3, struct.pack("<3f", 0, 1, 2)), array("tokenizer.ggml.merges", 8, 1, text("a b")),
                 key("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 2))]
    kinds = [key(f"k{i}", kind, value) for i, (kind, value) in enumerate([
        (0, b"\1"), (1, b"\1"), (2, b"\1\0"), (3, b"\1\0"), (5, bytes(4)), (6, bytes(4)), (7, b"\1"), (10, bytes(8)), (11, bytes(8)), (12, bytes(8))])]
    every_type = [(f"t{kind}", [values, 2], kind, 2 * size) for kind, values, size in [
        (0, 1, 4), (1, 1, 2), (2, 32, 18), (3, 32, 20), (6, 32, 22), (7, 32, 24), (8, 32, 34), (10, 256, 84), (11, 256, 110), (12, 256, 144),
        (13, 256, 176), (14, 256, 210), (30, 1, 2)]]
    yield gguf(base, [("a.weight", [8, 2], 0, 64)])
    yield gguf(base + tokenizer, [("a", [32], 2, 18), ("b", [4, 2], 0, 32)], version=2)
    yield gguf(base + kinds + [key("general.alignment", 4, struct.pack("<I", 32))], [("a", [1, 1, 1, 1], 0, 4)])
    yield gguf(base + [array("list", 4, 2, bytes(8)), array("texts", 8, 1, text("x"))], every_type)


def safetensors_seeds():
    small = safetensors([("a", "F32", [2], 8), ("b\u00e9", "BF16", [1, 3], 6)], {"format": "pt"})
    every = safetensors([(f"t{i}", dtype, [8], bits) for i, (dtype, bits) in enumerate([
        ("F32", 32), ("F16", 16), ("BF16", 16), ("BOOL", 8), ("U8", 8), ("I64", 64), ("F8_E4M3", 8), ("F6_E2M3", 6), ("F4", 4)])] + [("s", "U8", [], 1), ("z", "F16", [0, 7], 0)])
    index = json.dumps({"metadata": {"total_size": 1, "x": [1.5e3, None, True, {"a": []}]}, "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}).encode()
    for data in (small, every):
        yield b"\0" + data
        yield b"\1" + data
        yield b"\4" + data
    yield b"\2" + index


def engine_seeds():
    def metadata(tensors):
        out = {"quern.header_xxh3": "0" * 16, "quern.format_version": "1"}
        for name in ("model", "generation", "chat", "build", "receipt"):
            out[f"quern.{name}"] = '{"a":[1,"b"]}' if name == "model" else "null"
        return out | {f"quern.tensor.{name}": f"{kind} {'0' * 16}" for name, kind in tensors}

    yield safetensors([("n", "BF16", [2, 2], 8), ("__pad.0", "U8", [248], 248), ("tokenizer", "U8", [3], 3)], metadata([("n", "bf16 [2,2]"), ("tokenizer", "raw [3]")]), 256)
    yield safetensors([("q", "U8", [3, 36], 108)], metadata([("q", "i4g32 [3,64]")]), 256)
    yield safetensors([("q", "U8", [2, 14], 28)], metadata([("q", "i8 [2,10]")]), 256)


def tokenizer_seeds():
    """One byte for the kind of file, then the file."""
    models = pathlib.Path(__file__).parent.parent / "models"
    for path in sorted(models.glob("*/tokenizer.json")):
        yield b"\0" + path.read_bytes()
    alphabet = {chr(c): i for i, c in enumerate([*range(33, 127), *range(161, 173), *range(174, 256)])}
    alphabet |= {chr(256 + i): len(alphabet) + i for i in range(256 - len(alphabet))}
    vocabulary = alphabet | {"ab": 256, "abc": 257}
    model = {"type": "BPE", "vocab": vocabulary, "merges": ["a b", "ab c"]}
    yield b"\0" + json.dumps({"model": model, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}, "added_tokens": [
        {"id": 258, "content": "<|im_end|>", "special": True, "normalized": False}]}).encode()
    yield b"\1" + b"".join(base64.b64encode(bytes([i])) + f" {i}\n".encode() for i in range(256)) + b"YWI= 256\n"
    yield b"\2" + json.dumps(vocabulary).encode() + b"\0#version: 0.2\na b\nab c\n"


def json_schema_seeds():
    """One byte for the draws, then a schema."""
    for schema in ({"type": "object", "properties": {"a": {"type": "integer", "minimum": 0}, "b": {"$ref": "#/$defs/c"}}, "required": ["a"],
                    "additionalProperties": False, "$defs": {"c": {"type": ["string", "null"], "maxLength": 4}}},
                   {"type": "array", "items": {"anyOf": [{"const": 1}, {"enum": ["x", True, None, 1.5]}]}, "minItems": 1, "maxItems": 3},
                   {"type": "object", "additionalProperties": {"type": "number"}}, {"prefixItems": [{"type": "boolean"}], "type": "array"}, True):
        yield b"\7" + json.dumps(schema).encode()


def http_seeds():
    """One byte for the size of the pieces, then a request."""
    yield b"\5GET /v1/models?x=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\n\r\n"
    yield b"\1POST / HTTP/1.0\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello"
    yield b"\3POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n5;x=y\r\nhello\r\n0\r\nt: 1\r\n\r\n"


TARGETS = {"safetensors": safetensors_seeds, "gguf": gguf_seeds, "engine_file": engine_seeds, "tokenizer": tokenizer_seeds,
           "json_schema": json_schema_seeds, "http": http_seeds}

if __name__ == "__main__":
    for target, seeds in TARGETS.items():
        folder = pathlib.Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds()):
            (folder / f"seed{number}").write_bytes(seed)
