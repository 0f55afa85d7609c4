#!/bin/bash
# The evaluation of 2023 re-made on one model and this machine: Hugging Face in float32 and bf16, Quern in f32, bf16, int8 and int4, both length
# rules, and how far each engine's predictions are from float32's. Steps that are done are not done again; OUT/report.html is the page.
#   proof.sh MODEL ARTICLES.jsonl TEXT OUT      environment: QUERN, PYTHON, PROOF_ARTICLES (20), PROOF_CHUNKS (64)
set -euo pipefail
model=${1:?MODEL} articles=${2:?ARTICLES.jsonl} text=${3:?TEXT} out=${4:?OUT}
quern=${QUERN:-build/release/quern} python=${PYTHON:-python3} limit=${PROOF_ARTICLES:-20} chunks=${PROOF_CHUNKS:-64}
tools=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"

# step NAME COMMAND...: standard output becomes OUT/NAME.json, whole or not at all.
step() {
  local name=$1
  shift
  [ -s "$out/$name.json" ] && return
  echo "proof: $name" >&2
  "$@" >"$out/$name.part"
  mv "$out/$name.part" "$out/$name.json"
}
baseline() {
  local name=$1
  shift
  "$python" -c 'import torch, transformers, rouge_score' 2>/dev/null || { echo "proof: $name left out: needs torch, transformers, rouge_score" >&2; return; }
  [ -s "$out/$name.json" ] || { echo "proof: $name" >&2; "$python" "$tools/hf_baseline.py" "$model" "$articles" -o "$out/$name.json" --limit "$limit" "$@"; }
}

for dtype in f32 bf16 int8 int4; do
  method=rtn
  [ "$dtype" = int4 ] && method=auto
  [ -s "$out/$dtype.quern" ] || "$quern" build "$model" -o "$out/$dtype.quern" --dtype "$dtype" --method "$method"
done
for length in free forced; do
  flag=()
  [ "$length" = forced ] && flag=(--force-length)
  baseline "hf-float32-$length" --dtype float32 "${flag[@]}"
  baseline "hf-bfloat16-$length" --dtype bfloat16 "${flag[@]}"
  for dtype in f32 bf16 int8 int4; do
    step "quern-$dtype-$length" "$quern" eval summarize -m "$out/$dtype.quern" --data "$articles" --limit "$limit" --json "${flag[@]}"
  done
done
for dtype in bf16 int8 int4; do
  step "quality-$dtype" "$quern" eval divergence -m "$out/$dtype.quern" -r "$out/f32.quern" --data "$text" --chunks "$chunks" --json
done
results=()
for length in free forced; do
  for name in hf-float32 hf-bfloat16 quern-f32 quern-bf16 quern-int8 quern-int4; do
    [ -s "$out/$name-$length.json" ] && results+=("$out/$name-$length.json")
  done
done
"$quern" eval report "${results[@]}" "$out"/quality-*.json -o "$out/report.html"
