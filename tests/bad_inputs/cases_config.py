"""Class Q: config.json and what stands beside it."""
import json
import struct

from case import Case, hf_case
from tiny import EOS, HIDDEN, VOCAB_SIZE, HfCheckpoint, floats

EMBED = "model.embed_tokens.weight"
QUERY = "model.layers.0.self_attn.q_proj.weight"


def field(id, title, code, says, **values):
    return hf_case(id, title, code, ["config.json"] + says, lambda c: c.config.update(values))


def config_bytes(id, title, says, data):
    return hf_case(id, title, 3, ["config.json"] + says, lambda c: setattr(c, "config", data))


def big_config(work):
    HfCheckpoint().write(work.path("model"))
    work.sparse("model/config.json", 200_000_000, b"{")
    return work.path("model")


def with_values(name, values):
    """A checkpoint whose tensor `name` has the given first floats."""

    def change(c):
        data = bytearray(c.tensor_bytes(name))
        for i, value in values.items():
            data[4 * i : 4 * i + 4] = struct.pack("<f", value) if isinstance(value, float) else value
        c.replace(name, c.header[name]["shape"], bytes(data))

    return change


def untied_head(values):
    def change(c):
        c.add("lm_head.weight", [VOCAB_SIZE, HIDDEN], values(c))

    return change


def quantised(id, title, code, says, config):
    return hf_case(id, title, code, says, lambda c: c.config.update(quantization_config=config))


def pickle_only(name):
    def make(work):
        import os

        HfCheckpoint().write(work.path("model"))
        os.remove(work.path("model/model.safetensors"))
        work.write("model/" + name, b"\x80\x02csystem\n(S'touch /tmp/owned'\ntR.")
        return work.path("model")

    return make


def pickle_beside(work):
    HfCheckpoint().write(work.path("model"))
    work.sparse("model/pytorch_model.bin", 2**40, b"\x80\x02")
    return work.path("model")


def config_cases():
    yield hf_case("Q01", "config.json missing", 3, ["config.json"], lambda c: setattr(c, "config", None))
    yield config_bytes("Q01", "config.json empty", [], b"")
    yield config_bytes("Q01", "config.json no JSON", [], b"hidden_size: 32")
    yield config_bytes("Q01", "config.json cut off", [], json.dumps(HfCheckpoint().config).encode()[:-5])
    yield config_bytes("Q01", "config.json with a byte order mark", ["byte order mark"], b"\xef\xbb\xbf" + json.dumps(HfCheckpoint().config).encode())
    yield config_bytes("Q01", "config.json in UTF-16", [], json.dumps(HfCheckpoint().config).encode("utf-16"))
    yield config_bytes("Q01", "config.json a list", [], b"[1, 2]")
    yield config_bytes("Q01", "config.json with NaN", [], json.dumps(HfCheckpoint().config | {"rope_theta": float("nan")}).encode())
    yield config_bytes("Q01", "a key twice", ["hidden_size"], b'{"hidden_size": 32, "hidden_size": 64}')
    yield config_bytes("Q01", "depth 100,000", ["64"], b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    yield Case("Q01", "config.json of 200 MB", 3, ["config.json", "16777216"], big_config)
    yield field("Q02", "architecture not known", 5, ["GPTNeoXForCausalLM", "Qwen2ForCausalLM"], architectures=["GPTNeoXForCausalLM"])
    yield field("Q02", "architecture with control characters", 5, ["\\x1b"], architectures=["\x1b[31mQwen2"])
    yield field("Q02", "architecture a number", 3, ["architectures"], architectures=[7])
    yield field("Q02", "no architecture", 3, ["architectures"], architectures=[])
    yield field("Q02", "rope_scaling type not known", 5, ["warp", "yarn"], rope_scaling={"type": "warp", "factor": 2.0})
    yield field("Q02", "rope_scaling without a type", 5, ["rope_scaling"], rope_scaling={"factor": 2.0})
    yield field("Q02", "rope_scaling factor 0", 3, ["factor"], rope_scaling={"type": "linear", "factor": 0.0})
    yield field("Q02", "hidden_act not silu", 5, ["hidden_act", "gelu"], hidden_act="gelu")
    for name, value in (("0", 0), ("-1", -1), ("text", "32"), ("2^40", 2**40), ("fraction", 32.5), ("null", None)):
        yield field("Q03", f"hidden_size {name}", 3, ["hidden_size"], hidden_size=value)
    for key in ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size"):
        yield field("Q03", f"{key} 0", 3, [key], **{key: 0})
        yield field("Q03", f"{key} 2^40", 3, [key], **{key: 2**40})
    yield field("Q03", "hidden_size not a multiple of the heads", 3, ["num_attention_heads"], num_attention_heads=5)
    yield field("Q03", "kv heads do not divide heads", 3, ["num_key_value_heads"], num_key_value_heads=3)
    yield hf_case("Q03", "head_dim other than the tensors'", 3, [QUERY], lambda c: c.config.update(head_dim=16))
    yield field("Q03", "rms_norm_eps -1", 3, ["rms_norm_eps"], rms_norm_eps=-1.0)
    yield field("Q03", "rms_norm_eps 1e300", 3, ["rms_norm_eps"], rms_norm_eps=1e300)
    yield field("Q03", "rope_theta 0", 3, ["rope_theta"], rope_theta=0)
    yield hf_case("Q03", "one layer more than the tensors", 3, ["model.layers.2."], lambda c: c.config.update(num_hidden_layers=3))
    yield hf_case("Q03", "one layer less than the tensors", 3, ["model.layers.1."], lambda c: c.config.update(num_hidden_layers=1))
    yield hf_case("Q04", "vocab_size above the rows", 3, [EMBED, str(VOCAB_SIZE + 1)], lambda c: c.config.update(vocab_size=VOCAB_SIZE + 1))
    yield hf_case("Q04", "vocab_size below the rows", 3, [str(VOCAB_SIZE)], lambda c: c.config.update(vocab_size=VOCAB_SIZE - 8))
    yield hf_case("Q05", "tied, but a head with other values", 3, ["lm_head.weight"], untied_head(lambda c: floats(VOCAB_SIZE * HIDDEN, 9)))
    yield hf_case("Q05", "tied, and a head with the same values", 0, [], untied_head(lambda c: c.tensor_bytes(EMBED)), creates=["out.quern"])
    yield hf_case("Q05", "not tied, no head", 3, ["lm_head.weight"], lambda c: c.config.update(tie_word_embeddings=False))
    yield hf_case("Q06", "auto_map", 0, ["auto_map"], lambda c: c.config.update(auto_map={"AutoModel": "modeling.X"}), creates=["out.quern"])


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}
QUERY_PARTS = QUERY.removesuffix("weight")


def packed_query(config, change=lambda c: None):
    """A checkpoint whose query matrix of layer 0 lies in GPTQ's parts, with `config`; change(checkpoint) spoils it."""

    def make(c):
        c.remove(QUERY)
        c.add(QUERY_PARTS + "qweight", [4, 32], b"\x35" * 512, "I32")
        c.add(QUERY_PARTS + "qzeros", [1, 4], b"\x77" * 16, "I32")
        c.add(QUERY_PARTS + "scales", [1, 32], b"\0\x2c" * 32, "F16")
        c.add(QUERY_PARTS + "g_idx", [32], b"\0" * 128, "I32")
        if config is not None:
            c.config["quantization_config"] = config
        change(c)

    return make


def float8_query(config, scale, change=lambda c: None):
    def make(c):
        c.replace(QUERY, [32, 32], b"\x38" * 1024, "F8_E4M3")
        if scale:
            c.add(QUERY_PARTS + scale[0], scale[1], struct.pack("<f", 0.01) * scale[2], "F32")
        c.config["quantization_config"] = config
        change(c)

    return make


def quantised_cases():
    """Checkpoints that were quantized by GPTQ, AWQ, FP8 or compressed-tensors, and what is wrong with them."""
    yield hf_case("Q07", "GPTQ as it should be", 0, [], packed_query(GPTQ), creates=["out.quern"])
    for size in (0, 7, 2**31, -2, 2**63, "32", None):
        yield hf_case("Q07", f"GPTQ, group_size {size}", 3, ["gptq"], packed_query(GPTQ | {"group_size": size}))
    for bits in (3, 16, 0):
        yield hf_case("Q08", f"GPTQ, {bits} bits", 5, ["gptq", "bits"], packed_query(GPTQ | {"bits": bits}))
    yield hf_case("Q08", "GPTQ, bits -4", 3, ["bits"], packed_query(GPTQ | {"bits": -4}))

    def parts(id, title, says, change):
        return hf_case(id, "GPTQ, " + title, 3, [QUERY_PARTS] + says, packed_query(GPTQ, change))

    def replaced(part, shape, data, dtype):
        return lambda c: c.replace(QUERY_PARTS + part, shape, data, dtype)

    yield parts("Q09", "qzeros of another shape", ["qzeros", "[1,4]"], replaced("qzeros", [1, 3], b"\0" * 12, "I32"))
    yield parts("Q09", "scales of another shape", ["scales", "[1,32]"], replaced("scales", [2, 32], b"\0\x2c" * 64, "F16"))
    yield parts("Q09", "qweight of fewer columns", ["weight", "[32,32]"], lambda c: (
        c.replace(QUERY_PARTS + "qweight", [3, 32], b"\x35" * 384, "I32"), c.replace(QUERY_PARTS + "g_idx", [24], b"\0" * 96, "I32")))
    yield parts("Q09", "qweight of one dimension", ["qweight"], replaced("qweight", [128], b"\x35" * 512, "I32"))
    yield parts("Q09", "qweight of floats", ["qweight", "I32"], replaced("qweight", [4, 32], b"\x35" * 512, "F32"))
    yield parts("Q09", "qweight empty", ["qweight"], replaced("qweight", [0, 32], b"", "I32"))
    yield parts("Q09", "no qzeros", ["qzeros"], lambda c: c.remove(QUERY_PARTS + "qzeros"))
    yield parts("Q09", "no scales", ["scales"], lambda c: c.remove(QUERY_PARTS + "scales"))
    yield parts("Q10", "g_idx negative", ["g_idx", "-1"], replaced("g_idx", [32], b"\xff" * 128, "I32"))
    yield parts("Q10", "g_idx beyond the groups", ["g_idx", "below 1"], replaced("g_idx", [32], struct.pack("<i", 1) * 32, "I32"))
    yield parts("Q10", "g_idx too short", ["g_idx", "[32]"], replaced("g_idx", [16], b"\0" * 64, "I32"))
    yield hf_case("Q11", "GPTQ, scales 0", 0, [], packed_query(GPTQ, replaced("scales", [1, 32], b"\0" * 64, "F16")), creates=["out.quern"])
    yield hf_case("Q11", "GPTQ, scales infinite", 3, [QUERY_PARTS.removesuffix("."), "scale of row", "finite"],
                  packed_query(GPTQ, replaced("scales", [1, 32], b"\0\x7c" * 32, "F16")))
    yield parts("Q11", "a plain weight beside the packed one", ["weight"], lambda c: c.add(QUERY, [32, 32], floats(1024, 1)))
    yield hf_case("Q11", "GPTQ, a bias that is not zero", 5, ["o_proj.bias"], lambda c: c.add(
        "model.layers.0.self_attn.o_proj.bias", [32], floats(32, 2)))
    yield hf_case("Q13", "AWQ config on GPTQ tensors", 3, ["awq", "scales"], packed_query(AWQ))
    yield quantised("Q13", "AWQ config on plain tensors", 3, ["awq", "qweight"], AWQ)
    yield quantised("Q13", "GPTQ config on plain tensors", 3, ["gptq", "qweight"], GPTQ)
    yield hf_case("Q13", "AWQ, version gemv", 5, ["awq", "gemv"], packed_query(AWQ | {"version": "gemv"}))
    yield hf_case("Q13", "GPTQ tensors without a config", 5, ["qweight", "quantization_config"], packed_query(None))
    for method in ("quip", "bitsandbytes", "aqlm"):
        yield quantised("Q13", f"quant_method {method}", 5, [method, "awq, compressed-tensors, fbgemm_fp8, fp8, gptq"], {"quant_method": method})
    yield quantised("Q13", "quant_method with control characters", 5, ["\\x1b"], {"quant_method": "\x1b[2J"})
    yield quantised("Q13", "no quant_method", 3, ["quant_method"], {"bits": 4})
    yield quantised("Q13", "quantization_config a list", 3, ["quantization_config"], [4])
    fp8, block = {"quant_method": "fp8"}, {"quant_method": "fp8", "weight_block_size": [128, 128]}
    yield hf_case("Q17", "FP8 as it should be", 0, [], float8_query(fp8, ("weight_scale", [1], 1)), creates=["out.quern"])
    yield hf_case("Q17", "FP8 without a scale", 3, ["weight_scale"], float8_query(fp8, None))
    yield hf_case("Q17", "FP8, scales of another shape", 3, ["weight_scale"], float8_query(fp8, ("weight_scale", [31, 1], 31)))
    yield hf_case("Q17", "FP8 blocks, scales of another shape", 3, ["weight_scale_inv", "[1,1]"], float8_query(block, ("weight_scale_inv", [2, 1], 2)))
    yield hf_case("Q17", "FP8, blocks of 0", 3, ["weight_block_size"], float8_query(block | {"weight_block_size": [0, 128]}, ("weight_scale_inv", [1, 1], 1)))
    yield hf_case("Q17", "FP8, NaN codes", 3, [QUERY, "finite"], float8_query(
        fp8, ("weight_scale", [1], 1), lambda c: c.replace(QUERY, [32, 32], b"\x7f" * 1024, "F8_E4M3")))
    yield hf_case("Q17", "FP8 of the other kind", 5, ["e5m2"], float8_query(fp8 | {"fmt": "e5m2"}, ("weight_scale", [1], 1)))
    ct = {"quant_method": "compressed-tensors", "format": "float-quantized"}
    yield hf_case("Q18", "compressed-tensors, format not known", 5, ["nvfp4"], float8_query(ct | {"format": "nvfp4-pack-quantized"}, ("weight_scale", [1], 1)))
    yield hf_case("Q18", "compressed-tensors, 3 bits", 5, ["num_bits"], float8_query(
        ct | {"config_groups": {"group_0": {"weights": {"num_bits": 3}}}}, ("weight_scale", [1], 1)))
    yield hf_case("Q18", "compressed-tensors, sparse", 5, ["sparsity_config"], float8_query(
        ct | {"sparsity_config": {"format": "sparse-24-bitmask"}}, ("weight_scale", [1], 1)))
    yield hf_case("Q18", "compressed-tensors, 3 groups for 32 columns", 3, ["weight_scale"], float8_query(ct, ("weight_scale", [32, 3], 96)))

    def huge_shape(c):
        c.remove(QUERY)
        c.add(QUERY_PARTS + "weight_packed", [32, 4], b"\0" * 512, "I32")
        c.add(QUERY_PARTS + "weight_scale", [32, 1], b"\0\x2c" * 32, "F16")
        c.add(QUERY_PARTS + "weight_shape", [2], struct.pack("<qq", 2**62, 32), "I64")
        c.config["quantization_config"] = ct | {"format": "pack-quantized"}

    yield hf_case("Q18", "compressed-tensors, a shape of 2^62 rows", 3, ["weight_shape"], huge_shape)


def value_cases():
    nan, inf = float("nan"), float("inf")
    yield hf_case("Q12", "NaN in a weight", 3, [QUERY, "17"], with_values(QUERY, {17: nan}))
    yield hf_case("Q12", "-Inf in a weight", 3, [QUERY, "1023"], with_values(QUERY, {1023: -inf}))
    yield hf_case("Q12", "NaN in a bias", 3, ["model.layers.0.self_attn.q_proj.bias"], with_values("model.layers.0.self_attn.q_proj.bias", {3: nan}))
    yield hf_case("Q12", "NaN in a norm", 3, ["model.norm.weight"], with_values("model.norm.weight", {0: nan}))
    yield hf_case("Q12", "Inf in the embedding", 3, [EMBED], with_values(EMBED, {500: inf}))

    def half(c, pattern):
        values = bytearray(struct.pack("<e", 0.5) * 1024)
        values[200:202] = pattern
        c.replace(QUERY, [32, 32], bytes(values), "F16")

    yield hf_case("Q12", "NaN in an f16 weight", 3, [QUERY, "100"], lambda c: half(c, b"\x01\x7c"))
    yield hf_case("Q12", "Inf in an f16 weight", 3, [QUERY, "100"], lambda c: half(c, b"\x00\x7c"))
    yield field("Q14", "max_position_embeddings 2^31", 3, ["max_position_embeddings"], max_position_embeddings=2**31)
    yield field("Q14", "max_position_embeddings 0", 3, ["max_position_embeddings"], max_position_embeddings=0)
    yield hf_case("Q15", "experts in a dense architecture's config are no experts", 0, [], lambda c: c.config.update(num_experts_note=0), creates=["out.quern"])
    yield field("Q15", "a mixture of experts", 5, ["Qwen2MoeForCausalLM"], architectures=["Qwen2MoeForCausalLM"], num_experts=0, num_experts_per_tok=8)
    yield Case("Q16", ".bin beside safetensors", 0, [], pickle_beside, creates=["out.quern"])
    for name in ("pytorch_model.bin", "model.pt", "pytorch_model-00001-of-00002.bin"):
        yield Case("Q16", f"only {name}", 5, ["safetensors"], pickle_only(name))
    yield Case("Q16", "a .bin file as the source", 5, ["safetensors"], lambda w: w.write("model.bin", b"\x80\x02c"))
    yield hf_case("Q16", "eos_token_id past the vocabulary", 3, ["eos_token_id", str(VOCAB_SIZE + 5)], lambda c: c.config.update(eos_token_id=VOCAB_SIZE + 5))
    yield hf_case("Q16", "eos_token_id -1", 3, ["eos_token_id"], lambda c: c.config.update(eos_token_id=[EOS, -1]))


def cases():
    yield from config_cases()
    yield from quantised_cases()
    yield from value_cases()
