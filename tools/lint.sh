#!/usr/bin/env bash
# clang-format, clang-tidy and shellcheck over every source of ours; silent when all is well. LINT_FILES limits clang-tidy to some files.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in clang-format clang-tidy shellcheck; do
  command -v $tool >/dev/null || { echo "lint: $tool is needed (apt-get install clang-format clang-tidy shellcheck)" >&2; exit 4; }
done
git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs clang-format --dry-run -Werror
git ls-files '*.sh' .ci/run | xargs shellcheck --severity=info --exclude=SC2317,SC1091
python3 tools/check_includes.py >/dev/null || python3 tools/check_includes.py

# A build folder of its own: clang-tidy reads no header that GCC precompiled.
cmake -S . -B build/lint -DCMAKE_BUILD_TYPE=Release >/dev/null
files=${LINT_FILES:-$(git ls-files 'src/*.cpp' | grep -v '^src/backend/cuda/')}
echo "$files" | xargs -P "$(nproc)" -n 4 clang-tidy -p build/lint --quiet --warnings-as-errors='*' 2>/dev/null
