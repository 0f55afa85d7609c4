#!/usr/bin/env bash
# Quern beside llama.cpp on this machine's processor: the same GGUF files, the same threads, runs that alternate.
#
#   tools/compare_llamacpp.sh [MODEL.gguf] [--types f16,bf16,q8_0,q4_0,source] [--rounds 3] [--seconds S] [--threads N]
#
# MODEL.gguf (default: the demo model) is the source of all values. llama.cpp is built from the PyPI package llama-cpp-python, natively,
# below $COMPARE_DIR (default ~/.cache/quern-compare), outside the project; LLAMA_BIN=FOLDER takes an existing build instead. The other
# types are made from the source's dequantized values (tools/requantize_gguf.py) and both engines read the same file.
# Needs python3 with numpy and gguf (PYTHON=... names another interpreter), cmake, a C++ compiler. QUERN=... names the program.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.3.36
work=${COMPARE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/quern-compare}
python=${PYTHON:-python3}
quern=${QUERN:-build/release/quern}
mkdir -p "$work"

model=
if [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; then model=$1 && shift; fi
if [ -z "$model" ]; then model=$(tools/fetch_model.sh qwen2.5-coder-0.5b-instruct | tail -1); fi
[ -f "$model" ] || { echo "compare_llamacpp: $model: no such file" >&2; exit 1; }
[ -x "$quern" ] || { echo "compare_llamacpp: $quern: not built (make build)" >&2; exit 1; }

llama=${LLAMA_BIN:-$work/llama.cpp-$version/bin}
if [ ! -x "$llama/llama-batched-bench" ]; then
  [ -z "${LLAMA_BIN:-}" ] || { echo "compare_llamacpp: $LLAMA_BIN has no llama-batched-bench" >&2; exit 1; }
  echo "building llama.cpp of llama-cpp-python $version in $work" >&2
  (cd "$work" && "$python" -m pip download -q --no-deps --no-binary :all: --no-build-isolation "llama-cpp-python==$version" &&
    tar xzf llama_cpp_python-$version.tar.gz)
  cmake -S "$work/llama_cpp_python-$version/vendor/llama.cpp" -B "$work/llama.cpp-$version" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
    -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF >/dev/null
  cmake --build "$work/llama.cpp-$version" -j "$(nproc)" --target llama-bench llama-batched-bench >/dev/null
fi

exec "$python" tools/compare_llamacpp.py --quern "$quern" --llama "$llama" --work "$work" --model "$model" "$@"
