"""Valid checkpoints of a few kilobytes, as Python values that a case changes before they are written.

A Hugging Face folder (class HfCheckpoint) and a GGUF file (class Gguf), both a 2-layer Qwen2 model with a byte-level vocabulary of 264.
Nothing but the standard library; the bytes are the same on every run.
"""
import json
import math
import os
import random
import struct

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 32, 64, 2, 4, 2, 8
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w")]
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_characters():
    """The 256 printable characters that stand for bytes in GPT-2 style vocabularies, by byte."""
    plain = list(range(ord("!"), ord("~") + 1)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    table, extra = {}, 0
    for byte in range(256):
        if byte in plain:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(256 + extra)
            extra += 1
    return [table[byte] for byte in range(256)]


VOCAB = byte_characters() + [a + b for a, b in MERGES] + SPECIALS
VOCAB_SIZE = len(VOCAB)
EOS = VOCAB.index("<|im_end|>")


def floats(count, seed, scale=0.05):
    source = random.Random(seed)
    return struct.pack(f"<{count}f", *(source.gauss(0, scale) for _ in range(count)))


def ones(count):
    return struct.pack(f"<{count}f", *([1.0] * count))


def tensor_shapes():
    """name -> shape, in Hugging Face's names."""
    q, kv = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    shapes = {"model.embed_tokens.weight": [VOCAB_SIZE, HIDDEN], "model.norm.weight": [HIDDEN]}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        shapes[layer + "input_layernorm.weight"] = [HIDDEN]
        shapes[layer + "post_attention_layernorm.weight"] = [HIDDEN]
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            shapes[f"{layer}self_attn.{name}_proj.weight"] = [rows, HIDDEN]
            shapes[f"{layer}self_attn.{name}_proj.bias"] = [rows]
        shapes[layer + "self_attn.o_proj.weight"] = [HIDDEN, q]
        shapes[layer + "mlp.gate_proj.weight"] = [INTERMEDIATE, HIDDEN]
        shapes[layer + "mlp.up_proj.weight"] = [INTERMEDIATE, HIDDEN]
        shapes[layer + "mlp.down_proj.weight"] = [HIDDEN, INTERMEDIATE]
    return shapes


def values_of(name, shape):
    count = math.prod(shape)
    return ones(count) if "norm" in name else floats(count, seed=name)


def safetensors(header, data):
    """The file's bytes; `header` is a dict or the header's bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


class HfCheckpoint:
    """A folder as dictionaries; write() makes it. Change anything before."""

    def __init__(self):
        self.config = {
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": VOCAB_SIZE, "hidden_size": HIDDEN,
            "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS, "hidden_act": "silu", "max_position_embeddings": 256, "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "tie_word_embeddings": True, "torch_dtype": "float32", "eos_token_id": EOS,
        }
        self.tokenizer = {
            "version": "1.0",
            "added_tokens": [
                {"id": VOCAB.index(text), "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                 "special": True} for text in SPECIALS
            ],
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": QWEN2_PATTERN}, "behavior": "Isolated", "invert": False},
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
                ],
            },
            "post_processor": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
            "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
            "model": {
                "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                "fuse_unk": False, "byte_fallback": False,
                "vocab": {text: i for i, text in enumerate(VOCAB[:-len(SPECIALS)])}, "merges": [f"{a} {b}" for a, b in MERGES],
            },
        }
        # Recognised by its parts, and never run.
        template = "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}"
        self.tokenizer_config = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "model_max_length": 256, "chat_template": template}
        self.header, self.data = {}, b""
        for name, shape in tensor_shapes().items():
            self.add(name, shape, values_of(name, shape))

    def add(self, name, shape, data, dtype="F32"):
        self.header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(self.data), len(self.data) + len(data)]}
        self.data += data

    def remove(self, name):
        """Drops a tensor and closes the gap."""
        begin, end = self.header.pop(name)["data_offsets"]
        self.data = self.data[:begin] + self.data[end:]
        for entry in self.header.values():
            if entry["data_offsets"][0] >= end:
                entry["data_offsets"] = [offset - (end - begin) for offset in entry["data_offsets"]]

    def replace(self, name, shape, data, dtype="F32"):
        self.remove(name)
        self.add(name, shape, data, dtype)

    def tensor_bytes(self, name):
        begin, end = self.header[name]["data_offsets"]
        return self.data[begin:end]

    def file(self):
        return safetensors(self.header, self.data)

    def write(self, folder):
        os.makedirs(folder, exist_ok=True)
        for name, value in (("config.json", self.config), ("tokenizer.json", self.tokenizer), ("tokenizer_config.json", self.tokenizer_config)):
            if value is not None:
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(value if isinstance(value, bytes) else json.dumps(value).encode())
        with open(os.path.join(folder, "model.safetensors"), "wb") as file:
            file.write(self.file())

    def write_shards(self, folder):
        """Two shards and an index, returned; the caller may change and rewrite it."""
        self.write(folder)
        os.remove(os.path.join(folder, "model.safetensors"))
        names = list(self.header)
        index = {"metadata": {}, "weight_map": {}}
        for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
            shard = HfCheckpoint.__new__(HfCheckpoint)
            shard.header, shard.data = {}, b""
            for name in part:
                shard.add(name, self.header[name]["shape"], self.tensor_bytes(name))
                index["weight_map"][name] = f"model-0000{number}-of-00002.safetensors"
            with open(os.path.join(folder, f"model-0000{number}-of-00002.safetensors"), "wb") as file:
                file.write(shard.file())
        self.write_index(folder, index)
        return index

    @staticmethod
    def write_index(folder, index):
        with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
            json.dump(index, file)


# GGUF value types.
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACKING = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}
GGUF_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "model.layers.": "blk.",
}


def gguf_name(name):
    for old, new in GGUF_NAMES.items():
        name = name.replace(old, new)
    return name


def pack_string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def pack_value(kind, value):
    if kind == STRING:
        return pack_string(value)
    if kind == ARRAY:
        element, values = value
        return struct.pack("<IQ", element, len(values)) + b"".join(pack_value(element, each) for each in values)
    return struct.pack("<" + PACKING[kind], value)


class Gguf:
    """A GGUF file as lists; bytes() makes it. Every field of the header can be overridden."""

    def __init__(self):
        self.magic, self.version = b"GGUF", 3
        self.num_tensors = self.num_keys = None  # None: as many as there are
        token_types = [1] * (VOCAB_SIZE - len(SPECIALS)) + [3] * len(SPECIALS)
        self.keys = [
            ("general.architecture", STRING, "qwen2"), ("general.name", STRING, "tiny"), ("general.file_type", U32, 0),
            ("qwen2.block_count", U32, LAYERS), ("qwen2.context_length", U32, 256), ("qwen2.embedding_length", U32, HIDDEN),
            ("qwen2.feed_forward_length", U32, INTERMEDIATE), ("qwen2.attention.head_count", U32, HEADS),
            ("qwen2.attention.head_count_kv", U32, KV_HEADS), ("qwen2.attention.layer_norm_rms_epsilon", F32, 1e-6),
            ("qwen2.rope.freq_base", F32, 10000.0), ("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "qwen2"),
            ("tokenizer.ggml.tokens", ARRAY, (STRING, list(VOCAB))), ("tokenizer.ggml.token_type", ARRAY, (I32, token_types)),
            ("tokenizer.ggml.merges", ARRAY, (STRING, [f"{a} {b}" for a, b in MERGES])), ("tokenizer.ggml.eos_token_id", U32, EOS),
        ]
        # name, dimensions as in the file (fastest first), type id, bytes, offset or None (next aligned one)
        self.tensors = [[gguf_name(name), shape[::-1], 0, values_of(name, shape), None] for name, shape in tensor_shapes().items()]
        self.alignment = 32

    def set(self, key, kind, value):
        for i, (name, _, _) in enumerate(self.keys):
            if name == key:
                self.keys[i] = (key, kind, value)
                return
        self.keys.append((key, kind, value))

    def drop(self, key):
        self.keys = [entry for entry in self.keys if entry[0] != key]

    def tensor(self, name):
        return next(t for t in self.tensors if t[0] == name)

    def bytes(self, endian="<"):
        num_tensors = len(self.tensors) if self.num_tensors is None else self.num_tensors
        num_keys = len(self.keys) if self.num_keys is None else self.num_keys
        out = self.magic + struct.pack(endian + "I", self.version) + struct.pack("<QQ", num_tensors, num_keys)
        for key, kind, value in self.keys:
            out += pack_string(key) + struct.pack("<I", kind) + (value if isinstance(value, bytes) and kind != STRING else pack_value(kind, value))
        data = b""
        for name, dims, kind, values, offset in self.tensors:
            data += b"\0" * (-len(data) % self.alignment)
            place = len(data) if offset is None else offset
            out += pack_string(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d % 2**64) for d in dims)
            out += struct.pack("<IQ", kind, place)
            data += values
        return out + b"\0" * (-len(out) % self.alignment) + data
