#!/usr/bin/env python3
"""Opens an engine file with the Python package `safetensors` and compares what it sees with the file's own metadata.

Usage: check_safetensors.py FILE.quern...   (needs safetensors and numpy; with xxhash the checksums are recomputed too)
Prints one line a file; exits 1 at the first difference.
"""
import json
import struct
import sys

from safetensors import safe_open

ALIGNMENT = 256
PLAIN = {"f32": "F32", "f16": "F16", "bf16": "BF16"}


def check(condition, text):
    if not condition:
        raise SystemExit(text)


def check_file(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    data = 8 + length
    check(data % ALIGNMENT == 0, f"{path}: data starts at {data}, want a multiple of {ALIGNMENT}")
    offsets = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    check(offsets == sorted(offsets), f"{path}: entries are not sorted by offset")

    num_tensors = num_sums = 0
    with safe_open(path, framework="np") as engine:
        metadata = engine.metadata()
        names = set(engine.keys())
        check(metadata["quern.format_version"] == "1", f"{path}: format version {metadata['quern.format_version']}")
        for key in ("model", "generation", "chat", "build", "receipt"):
            json.loads(metadata[f"quern.{key}"])
        for name in names:
            entry = header[name]
            if name.startswith("__pad."):
                check(entry["dtype"] == "U8" and entry["shape"][0] < ALIGNMENT, f"{path}: {name}: {entry}")
                continue
            kind, shape, checksum = metadata[f"quern.tensor.{name}"].split(" ")
            stored = engine.get_slice(name)
            check(stored.get_dtype() == PLAIN.get(kind, "U8"), f"{path}: {name}: {kind} is stored as {stored.get_dtype()}")
            want = json.loads(shape)
            got = list(stored.get_shape())
            check(got[:-1] == want[:-1] and (kind not in PLAIN or got == want), f"{path}: {name}: {kind} {want} is stored as {got}")
            begin, end = entry["data_offsets"]
            check((data + begin) % ALIGNMENT == 0, f"{path}: {name}: starts at {data + begin}")
            num_tensors += 1
            num_sums += check_sum(path, name, data + begin, end - begin, checksum)
        listed = sum(key.startswith("quern.tensor.") for key in metadata)
        check(listed == num_tensors, f"{path}: {listed} tensors in the metadata, {num_tensors} in the file")
    print(f"{path}: {num_tensors} tensors, {num_sums} checksums, as safetensors reads them")


def check_sum(path, name, begin, count, want):
    try:
        import xxhash
    except ImportError:
        return 0
    digest = xxhash.xxh3_64()
    with open(path, "rb") as file:
        file.seek(begin)
        while count > 0:
            part = file.read(min(count, 1 << 24))
            digest.update(part)
            count -= len(part)
    check(digest.hexdigest() == want, f"{path}: {name}: checksum {digest.hexdigest()}, want {want}")
    return 1


if __name__ == "__main__":
    check(len(sys.argv) > 1, __doc__)
    for argument in sys.argv[1:]:
        check_file(argument)
