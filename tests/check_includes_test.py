#!/usr/bin/env python3
"""tools/check_includes.py finds each kind of forbidden include, and this tree has none."""
import pathlib
import subprocess
import sys
import tempfile

TOOL = pathlib.Path(__file__).resolve().parent.parent / "tools" / "check_includes.py"

# What is written where, and whether the tool must find something.
TREES = [
    ("downward", {"src/models/a.cpp": '#include "backend/backend.h"\n'}, False),
    ("upward", {"src/base/a.cpp": '#include "engine/engine.h"\n'}, True),
    ("sideways", {"src/text/a.cpp": '#include "files/checkpoint.h"\n'}, True),
    ("sideways at the top", {"src/server/a.cpp": '#include "eval/rouge.h"\n'}, True),
    ("a test may", {"src/base/a_test.cpp": '#include "engine/engine.h"\n'}, False),
    ("kernel sees device_runtime", {"src/backend/cpu/a.cpp": '#include "backend/device_runtime.h"\n'}, False),
    ("kernel sees backend.h", {"src/backend/cpu/a.cpp": '#include "backend/backend.h"\n'}, True),
    ("device sees device", {"src/backend/cpu/a.cpp": '#include "backend/cuda/a.h"\n'}, True),
    ("ops sees runtime", {"src/backend/ops/a.h": '#include "backend/device_runtime.h"\n'}, True),
    ("CUDA header outside", {"src/models/a.cpp": "#include <cuda_runtime.h>\n"}, True),
    ("CUDA header inside", {"src/backend/cuda/a.cu": "#include <cuda_runtime.h>\n"}, False),
    ("condition on CUDA", {"src/engine/a.cpp": "#ifdef QUERN_CUDA\n#endif\n"}, True),
    ("public header sees a room", {"include/quern/a.h": '#include "base/error.h"\n'}, True),
    ("spdlog outside", {"src/engine/a.cpp": "#include <spdlog/spdlog.h>\n"}, True),
    ("unknown room", {"src/misc/a.cpp": ""}, True),
    ("cycle", {"src/text/a.h": '#include "text/b.h"\n', "src/text/b.h": '#include "text/a.h"\n'}, True),
]


def main():
    wrong = 0
    for name, files, is_bad in TREES:
        with tempfile.TemporaryDirectory() as folder:
            for path, text in files.items():
                target = pathlib.Path(folder) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            result = subprocess.run([sys.executable, TOOL, folder], capture_output=True, text=True, check=False)
            if (result.returncode != 0) != is_bad:
                wrong += 1
                print(f"{name}: want {'a finding' if is_bad else 'none'}, found: {result.stdout}{result.stderr}")
    print(f"check_includes: {len(TREES) - wrong} of {len(TREES)} trees judged rightly")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
