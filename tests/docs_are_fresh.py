#!/usr/bin/env python3
"""docs/cli/*.md are what the parser writes today. Usage: docs_are_fresh.py QUERN"""
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def pages(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(pathlib.Path(folder).glob("*.md"))}


def main():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], "docs", folder], check=True)
        fresh, committed = pages(folder), pages(ROOT / "docs" / "cli")
    stale = [name for name in sorted(fresh.keys() | committed.keys()) if fresh.get(name) != committed.get(name)]
    for name in stale:
        print(f"docs/cli/{name}: stale; `make docs` writes it anew")
    print(f"{len(fresh) - len(stale)} of {len(fresh)} pages are fresh")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
