#!/usr/bin/env python3
"""A GGUF file whose matrices are another GGUF's values in one type, so that two engines can be timed on the same bits.

    requantize_gguf.py SOURCE.gguf OUT.gguf --type f32|f16|bf16|q8_0|q4_0

Values are dequantized and rounded to the type; the embedding of a 4-bit file is q8_0, vectors stay f32, metadata is copied. Needs numpy
and gguf.
"""
import argparse
import os

import gguf
import numpy as np

TYPES = {name: getattr(gguf.GGMLQuantizationType, name.upper()) for name in ("f32", "f16", "bf16", "q8_0", "q4_0")}
FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0"}


def type_of(name, shape, wanted):
    if len(shape) < 2:
        return gguf.GGMLQuantizationType.F32
    if wanted == "q4_0" and name in ("token_embd.weight", "output.weight"):
        return gguf.GGMLQuantizationType.Q8_0
    return TYPES[wanted]


def requantize(source, out, wanted):
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    temporary = out + ".partial"
    writer = gguf.GGUFWriter(temporary, architecture)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        kind = field.types[0]
        writer.add_key_value(field.name, field.contents(), kind, sub_type=field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    writer.add_file_type(getattr(gguf.LlamaFileType, FILE_TYPES[wanted]))
    writer.add_quantization_version(2)
    plan = [(tensor, type_of(tensor.name, tensor.shape, wanted)) for tensor in reader.tensors]
    for tensor, kind in plan:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(temporary, out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("out")
    parser.add_argument("--type", choices=sorted(TYPES), required=True)
    args = parser.parse_args()
    requantize(args.source, args.out, args.type)


if __name__ == "__main__":
    main()
