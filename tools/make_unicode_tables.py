#!/usr/bin/env python3
"""Writes src/text/unicode_tables.cpp: character classes and NFC data as compact two-stage tables.

Usage: pip install unicodedata2==16.0.0; tools/make_unicode_tables.py (needs perl, for the age of characters)

Two Unicode versions, because the reference has two: Hugging Face tokenizers classifies with Unicode 16.0 and normalises with Unicode 9.0
(checked on every code point). Unicode never changes the normalisation of an assigned character, so the data of 9.0 is that of 16.0 cut
to the characters whose age is at most 9.0.
"""
import pathlib
import subprocess

import unicodedata2 as ucd

CLASS_VERSION = "16.0.0"
NFC_AGE = "9.0"
BLOCK = 128
LIMIT = 0x110000
LETTER, NUMBER, SPACE, NFC_CHECK = 1, 2, 4, 8
WHITE_SPACE = {*range(0x9, 0xE), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
HANGUL = range(0xAC00, 0xD7A4)


def assigned_in_nfc_version():
    script = 'for my $c (0..0xd7ff, 0xe000..0x10ffff) { print "$c\\n" if chr($c) =~ /\\p{In=%s}/ }' % NFC_AGE
    return {int(line) for line in subprocess.run(["perl", "-e", script], capture_output=True, text=True, check=True).stdout.split()}


def two_stage(values):
    blocks, index = {}, []
    for start in range(0, len(values), BLOCK):
        index.append(blocks.setdefault(tuple(values[start:start + BLOCK]), len(blocks)))
    assert len(blocks) <= 256
    return index, [value for block in blocks for value in block]


def array(kind, name, numbers):
    lines, line = [], "   "
    for number in numbers:
        text = f"{number},"
        if len(line) + len(text) > 140:
            lines.append(line)
            line = "   "
        line += text
    lines.append(line)
    return f"const {kind} {name}[{len(numbers)}] = {{\n" + "\n".join(lines) + "\n};\n"


def main():
    assert ucd.unidata_version == CLASS_VERSION, ucd.unidata_version
    known = assigned_in_nfc_version()
    combining = [ucd.combining(chr(c)) if c in known else 0 for c in range(LIMIT)]
    decompositions = []  # code point, first, second (0 for a singleton)
    for c in range(LIMIT):
        if c not in known or c in HANGUL:
            continue
        mapping = ucd.decomposition(chr(c))
        if mapping and not mapping.startswith("<"):
            parts = [int(part, 16) for part in mapping.split()]
            assert len(parts) <= 2 and all(part in known for part in parts)
            decompositions.append((c, parts[0], parts[1] if len(parts) == 2 else 0))
    compositions = sorted((first, second, i) for i, (c, first, second) in enumerate(decompositions)
                          if second and ucd.normalize("NFC", chr(c)) == chr(c))
    maybe = {second for _, second, _ in compositions} | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))
    never = {c for c, _, _ in decompositions if ucd.normalize("NFC", chr(c)) != chr(c)}
    classes = []
    for c in range(LIMIT):
        category = ucd.category(chr(c))[0]
        value = LETTER if category == "L" else NUMBER if category == "N" else SPACE if c in WHITE_SPACE else 0
        classes.append(value | (NFC_CHECK if combining[c] or c in maybe or c in never else 0))
    assert all(value < NFC_CHECK for value in classes[:0x300])  # text below U+0300 is NFC as it stands
    class_index, class_blocks = two_stage(classes)
    combining_index, combining_blocks = two_stage(combining)
    flat = [number for entry in decompositions for number in entry]
    text = (f"// Made by tools/make_unicode_tables.py: classes of Unicode {CLASS_VERSION}, NFC of Unicode {NFC_AGE}. Not for editing.\n"
            '#include "text/unicode_tables.h"\n\nnamespace quern {\n\n// clang-format off\n'
            + array("uint8_t", "kClassIndex", class_index) + array("uint8_t", "kClassBlocks", class_blocks)
            + array("uint8_t", "kCombiningIndex", combining_index) + array("uint8_t", "kCombiningBlocks", combining_blocks)
            + array("uint32_t", "kDecompositions", flat) + array("uint16_t", "kCompositions", [i for _, _, i in compositions])
            + f"const size_t kNumDecompositions = {len(decompositions)};\nconst size_t kNumCompositions = {len(compositions)};\n"
            "// clang-format on\n\n}  // namespace quern\n")
    path = pathlib.Path(__file__).resolve().parent.parent / "src/text/unicode_tables.cpp"
    path.write_text(text)
    print(f"{path}: {len(text)} bytes; tables {len(class_index) + len(class_blocks) + len(combining_index) + len(combining_blocks)} bytes, "
          f"{len(decompositions)} decompositions, {len(compositions)} compositions")


if __name__ == "__main__":
    main()
