#!/usr/bin/env python3
"""Writes the tokenizer of the 260K-parameter story model as a Hugging Face tokenizer.json, and goldens of its encoding.

Usage: tools/make_stories_tokenizer.py tok512.bin [TEXTS ...]
  tests/models/stories260K-qwen2/tokenizer.json    BPE on characters with byte fallback, U+2581 for spaces, <s> in front
  tests/text/stories_goldens.json                  texts and their ids by llama2.c's rule, which encode() below writes out
tok512.bin (llama2.c): the longest token's size, then for each token its score (float), its size and its bytes. Ids 0 to 2 are <unk>, <s>
and </s>, 3 to 258 the bytes, then pieces; a merge's priority is the score of its result.
"""
import json
import pathlib
import struct
import sys

BLOCK = "\u2581"


def read(path):
    data = pathlib.Path(path).read_bytes()
    at, tokens = 4, []
    while at < len(data):
        score, size = struct.unpack_from("<fi", data, at)
        tokens.append((data[at + 8:at + 8 + size], score))
        at += 8 + size
    return tokens


def encode(tokens, text):
    """llama2.c: a space in front, characters or their bytes, then the neighbours whose union has the best score, the leftmost first."""
    ids = {token: i for i, (token, _) in reversed(list(enumerate(tokens)))}
    out = [ids[b" "]] if text else []
    for char in text:
        raw = char.encode()
        out += [ids[raw]] if raw in ids else [byte + 3 for byte in raw]
    while True:
        best, where = None, -1
        for i in range(len(out) - 1):
            union = ids.get(tokens[out[i]][0] + tokens[out[i + 1]][0])
            if union is not None and (best is None or tokens[union][1] > tokens[best][1]):
                best, where = union, i
        if best is None:
            return out
        out[where:where + 2] = [best]


def tokenizer_json(tokens):
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    assert [token for token, _ in tokens[3:259]] == [name.encode() for name in names[3:]]
    names += [token.decode().replace(" ", BLOCK) for token, _ in tokens[259:]]
    vocab = {name: i for i, name in enumerate(names)}
    assert len(vocab) == len(tokens)
    merges = []
    for name in sorted(names[259:], key=lambda n: -tokens[vocab[n]][1]):  # best score first
        merges += [[name[:i], name[i:]] for i in range(1, len(name)) if vocab.get(name[:i], 0) >= 259 and vocab.get(name[i:], 0) >= 259]
    added = [{"id": i, "content": names[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for i in range(3)]
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    sequence = lambda name, kind: {"Sequence": {"id": name, "type_id": kind}}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": BLOCK},
                                                           {"type": "Replace", "pattern": {"String": " "}, "content": BLOCK}]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": [bos, sequence("A", 0)], "pair": [bos, sequence("A", 0), bos, sequence("B", 1)],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": BLOCK}, "content": " "},
                                                     {"type": "ByteFallback"}, {"type": "Fuse"},
                                                     {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": vocab, "merges": merges},
    }


TEXTS = ["", "a", " ", "Once upon a time", " Once", "  two  spaces  ", "Lily's mom said, \"Let's go!\"", "line\nline\n\n", "tab\tend", "été 根本 🤗",
         "ZZZ zzz", "the the the the", "aaaaaaaaaaaaaaaaaaaaaaaa", "Tim and Sue went to the big park. They saw a dog.", "1234567890",
         "no_spaces_here-only/symbols;", "She said: <s> </s> <unk> <0x41>", "\u0000\u0001\u007f", "mid  \n  line", "THE END."]


def main():
    tokens = read(sys.argv[1])
    root = pathlib.Path(__file__).resolve().parent.parent
    texts = list(TEXTS)
    for path in sys.argv[2:]:
        texts += [line for line in pathlib.Path(path).read_text(encoding="utf-8").split("\n") if line]
    data = tokenizer_json(tokens)
    folder = root / "tests/models/stories260K-qwen2"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "PreTrainedTokenizerFast",
              "clean_up_tokenization_spaces": False, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    goldens = [{"text": text, "ids": encode(tokens, text)} for text in texts]
    path = root / "tests/text/stories_goldens.json"
    path.write_text("[" + ",\n".join(json.dumps(golden, separators=(",", ":")) for golden in goldens) + "]\n")
    print(f"{len(tokens)} tokens, {len(data['model']['merges'])} merges, {len(goldens)} texts")


if __name__ == "__main__":
    main()
