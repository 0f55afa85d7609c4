#!/usr/bin/env python3
"""tools/check_names.py finds types of one name, and this tree has none."""
import pathlib
import subprocess
import sys
import tempfile

TOOL = pathlib.Path(__file__).resolve().parent.parent / "tools" / "check_names.py"
TYPE = "struct Weight {\n  int rows;\n};\n"

# What two files hold, and whether the tool must find something.
TREES = [
    ("two of a name", f"namespace quern {{\n{TYPE}}}\n", f"namespace quern {{\n{TYPE}}}\n", True),
    ("a class and an enum", f"namespace quern {{\n{TYPE}}}\n", "namespace quern {\nenum class Weight : int { a };\n}\n", True),
    ("nested namespaces written together", f"namespace quern::cpu {{\n{TYPE}}}\n", f"namespace quern {{\nnamespace cpu {{\n{TYPE}}}\n}}\n", True),
    ("an inner one hides an outer one", f"namespace quern {{\n{TYPE}}}\n", f"namespace quern::cpu {{\n{TYPE}}}\n", True),
    ("namespaces side by side", f"namespace quern::cpu {{\n{TYPE}}}\n", f"namespace quern::cuda {{\n{TYPE}}}\n", False),
    ("anonymous", f"namespace quern {{\n{TYPE}}}\n", f"namespace quern {{\nnamespace {{\n{TYPE}}}\n}}\n", False),
    ("a member type", f"namespace quern {{\n{TYPE}}}\n", f"namespace quern {{\nstruct Other {{\n{TYPE}}};\n}}\n", False),
    ("a local type", f"namespace quern {{\n{TYPE}}}\n", f"namespace quern {{\nvoid f() {{\n{TYPE}}}\n}}\n", False),
    ("only declared", f"namespace quern {{\n{TYPE}}}\n", "namespace quern {\nstruct Weight;\n}\n", False),
    ("in a comment and in a text", f"namespace quern {{\n{TYPE}}}\n", 'namespace quern {\n// struct Weight {\nauto t = "struct Weight {";\n}\n', False),
]


def main():
    wrong = 0
    for name, first, second, is_bad in TREES:
        with tempfile.TemporaryDirectory() as folder:
            for path, text in (("src/a/a.h", first), ("src/b/b.cpp", second)):
                target = pathlib.Path(folder) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            result = subprocess.run([sys.executable, TOOL, folder], capture_output=True, text=True, check=False)
            if (result.returncode != 0) != is_bad:
                wrong += 1
                print(f"{name}: want {'a finding' if is_bad else 'none'}, found: {result.stdout}")
    tree = subprocess.run([sys.executable, TOOL], capture_output=True, text=True, check=False)
    print(tree.stdout, end="")
    print(f"check_names: {len(TREES) - wrong} of {len(TREES)} trees judged right")
    return 1 if wrong or tree.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
