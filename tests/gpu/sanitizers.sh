#!/usr/bin/env bash
# compute-sanitizer's tools over the kernel tests and over a tiny model from end to end, each after it has found the bug that was planted for
# it. Usage: sanitizers.sh BUILD_FOLDER [SECONDS a run]. Exit status 0 when all found what they should and nothing else.
set -uo pipefail
build=$1
limit=${2:-120}
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

verdict() {  # verdict WANTED_STATUS STATUS NAME
  if [ "$1" = "$2" ]; then echo "ok      $3"; else echo "FAILED  $3 (exit $2)"; tail -n 30 "$folder/log"; failed=1; fi
}
sanitize() {  # sanitize TOOL PROGRAM...
  local tool=$1 options=(--error-exitcode 9 --report-api-errors no)
  shift
  timeout "$limit" compute-sanitizer --tool "$tool" "${options[@]}" "$@" >"$folder/log" 2>&1
}

"$build/quern" build "$root/tests/models/stories260K-qwen2" -o "$folder/f16.quern" --dtype f16 >/dev/null || exit 1
printf '%s\n' '{"id":"a","prompt":"Once upon a time","max_tokens":6,"seed":1,"logprobs":3}' \
  '{"id":"b","prompt":"The cat sat","max_tokens":5,"temperature":0}' \
  '{"id":"c","prompt":"Tom","max_tokens":7,"seed":2,"top_k":40,"top_p":0.9,"repetition_penalty":1.1}' >"$folder/in.jsonl"
for tool in memcheck racecheck initcheck synccheck; do
  start=$SECONDS
  sanitize "$tool" "$build/planted_bugs" "$tool"
  verdict 9 $? "$tool finds its planted bug"
  sanitize "$tool" "$build/cuda_test" small
  verdict 0 $? "$tool, kernel tests"
  QUERN_TEST_DEVICE=cuda sanitize "$tool" "$build/tests/engine_test" --gtest_filter=SameBytes.DecodeRowsInFullBatches:SameBytes.SlidingWindowAndHeadNorms
  verdict 0 $? "$tool, random models in batches"
  rm -f "$folder/out.jsonl"
  sanitize "$tool" "$build/quern" run -m "$folder/f16.quern" --device cuda --prompts "$folder/in.jsonl" --out "$folder/out.jsonl"
  verdict 0 $? "$tool, a model from end to end"
  echo "        $((SECONDS - start)) s"
done
exit $failed
