#!/usr/bin/env bash
# Every benchmark program of bench/, one after the other; then the end-to-end speed of the demo model when it is in the cache.
set -euo pipefail
cd "$(dirname "$0")/.."

for program in build/release/bench/*_bench; do
  if [ -x "$program" ]; then echo "== ${program##*/}" && "$program"; fi
done
engine=${XDG_CACHE_HOME:-~/.cache}/quern/qwen2.5-coder-0.5b-instruct.quern
if [ -f "$engine" ]; then build/release/quern bench -m "$engine"; else build/release/quern bench --shape qwen2.5-0.5b --dtype int4; fi
