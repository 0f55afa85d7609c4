#!/usr/bin/env bash
# quern serve beside llama-server on the same GGUF file: `quern bench serve` on each in turn, with so many clients, the same prompts.
# Usage: compare_llama_server.sh LLAMA_SERVER MODEL.gguf CLIENTS REQUESTS [THREADS [PROMPT_TOKENS [OUTPUT_TOKENS]]]
# QUERN names the program (default build/release/quern).
set -euo pipefail
llama_server=$1 model=$2 clients=$3 requests=$4 threads=${5:-$(nproc)} prompt=${6:-128} output=${7:-64}
quern=${QUERN:-build/release/quern}
log=$(mktemp)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -f "$log"' EXIT

# Hundredths of a second that all processors, and the server, have worked.
all_ticks() { awk '/^cpu / { print $2 + $3 + $4 + $7 + $8 }' /proc/stat; }
server_ticks() { sed 's/.*) //' "/proc/$server/stat" | awk '{ print $12 + $13 }'; }

load() {  # load NAME PORT: waits for the server, prints one line of figures, with what else the processors did meanwhile
  local name=$1 port=$2
  for _ in $(seq 600); do
    curl -sf "http://127.0.0.1:$port/health" >/dev/null && break
    kill -0 "$server" || { cat "$log" >&2; exit 1; }
    sleep 0.1
  done
  local all own start=$EPOCHREALTIME
  all=$(all_ticks) own=$(server_ticks)
  "$quern" bench serve --port "$port" --tokenizer "$model" --num-prompts "$requests" --random-input-len "$prompt" --random-output-len "$output" \
    --ignore-eos --max-concurrency "$clients" --seed 1 --json |
    python3 -c 'import json, sys
f = json.load(sys.stdin)
print("%-13s %3s clients: %7.1f output tokens/s, TTFT %6.0f ms, TPOT %6.1f ms, %d prompt and %d output tokens, %d failed"
      % (sys.argv[1], sys.argv[2], f["output_throughput"], f["median_ttft_ms"], f["median_tpot_ms"], f["total_input_tokens"], f["total_output_tokens"], f["failed"]))' \
      "$name" "$clients"
  awk -v all=$(($(all_ticks) - all)) -v own=$(($(server_ticks) - own)) -v start="$start" -v end="$EPOCHREALTIME" -v cores="$(nproc)" \
    'BEGIN { seconds = end - start; printf "  the server used %.0f %% of the processors, everything else %.0f %%\n", own / seconds / cores, (all - own) / seconds / cores }'
  kill "$server"
  wait "$server" || true
  server=
}

context=$(( (prompt + output + 64) * clients ))
"$llama_server" -m "$model" -t "$threads" -tb "$threads" -np "$clients" -c "$context" --port 8091 --no-webui >"$log" 2>&1 &
server=$!
load llama-server 8091
"$quern" serve "$model" --threads "$threads" --device cpu --max-num-seqs "$clients" --port 8092 --disable-log-requests >"$log" 2>&1 &
server=$!
load quern 8092
