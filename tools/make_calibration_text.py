#!/usr/bin/env python3
"""The calibration text that ships with Quern: src/builder/data/calibration.txt.

    make_calibration_text.py BOOK.txt OUT.txt

BOOK.txt is Project Gutenberg's etext 18304, Julian Street, "American Adventures: A Second Trip 'Abroad at Home'" (1917, in the public
domain). Taken are paragraphs of its middle, lines joined, without the etext's header, licence and trademark; every third part is followed
by a piece of Quern's own source and documentation (Quern's licence).
"""
import pathlib
import re
import sys

PROSE_BYTES, PIECE_BYTES, OWN_BYTES = 200_000, 12_000, 5_000
OWN = ["src/base/json.cpp", "docs/models.md", "src/backend/cpu/runtime.cpp", "tools/check_includes.py", "docs/formats.md", "src/text/bpe.cpp", "src/files/gguf.cpp", "docs/text.md"]


def main():
    book = pathlib.Path(sys.argv[1]).read_text(encoding="ascii", errors="ignore").replace("\r", "")
    body = book[len(book) // 4 :]
    paragraphs = [" ".join(p.split()) for p in re.split(r"\n\s*\n", body)[1:]]
    prose = [p.replace("_", "").replace("--", " - ") for p in paragraphs if len(p) > 200 and "Gutenberg" not in p and "[Illustration" not in p]
    root = pathlib.Path(__file__).resolve().parent.parent
    own = iter([root / name for name in OWN if (root / name).exists()])
    out, piece, total = [], 0, 0
    for paragraph in prose:
        out.append(paragraph)
        piece += len(paragraph)
        total += len(paragraph)
        if piece > 2 * PIECE_BYTES:
            piece = 0
            path = next(own, None)
            if path:
                text = path.read_text(encoding="utf-8")
                out.append(text[len(text) // 5 :][:OWN_BYTES].strip())
        if total > PROSE_BYTES:
            break
    pathlib.Path(sys.argv[2]).write_text("\n\n".join(out) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
