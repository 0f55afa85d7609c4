#!/usr/bin/env bash
# Every check that needs a GPU, on a machine that has one: kernels against double precision, models and engine on the GPU, the program from
# end to end against the CPU, and compute-sanitizer. Prints the time of each step and ends with the counts.
# QUERN_CUDA_BUILD names a finished build folder; without it the preset cuda is built for this machine's GPU. GPU_MODELS names models for
# the end-to-end test besides the embedded one.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
if ! nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader; then
  echo "test_gpu: no NVIDIA GPU on this machine" >&2
  exit 1
fi
build=${QUERN_CUDA_BUILD:-}
if [ -z "$build" ]; then
  build=build/cuda
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
  [ "$capability" = 90 ] && capability=90a
  cmake --preset cuda -DQUERN_CUDA_ARCHITECTURES="$capability-real" >/dev/null && cmake --build --preset cuda -j "$(nproc)" || exit 1
fi
passed=0 failed=0 summary=""
step() {
  local name=$1 start=$SECONDS status=0
  shift
  echo "=== $name"
  "$@" || status=$?
  if [ $status -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  summary+=$(printf '\n  %s %4d s  %s' "$([ $status -eq 0 ] && echo 'passed ' || echo 'FAILED ')" $((SECONDS - start)) "$name")
}
step "kernels" "$build/cuda_test"
step "a lost GPU" "$build/cuda_test" lost
step "models on the GPU" env QUERN_TEST_DEVICE=cuda "$build/tests/models_test" --gtest_brief=1
step "engine on the GPU" env QUERN_TEST_DEVICE=cuda "$build/tests/engine_test" --gtest_brief=1 --gtest_filter='SameBytes.*'
step "the program on the GPU" python3 tests/gpu/end_to_end.py "$build/quern"
for model in ${GPU_MODELS:-}; do step "$model" python3 tests/gpu/end_to_end.py "$build/quern" --model "$model" --requests 100; done
if command -v compute-sanitizer >/dev/null; then
  step "compute-sanitizer" tests/gpu/sanitizers.sh "$build"
else
  echo "compute-sanitizer is not installed: skipped"
fi
printf '\nmake test-gpu, %d s:%s\n\n%d passed, %d failed\n' $SECONDS "$summary" $passed $failed
[ $failed -eq 0 ]
