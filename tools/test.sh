#!/usr/bin/env bash
# Every check: release build with warnings as errors, unit and end-to-end tests, the unit tests under the sanitizers, the rules of the
# source tree, and a CUDA compile where nvcc is. Prints each step with its time, goes on after a failed one, and ends with the counts.
# QUERN_SANITIZERS names the rooms whose unit tests run under the sanitizers ("files text"), all and the end-to-end tests by default; off: none.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

jobs=$(nproc)
launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
export CCACHE_SLOPPINESS=pch_defines,time_macros  # without it, nothing that uses a precompiled header is found again
passed=0
failed=0
summary=""

# step NAME COMMAND...: runs it, counts it, remembers the line.
step() {
  local name=$1 start=$SECONDS status=0
  shift
  echo "=== $name"
  "$@" || status=$?
  if [ $status -eq 0 ]; then
    passed=$((passed + 1))
    summary+=$(printf '\n  passed  %4d s  %s' $((SECONDS - start)) "$name")
  else
    failed=$((failed + 1))
    summary+=$(printf '\n  FAILED  %4d s  %s (exit %d)' $((SECONDS - start)) "$name" $status)
  fi
  return 0
}

build() {  # build PRESET TARGET... -- CMAKE_OPTION...
  local preset=$1
  shift
  local targets=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do targets+=(--target "$1") && shift; done
  [ $# -gt 0 ] && shift
  cmake --preset "$preset" -DQUERN_WERROR=ON -DQUERN_PRECOMPILE=ON "${launcher[@]}" "$@" >/dev/null && cmake --build --preset "$preset" -j "$jobs" "${targets[@]}"
}

step "include ranks" python3 tools/check_includes.py
step "release build" build release
step "release tests" ctest --test-dir build/release --output-on-failure -j "$jobs"
if [ -x tools/check_isa_objects.sh ]; then step "instruction sets of the objects" tools/check_isa_objects.sh build/release; fi
step "arm64 compile of the kernels" tools/check_arm64.sh --kernels
rooms=${QUERN_SANITIZERS:-all}
if [ "$rooms" = all ]; then
  step "sanitizer build" build asan
  step "tests under the sanitizers" ctest --test-dir build/asan --output-on-failure -j "$jobs" -LE release_only
elif [ "$rooms" != off ]; then
  read -ra names <<<"$rooms"
  step "sanitizer build" build asan "${names[@]/%/_test}"
  step "tests under the sanitizers" ctest --test-dir build/asan --output-on-failure -j "$jobs" -R "^(${rooms// /|})\$"
fi
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
# Of the CUDA build the kernels and the programs that test them: the rest is compiled above.
if [ -n "$nvcc" ]; then
  step "CUDA compile" build cuda cuda_test cuda_bench -- -DCMAKE_CUDA_COMPILER="$nvcc" -DQUERN_CUDA_ARCHITECTURES=90a-real -DQUERN_PRECOMPILE=OFF
fi

printf '\nmake test, %d s:%s\n\n%d passed, %d failed\n' $SECONDS "$summary" $passed $failed
[ $failed -eq 0 ]
