"""Class F: safetensors files and shards."""
import json
import math
import os
import struct

from case import Case, hf_case
from tiny import HIDDEN, HfCheckpoint, floats, safetensors

NAME = "model.layers.0.self_attn.q_proj.weight"
FILE = "model.safetensors"


def raw(id, title, says, make_bytes):
    """A checkpoint whose model.safetensors is make_bytes(checkpoint)."""

    def make(work):
        checkpoint = HfCheckpoint()
        checkpoint.write(work.path("model"))
        work.write("model/" + FILE, make_bytes(checkpoint))
        return work.path("model")

    return Case(id, title, 3, [FILE] + says, make)


def entry(id, title, says, **fields):
    """Fields of one tensor's entry replaced."""
    return hf_case(id, title, 3, [FILE, NAME] + says, lambda c: c.header[NAME].update(fields))


def header_text(checkpoint, old, new):
    text = json.dumps(checkpoint.header)
    assert old in text
    return safetensors(text.replace(old, new, 1).encode(), checkpoint.data)


def many_tensors(count):
    body = ",".join(f'"{i:x}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(count))
    return safetensors(("{" + body + "}").encode(), b"")


def overlap(checkpoint):
    first, second = list(checkpoint.header)[:2]
    begin, end = checkpoint.header[first]["data_offsets"]
    checkpoint.header[second]["data_offsets"] = [begin, begin + (lambda o: o[1] - o[0])(checkpoint.header[second]["data_offsets"])]


def hole(checkpoint):
    last = max(checkpoint.header.values(), key=lambda e: e["data_offsets"][0])
    last["data_offsets"] = [offset + 8 for offset in last["data_offsets"]]
    checkpoint.data += b"\0" * 8


def shards(id, title, says, change):
    """Two shards; change(work, index) may edit files and returns whether the index is written anew."""

    def make(work):
        checkpoint = HfCheckpoint()
        index = checkpoint.write_shards(work.path("model"))
        change(work, index)
        return work.path("model")

    return Case(id, title, 3, says, make)


def reindex(work, index, name, shard):
    index["weight_map"][name] = shard
    HfCheckpoint.write_index(work.path("model"), index)


def outside(kind):
    def change(work, index):
        target = "evil.safetensors"
        if kind == "parent":
            work.write("evil.safetensors", HfCheckpoint().file())
            target = "../evil.safetensors"
        elif kind == "absolute":
            target = work.write("evil.safetensors", HfCheckpoint().file())
        elif kind == "loop":
            os.symlink("evil.safetensors", work.path("model/evil.safetensors"))
        elif kind == "fifo":
            os.mkfifo(work.path("model/evil.safetensors"))
        elif kind == "folder":
            os.mkdir(work.path("model/evil.safetensors"))
        elif kind == "device":
            target = "/dev/zero"
        elif kind == "symlink to a device":
            os.symlink("/dev/zero", work.path("model/evil.safetensors"))
        elif kind == "empty name":
            target = ""
        elif kind == "dot":
            target = "."
        reindex(work, index, NAME, target)

    return change


def twice(work, index):
    """The first shard holds a tensor of the second one as well."""
    path = work.path("model/model-00001-of-00002.safetensors")
    checkpoint = HfCheckpoint()
    shard = HfCheckpoint.__new__(HfCheckpoint)
    shard.header, shard.data = {}, b""
    for name in list(checkpoint.header)[: len(checkpoint.header) // 2] + [list(checkpoint.header)[-1]]:
        shard.add(name, checkpoint.header[name]["shape"], checkpoint.tensor_bytes(name))
    with open(path, "wb") as file:
        file.write(shard.file())


def not_in_shard(work, index):
    index["weight_map"]["model.layers.7.mlp.up_proj.weight"] = "model-00001-of-00002.safetensors"
    HfCheckpoint.write_index(work.path("model"), index)


def header_of_size(size):
    def make(work):
        HfCheckpoint().write(work.path("model"))
        work.sparse("model/" + FILE, size + 8, struct.pack("<Q", size) + b"{")
        return work.path("model")

    return make


def cases():
    yield raw("F01", "0 bytes", ["empty"], lambda c: b"")
    for size in (1, 7):
        yield raw("F02", f"{size} bytes", ["8"], lambda c, size=size: b"\x10" * size)
    yield raw("F03", "header length 2^64-1", ["18446744073709551615"], lambda c: b"\xff" * 8 + c.file()[8:])
    yield raw("F03", "header length 2^63", ["9223372036854775808"], lambda c: struct.pack("<Q", 2**63) + c.file()[8:])
    yield raw("F04", "header length past the file", ["header"], lambda c: struct.pack("<Q", len(c.file()) + 1) + c.file()[8:])
    yield raw("F04", "header length past the file by one", ["header"], lambda c: struct.pack("<Q", len(c.file()) - 7) + c.file()[8:])
    yield Case("F05", "header of 100,000,001 bytes", 3, [FILE, "100000000"], header_of_size(100_000_001))
    yield Case("F05", "header of 3 GB", 3, [FILE, "100000000"], header_of_size(3_000_000_000))
    for first in (b"[", b"\0", b"\xef", b"x", b" "):
        yield raw("F06", f"header starts with {first!r}", ["8", "{"], lambda c, first=first: c.file()[:8] + first + c.file()[9:])
    yield raw("F07", "invalid UTF-8 in a name", ["UTF-8", "offset 11"], lambda c: safetensors(b'{"a\xff":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4))
    yield raw("F07", "overlong UTF-8 in a name", ["UTF-8", "offset 11"], lambda c: safetensors(b'{"a\xc0\xaf":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4))
    yield raw("F08", "JSON depth 10,000", ["64"], lambda c: safetensors(b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", b""))
    yield raw("F08", "JSON depth 5 million, open", ["64"], lambda c: safetensors(b'{"a":' + b"[" * 5_000_000, b""))
    yield raw("F08", "JSON depth 65 of objects", ["64"], lambda c: safetensors(b'{"a":' * 65 + b"1" + b"}" * 65, b""))
    yield raw("F09", "a name twice", [NAME], lambda c: header_text(c, '"model.norm.weight"', f'"{NAME}"'))
    yield raw("F09", "a key of an entry twice", ["dtype"], lambda c: header_text(c, '"dtype": "F32"', '"dtype": "F32", "dtype": "F32"'))
    yield hf_case("F10", "__metadata__ value a number", 3, [FILE, "__metadata__", "format"], lambda c: c.header.update(__metadata__={"format": 1}))
    yield hf_case("F10", "__metadata__ a list", 3, [FILE, "__metadata__", "offset"], lambda c: c.header.update(__metadata__=["pt"]))
    yield entry("F11", "begin > end", ["8", "4"], data_offsets=[8, 4])
    yield raw("F12", "one byte missing at the end", [], lambda c: c.file()[:-1])
    yield entry("F12", "end past the data", [], data_offsets=[0, 10**12])
    yield entry("F12", "end 2^64-1", [], data_offsets=[0, 2**64 - 1])
    yield entry("F12", "end 2^64", [], data_offsets=[0, 2**64])
    yield hf_case("F13", "overlapping ranges", 3, [FILE], overlap)
    yield hf_case("F14", "hole of 8 bytes", 3, [FILE], hole)
    yield raw("F14", "trailing bytes", [], lambda c: c.file() + b"\0" * 16)
    yield entry("F15", "shape larger than the range", [], shape=[64, HIDDEN])
    yield entry("F15", "shape smaller than the range", [], shape=[8, HIDDEN])
    yield entry("F15", "dtype wider than the range", [], dtype="F64")
    yield entry("F16", "product of the shape overflows", [], shape=[2**32, 2**32, 16])
    yield entry("F16", "product wraps to the right size", [], shape=[2**63, 2, 1024])
    for name, value in (("negative", -1), ("fraction", 1.5), ("2^64", 2**64), ("text", "32"), ("null", None), ("true", True)):
        yield entry("F17", f"dimension: {name}", [], shape=[32, value])
    yield raw("F17", "dimension 1e400", [], lambda c: header_text(c, "[32, 32]", "[32, 1e400]"))
    yield raw("F17", "dimension 3e1", [], lambda c: header_text(c, "[32, 32]", "[32, 3.2e1]"))
    yield entry("F18", "rank 9", ["8"], shape=[1] * 7 + [32, 32])
    yield hf_case("F18", "shape is no list", 3, [FILE, NAME, "offset", "1024"], lambda c: c.header[NAME].update(shape=1024))
    yield hf_case("F18", "rank 0 for a matrix", 3, [NAME, "[]"], lambda c: c.replace(NAME, [], floats(1, 1)))
    yield hf_case("F18", "vector for a matrix", 3, [NAME, "[1024]"], lambda c: c.replace(NAME, [1024], c.tensor_bytes(NAME)))
    yield hf_case("F18", "transposed matrix", 3, ["model.layers.0.mlp.up_proj.weight", "[32,64]", "[64,32]"],
                  lambda c: c.replace("model.layers.0.mlp.up_proj.weight", [32, 64], c.tensor_bytes("model.layers.0.mlp.up_proj.weight")))
    yield entry("F19", "dtype F7", ["f7"], dtype="F7")
    yield hf_case("F19", "dtype a number", 3, [FILE, NAME, "offset", "32"], lambda c: c.header[NAME].update(dtype=32))
    yield hf_case("F19", "I16 where a float is expected", 3, [NAME, "i16"], lambda c: c.replace(NAME, [32, 32], b"\1" * 2048, "I16"))
    yield hf_case("F19", "BOOL where a float is expected", 3, [NAME, "bool"], lambda c: c.replace(NAME, [32, 32], b"\1" * 1024, "BOOL"))
    yield raw("F20", "1,000,001 tensors", ["1000000"], lambda c: many_tensors(1_000_001))
    yield raw("F21", "name of 1 MiB", ["4096"], lambda c: header_text(c, '"model.norm.weight"', '"' + "n" * 2**20 + '"'))
    for name, escape, shown in (("NUL", "\\u0000", "\\x00"), ("newline", "\\n", "\\x0a"), ("terminal escape", "\\u001b[2J", "\\x1b")):
        yield raw("F21", f"name with {name}", [shown], lambda c, e=escape: header_text(c, '"model.norm.weight"', f'"model{e}norm"'))
    yield raw("F21", "empty name", [], lambda c: header_text(c, '"model.norm.weight"', '""'))
    for kind in ("parent", "absolute", "loop", "fifo", "folder", "device", "symlink to a device", "empty name", "dot"):
        yield shards("F22", f"weight_map: {kind}", ["model.safetensors.index.json" if kind in ("parent", "absolute", "device", "empty name", "dot") else "evil.safetensors"], outside(kind))
    yield shards("F23", "shard missing", ["model-00002-of-00002.safetensors"], lambda w, i: os.remove(w.path("model/model-00002-of-00002.safetensors")))
    yield shards("F24", "a tensor in two shards", ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], twice)
    yield shards("F25", "tensor in the index, not in its shard", ["model.layers.7.mlp.up_proj.weight", "model-00001-of-00002.safetensors"], not_in_shard)
    yield shards("F25", "weight_map value a number", ["model.safetensors.index.json"], lambda w, i: reindex(w, i, NAME, 3))
    yield shards("F25", "index without weight_map", ["weight_map"], lambda w, i: (i.pop("weight_map"), HfCheckpoint.write_index(w.path("model"), i)))
    yield hf_case("F25", "a tensor is missing", 3, ["model.layers.1.mlp.down_proj.weight"], lambda c: c.remove("model.layers.1.mlp.down_proj.weight"))
    # An architecture that is not this one, and a config that counts other layers than the file has (as Q03).
    for name, code in (("model.layers.0.mlp.router.weight", 5), ("model.layers.2.mlp.down_proj.weight", 3)):
        yield hf_case("F25", f"a tensor that the model does not have: {name}", code, [name],
                      lambda c, n=name: c.add(n, [32, 64], floats(math.prod([32, 64]), 3)))
