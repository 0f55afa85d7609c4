#!/usr/bin/env python3
"""One name, one type. Two different types of one name in one namespace are undefined behaviour that no linker reports: the program keeps one
of their constructors and destructors for both. Looks at every type that src/ and include/ define in a named namespace, in headers and in
sources, and fails when two files define the same name, or when a name of an inner namespace hides one of an outer namespace. Types of anonymous namespaces and of CUDA's stand-ins are their file's own.

Usage: check_names.py [ROOT]
"""
import pathlib
import re
import sys

# What the scan steps over (comments, raw strings, strings, characters), and what it sees: namespaces, types, braces, statement ends.
TOKENS = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])*'"""
    r"""|^[ \t]*\#(?:[^\n]*\\\n)*[^\n]*"""
    r"""|\b(?:inline\s+)?namespace(?P<namespace>\s+[\w:]+)?\s*\{"""
    r"""|(?<![<,]\ )\b(?:struct|class|union|enum(?:\s+(?:struct|class))?)\s+(?:alignas\([^)]*\)\s*|\[\[[^\]]*\]\]\s*)?(?P<type>[\w:]+(?:<[^;{}()]*>)?)(?:\s+final)?\s*(?::[^;{]*)?\{"""
    r"""|[{}]""", re.S | re.M | re.X)


def types_of(text):
    """Qualified names of the types that a file defines in named namespaces."""
    scopes = []  # the names of namespaces; None: an anonymous namespace, a type, a function
    for token in TOKENS.finditer(text):
        if token["type"]:
            if None not in scopes:
                yield "::".join(scopes + [re.sub(r"\s+", "", token["type"])])
            scopes.append(None)
        elif token.group().endswith("{") and "namespace" in token.group():
            scopes.append(token["namespace"].strip() if token["namespace"] else None)
        elif token.group() == "{":
            scopes.append(None)
        elif token.group() == "}" and scopes:
            scopes.pop()


def find_doubles(root):
    places = {}
    for folder in ("src", "include"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".h", ".cpp", ".cu", ".cuh"):
                for name in types_of(path.read_text(encoding="utf-8")):
                    places.setdefault(name, []).append(path.relative_to(root))
    doubles = {name: files for name, files in places.items() if len(files) > 1}
    for name in places:  # quern::cpu::X hides quern::X from everything in its namespace
        scopes = name.split("::")
        for depth in range(1, len(scopes) - 1):
            outer = "::".join(scopes[:depth] + scopes[-1:])
            if outer in places:
                doubles[f"{name}, which hides {outer},"] = places[name] + places[outer]
    return places, doubles


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[1]
    places, doubles = find_doubles(root)
    for name, files in sorted(doubles.items()):
        print(f"{name} is defined {len(files)} times: {', '.join(map(str, files))}")
    print(f"check_names: {len(places)} types, {len(doubles)} findings")
    return 1 if doubles or not places else 0


if __name__ == "__main__":
    sys.exit(main())
