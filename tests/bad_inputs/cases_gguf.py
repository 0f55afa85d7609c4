"""Class G: GGUF files."""
import struct

from case import gguf_case
from tiny import (ARRAY, BOOL, F32, I32, LAYERS, STRING, U32, U64, U8, Gguf, VOCAB, VOCAB_SIZE, floats, pack_string)

TENSOR = "blk.0.attn_q.weight"


def set_key(key, kind, value):
    return lambda g: g.set(key, kind, value)


def dims(*values):
    def change(g):
        g.tensor(TENSOR)[1] = list(values)

    return change


def typed(kind, data=None):
    def change(g):
        g.tensor(TENSOR)[2] = kind
        if data is not None:
            g.tensor(TENSOR)[3] = data

    return change


def placed(offset):
    def change(g):
        g.tensor(TENSOR)[4] = offset

    return change


def counts(tensors=None, keys=None):
    def change(g):
        g.num_tensors, g.num_keys = tensors, keys

    return change


def raw_key(key, kind, data):
    """A key whose value's bytes are given as they are."""

    def change(g):
        g.keys.insert(0, (key, kind, data))

    return change


def raw_key_bytes(record):
    """A whole key record as bytes in front of the others."""

    def change(g):
        plain = g.bytes()
        body = plain[24:]
        return plain[:16] + struct.pack("<Q", len(g.keys) + 1) + record + body

    return change


def name_of(text):
    def change(g):
        g.tensor(TENSOR)[0] = text

    return change


def versions():
    for version in (0, 1, 4, 99, 2**32 - 1):
        yield gguf_case("G02", f"version {version}", 5, [str(version), "2", "3"], lambda g, v=version: setattr(g, "version", v))
    yield gguf_case("G02", "other byte order", 5, ["big-endian"], lambda g: g.bytes(endian=">"))
    yield gguf_case("G02", "magic of the other byte order", 5, ["big-endian"], lambda g: setattr(g, "magic", b"FUGG"))
    yield gguf_case("G02", "older magic ggjt", 3, [], lambda g: setattr(g, "magic", b"tjgg"))


def structure():
    for size in (4, 8, 23, 24, 100):
        yield gguf_case("G01", f"first {size} bytes", 3, [], lambda g, s=size: g.bytes()[:s])
    yield gguf_case("G01", "0 bytes", 3, ["empty"], lambda g: b"")
    yield gguf_case("G03", "2^64-1 tensors", 3, ["18446744073709551615"], counts(tensors=2**64 - 1))
    yield gguf_case("G03", "2^64-1 keys", 3, ["18446744073709551615"], counts(keys=2**64 - 1))
    yield gguf_case("G03", "2^63 tensors", 3, ["9223372036854775808"], counts(tensors=2**63))
    yield gguf_case("G03", "one tensor too many", 3, [], lambda g: setattr(g, "num_tensors", len(g.tensors) + 1))
    yield gguf_case("G04", "string of 2^63 bytes", 3, [], raw_key_bytes(pack_string("a.long") + struct.pack("<IQ", STRING, 2**63)))
    yield gguf_case("G04", "key of 2^63 bytes", 3, [], raw_key_bytes(struct.pack("<Q", 2**63) + b"abc"))
    yield gguf_case("G04", "key of 2^64-1 bytes", 3, [], raw_key_bytes(struct.pack("<Q", 2**64 - 1) + b"abc"))
    yield gguf_case("G05", "array of 2^60 elements", 3, ["a.list"], raw_key("a.list", ARRAY, struct.pack("<IQ", U32, 2**60)))
    yield gguf_case("G05", "array of 2^61 doubles: the size wraps", 3, ["a.list"], raw_key("a.list", ARRAY, struct.pack("<IQ", 12, 2**61)))
    yield gguf_case("G05", "array of an unknown type", 3, ["a.list"], raw_key("a.list", ARRAY, struct.pack("<IQ", 77, 1)))
    yield gguf_case("G05", "value of an unknown type", 3, ["a.value"], raw_key("a.value", 13, b"\0" * 8))
    yield gguf_case("G05", "array of strings, more than there are", 3, ["a.list"], raw_key("a.list", ARRAY, struct.pack("<IQ", STRING, 2**40)))
    nested = struct.pack("<IQ", ARRAY, 1) + struct.pack("<IQ", U32, 1) + struct.pack("<I", 1)
    yield gguf_case("G06", "array of arrays", 3, ["a.list"], raw_key("a.list", ARRAY, nested))
    yield gguf_case("G06", "array nested 10,000 deep", 3, ["a.list"], raw_key("a.list", ARRAY, struct.pack("<IQ", ARRAY, 1) * 10_000))
    yield gguf_case("G07", "empty key", 3, [], raw_key_bytes(pack_string("") + struct.pack("<II", U32, 1)))
    yield gguf_case("G07", "key twice", 3, ["qwen2.block_count"], lambda g: g.keys.append(("qwen2.block_count", U32, LAYERS)))
    yield gguf_case("G07", "key of 64 KiB", 3, [], lambda g: g.keys.append(("k" * 65536, U32, 1)))
    yield gguf_case("G07", "key with a newline, twice", 3, ["a\\x0ab"], lambda g: g.keys.extend([("a\nb", U32, 1)] * 2))
    yield gguf_case("G07", "bool of value 2", 3, ["a.flag"], raw_key("a.flag", BOOL, b"\2"))
    for value in (0, 3, 2**31, 1, 4, 131072):
        yield gguf_case("G08", f"alignment {value}", 3, ["general.alignment", str(value)], set_key("general.alignment", U32, value))
    yield gguf_case("G08", "alignment a text", 3, ["general.alignment"], set_key("general.alignment", STRING, "32"))
    yield gguf_case("G08", "alignment a u64", 3, ["general.alignment"], set_key("general.alignment", U64, 32))


def tensors():
    yield gguf_case("G09", "0 dimensions", 3, [TENSOR], dims())
    yield gguf_case("G09", "5 dimensions", 3, [TENSOR, "5"], dims(32, 32, 1, 1, 1))

    def many_dims(g):
        data = g.bytes()
        record = pack_string(TENSOR)
        at = data.index(record) + len(record)
        return data[:at] + b"\xff" * 4 + data[at + 4 :]

    yield gguf_case("G09", "2^32-1 dimensions", 3, [TENSOR, "4294967295"], many_dims)
    yield gguf_case("G10", "dimension 0", 3, [TENSOR], dims(32, 0))
    yield gguf_case("G10", "first dimension 0", 3, [TENSOR], dims(0, 32))
    yield gguf_case("G10", "dimension -1", 3, [TENSOR], dims(32, -1))
    yield gguf_case("G10", "dimension 2^42+1", 3, [TENSOR], dims(32, 2**42 + 1))
    yield gguf_case("G11", "size wraps to the right one", 3, [TENSOR], dims(32, 2**59 + 32))
    yield gguf_case("G11", "product of 2^40 three times", 3, [TENSOR], dims(2**40, 2**40, 2**40))

    def sum_wraps(g):
        for tensor in g.tensors[-2:]:
            tensor[1] = [2**40, 2**21]

    yield gguf_case("G11", "sum of sizes wraps", 3, [], sum_wraps)
    yield gguf_case("G12", "padding wraps", 3, [TENSOR], placed(2**64 - 32))
    yield gguf_case("G13", "Q4_0 row of 33", 3, [TENSOR, "32"], lambda g: (dims(33, 32)(g), typed(2)(g)))
    yield gguf_case("G13", "Q4_K row of 32", 3, [TENSOR, "256"], typed(12))
    for kind in (4, 5, 31, 36, 99, 2**31, 2**32 - 1):
        yield gguf_case("G14", f"type id {kind}", 5, [TENSOR, str(kind)], typed(kind))
    for kind, name in ((16, "IQ2_XXS"), (20, "IQ4_NL")):
        yield gguf_case("G14", f"type {name}", 5, [TENSOR], typed(kind, floats(1024, 1)))
    yield gguf_case("G14", "type I32 for a weight", 3, [TENSOR, "i32"], typed(26))
    yield gguf_case("G15", "offset not aligned", 3, [TENSOR], placed(4))
    yield gguf_case("G15", "offset past the end", 3, [TENSOR], placed(2**40))
    yield gguf_case("G15", "tensors overlap", 3, [], placed(0))
    yield gguf_case("G15", "last byte missing", 3, [], lambda g: g.bytes()[:-1])
    size = len(Gguf().bytes())
    # Every byte is tested in mutations_test.cpp, without a process each.
    for cut in list(range(24, 400, 61)) + list(range(400, size, size // 12)):
        yield gguf_case("G16", f"truncated at {cut}", 3, [], lambda g, c=cut: g.bytes()[:c])
    yield gguf_case("G16", "tensor name of 64 KiB", 3, [], name_of("n" * 65536))
    yield gguf_case("G16", "tensor name empty", 3, [], name_of(""))
    yield gguf_case("G16", "tensor name twice", 3, ["blk.0.attn_k.weight"], name_of("blk.0.attn_k.weight"))


def model():
    for value in (0, 513, 2**32 - 1):
        yield gguf_case("G17", f"block_count {value}", 3, ["qwen2.block_count", str(value)], set_key("qwen2.block_count", U32, value))
    yield gguf_case("G17", "head_count 0", 3, ["qwen2.attention.head_count"], set_key("qwen2.attention.head_count", U32, 0))
    yield gguf_case("G17", "head_count_kv 3 of 4", 3, ["head_count_kv"], set_key("qwen2.attention.head_count_kv", U32, 3))
    yield gguf_case("G17", "embedding_length 0", 3, ["qwen2.embedding_length"], set_key("qwen2.embedding_length", U32, 0))
    yield gguf_case("G17", "block_count a text", 3, ["qwen2.block_count"], set_key("qwen2.block_count", STRING, "2"))
    yield gguf_case("G17", "block_count missing", 3, ["qwen2.block_count"], lambda g: g.drop("qwen2.block_count"))
    yield gguf_case("G17", "epsilon NaN", 3, ["layer_norm_rms_epsilon"], set_key("qwen2.attention.layer_norm_rms_epsilon", F32, float("nan")))
    yield gguf_case("G17", "rope base -1", 3, ["rope.freq_base"], set_key("qwen2.rope.freq_base", F32, -1.0))
    yield gguf_case("G18", "tokens of numbers", 3, ["tokenizer.ggml.tokens"], set_key("tokenizer.ggml.tokens", ARRAY, (U32, [1, 2])))
    yield gguf_case("G18", "token types one short", 3, ["token_type"], set_key("tokenizer.ggml.token_type", ARRAY, (I32, [1] * (VOCAB_SIZE - 1))))
    yield gguf_case("G18", "token types of texts", 3, ["token_type"], set_key("tokenizer.ggml.token_type", ARRAY, (STRING, ["a"] * VOCAB_SIZE)))
    yield gguf_case("G18", "scores one more", 3, ["scores"], set_key("tokenizer.ggml.scores", ARRAY, (F32, [0.0] * (VOCAB_SIZE + 1))))
    yield gguf_case("G18", "fewer tokens than rows", 3, ["tokenizer.ggml.token"],
                    lambda g: (g.set("tokenizer.ggml.tokens", ARRAY, (STRING, VOCAB[:100]))))
    yield gguf_case("G18", "no tokens", 3, ["tokenizer"], lambda g: g.drop("tokenizer.ggml.tokens"))
    yield gguf_case("G18", "a merge without a space", 3, ["merges"], set_key("tokenizer.ggml.merges", ARRAY, (STRING, ["he"])))
    for key in ("eos", "bos", "padding"):
        yield gguf_case("G19", f"{key} id = vocabulary", 3, [f"tokenizer.ggml.{key}_token_id", str(VOCAB_SIZE)],
                        set_key(f"tokenizer.ggml.{key}_token_id", U32, VOCAB_SIZE))
    yield gguf_case("G20", "architecture bert", 5, ["bert", "qwen2"], set_key("general.architecture", STRING, "bert"))
    yield gguf_case("G20", "architecture of 64 KiB", 5, [], set_key("general.architecture", STRING, "b" * 65536))
    yield gguf_case("G20", "architecture a number", 3, ["general.architecture"], set_key("general.architecture", U32, 1))
    yield gguf_case("G20", "architecture missing", 3, ["general.architecture"], lambda g: g.drop("general.architecture"))

    def split(g):
        g.set("split.no", 2, 0)
        g.set("split.count", 2, 3)
        g.set("split.tensors.count", I32, len(g.tensors) * 3)

    yield gguf_case("G20", "part 2 of 3 missing", 3, ["2"], split)


def rejects_of_llama_cpp():
    """The hand-made rejects of llama.cpp's test-gguf.cpp that no case above is: values that are bad only together."""
    yield gguf_case("G21", "bad magic", 3, [], lambda g: setattr(g, "magic", b"GGML"))
    yield gguf_case("G21", "magic cut off", 3, [], lambda g: b"GG")
    yield gguf_case("G21", "no tensors", 3, [], lambda g: g.tensors.clear())
    yield gguf_case("G21", "no keys", 3, ["general.architecture"], lambda g: g.keys.clear())
    yield gguf_case("G21", "keys cut off", 3, [], lambda g: setattr(g, "num_keys", len(g.keys) + 5))
    yield gguf_case("G21", "fewer keys said than there are", 3, [], lambda g: setattr(g, "num_keys", len(g.keys) - 5))
    yield gguf_case("G21", "fewer tensors said than there are", 3, [], lambda g: setattr(g, "num_tensors", len(g.tensors) - 3))
    yield gguf_case("G21", "tensor type as a key's type", 3, ["a.value"], raw_key("a.value", 2**32 - 1, b"\0" * 8))
    yield gguf_case("G21", "all tensors at offset 0", 3, [], lambda g: [t.__setitem__(4, 0) for t in g.tensors])
    yield gguf_case("G21", "data of the last tensor missing", 3, [], lambda g: g.bytes()[: -len(g.tensors[-1][3])])
    yield gguf_case("G21", "alignment of the data other than said", 3, [], set_key("general.alignment", U32, 4096))


def cases():
    for group in (structure, versions, tensors, model, rejects_of_llama_cpp):
        yield from group()
