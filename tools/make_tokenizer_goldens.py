#!/usr/bin/env python3
"""Writes the goldens of the Qwen tokenizers under tests/text/ from the reference implementations.

Usage: pip install tokenizers tiktoken; tools/make_tokenizer_goldens.py DATA
DATA holds tokenizer_cases.jsonl and tokenizers/{qwen1/qwen.tiktoken, qwen2.5/tokenizer.json, qwen3/tokenizer.json,
llama.cpp-qwen2-cases/ggml-vocab-qwen2.gguf.{inp,out}}.
  tokenizer_cases.jsonl   the cases, as they are (composed for this project, CC0; 46 from llama.cpp, MIT)
  qwen_merges.bin         the vocabulary that all generations share (Apache-2.0): the 256 bytes of ids 0 to 255, then for each id from 256
                          on the two ids whose merge it is, 7 bits a byte, lowest first
  tokenizer_goldens.json  expected ids. "base": as text, Qwen2. "differ": for each generation and mode what is not as in "base";
                          under "splitters" the same vocabulary, as text, behind other splitters and without NFC.
                          More than 96 ids are written as "count:hash" (FNV-1a over the ids as 32-bit little-endian).
References: Hugging Face tokenizers for Qwen2, 2.5 and 3; tiktoken for the first generation, with Python's NFC as its tokenizer does.
"""
import base64
import json
import pathlib
import shutil
import struct
import sys
import unicodedata

import tiktoken
import tokenizers

LONG = 96
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
MODES = ("as_text", "not_control", "all")


def short(ids):
    if len(ids) <= LONG:
        return ids
    value = 0xCBF29CE484222325
    for byte in struct.pack(f"<{len(ids)}i", *ids):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{len(ids)}:{value:016x}"


def hugging_face(path, num_added=None):
    """One encoder a mode. encode_special_tokens is the library's name for leaving control tokens as text."""
    data = json.loads(path.read_text(encoding="utf-8"))
    data["added_tokens"] = data["added_tokens"][:num_added]
    encoders = {}
    for mode in MODES:
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(data if mode != "as_text" else {**data, "added_tokens": []}))
        tokenizer.encode_special_tokens = mode == "not_control"
        encoders[mode] = lambda text, t=tokenizer: t.encode(text, add_special_tokens=False).ids
    return encoders


def with_splitters(path):
    """Qwen's vocabulary behind the other splitters, without NFC."""
    data = json.loads(path.read_text(encoding="utf-8"))
    byte_level = lambda use_regex: {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
    digits = {"type": "Digits", "individual_digits": True}
    split = {"type": "Split", "pattern": {"Regex": PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")}, "behavior": "Isolated", "invert": False}
    sequences = {"gpt2": [byte_level(True)], "smollm": [digits, byte_level(True)], "llama3": [split, byte_level(False)]}
    encoders = {}
    for name, parts in sequences.items():
        changed = {**data, "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "Sequence", "pretokenizers": parts}}
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(changed))
        encoders[name] = lambda text, t=tokenizer: t.encode(text, add_special_tokens=False).ids
    return encoders


def first_generation(path):
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in path.read_bytes().splitlines() if line)}
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [f"<|extra_{i}|>" for i in range(205)]
    special = {name: len(ranks) + i for i, name in enumerate(names)}
    encoding = tiktoken.Encoding("Qwen", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)
    as_text = lambda text: encoding.encode(unicodedata.normalize("NFC", text), allowed_special=set(), disallowed_special=())
    parsed = lambda text: encoding.encode(unicodedata.normalize("NFC", text), allowed_special="all", disallowed_special=())
    return {"as_text": as_text, "not_control": as_text, "all": parsed}  # all of its special tokens are control tokens


def write_merges(json_path, out):
    model = json.loads(json_path.read_text(encoding="utf-8"))["model"]
    vocab = model["vocab"]
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = {chr(b): b for b in kept}
    alphabet |= {chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in kept)}
    blob = bytearray(256)
    for char, byte in alphabet.items():
        blob[vocab[char]] = byte
    for i, merge in enumerate(model["merges"]):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        assert vocab[left + right] == 256 + i
        for part in (vocab[left], vocab[right]):
            while part >= 0x80:
                blob.append(part & 0x7F | 0x80)
                part >>= 7
            blob.append(part)
    out.write_bytes(blob)


def main():
    data = pathlib.Path(sys.argv[1])
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests/text"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(data / "tokenizer_cases.jsonl", folder / "tokenizer_cases.jsonl")
    write_merges(data / "tokenizers/qwen2.5/tokenizer.json", folder / "qwen_merges.bin")
    cases = [json.loads(line) for line in open(data / "tokenizer_cases.jsonl", encoding="ascii")]
    texts = [case["text"] if case["text"] is not None else bytes.fromhex(case["bytes_hex"]).decode("utf-8", "replace") for case in cases]
    generations = {
        "qwen1": first_generation(data / "tokenizers/qwen1/qwen.tiktoken"),
        "qwen2": hugging_face(data / "tokenizers/qwen2.5/tokenizer.json", 3),
        "qwen2.5": hugging_face(data / "tokenizers/qwen2.5/tokenizer.json"),
        "qwen3": hugging_face(data / "tokenizers/qwen3/tokenizer.json"),
        "splitters": with_splitters(data / "tokenizers/qwen2.5/tokenizer.json"),
    }
    ids = {name: {mode: [encode(text) for text in texts] for mode, encode in encoders.items()} for name, encoders in generations.items()}
    base = ids["qwen2"]["as_text"]
    differ = {name: {mode: {cases[i]["id"]: short(want) for i, want in enumerate(lists) if want != base[i]} for mode, lists in modes.items()}
              for name, modes in ids.items()}

    raw = (data / "tokenizers/llama.cpp-qwen2-cases/ggml-vocab-qwen2.gguf.inp").read_text(encoding="utf-8")
    inputs = raw.split("\n__ggml_vocab_test__\n")
    outputs = (data / "tokenizers/llama.cpp-qwen2-cases/ggml-vocab-qwen2.gguf.out").read_text().split("\n")
    own = {text: i for i, text in enumerate(texts)}
    agree = sum([int(x) for x in outputs[i].split()] == base[own[text]] for i, text in enumerate(inputs) if text in own)
    print(f"llama.cpp's expected ids equal those of tokenizers in {agree} of {len(inputs)} cases")
    golden = {"base": {case["id"]: short(want) for case, want in zip(cases, base)}, "differ": differ,
              "unicode": {"python": unicodedata.unidata_version, "tokenizers": tokenizers.__version__, "tiktoken": tiktoken.__version__}}
    path = folder / "tokenizer_goldens.json"
    path.write_text(json.dumps(golden, separators=(",", ":")).replace(',"t', ',\n"t') + "\n")
    for name, modes in differ.items():
        print(name, {mode: len(lists) for mode, lists in modes.items()})
    for file in ("tokenizer_cases.jsonl", "qwen_merges.bin", "tokenizer_goldens.json"):
        print(f"{folder / file}: {(folder / file).stat().st_size} bytes")


if __name__ == "__main__":
    main()
