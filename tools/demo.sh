#!/usr/bin/env bash
# The demo: fetches a real model, builds its engine file, asks it something. Without a network it says so and runs the embedded model.
# Run through `make demo`, which builds the program first.
set -euo pipefail
cd "$(dirname "$0")/.."

quern=build/release/quern
cache=${XDG_CACHE_HOME:-~/.cache}/quern
name=qwen2.5-coder-0.5b-instruct

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
if [ ! -t 1 ]; then say() { printf '\n%s\n' "$*"; }; fi

# The engine of a source, built once: an engine that this program cannot read is built again.
engine_of() {
  local source=$1 engine=$2
  if [ -f "$engine" ] && [ ! "$source" -nt "$engine" ] && $quern info "$engine" >/dev/null 2>&1; then
    say "The engine file is here already: $engine"
  else
    say "quern build $source -o $engine"
    $quern build "$source" -o "$engine"
  fi
}

if source=$(tools/fetch_model.sh $name); then
  engine=$cache/$name.quern
  engine_of "$source" "$engine"
  question="Write a Python function that reverses a string. Explain it in one sentence."
  say "quern run -m $engine -p '$question'"
  exec $quern run -m "$engine" -p "$question" --temp 0 -n 256
fi

say "The model could not be fetched (see above), so the demo runs the embedded one: 260,000 parameters that tell stories."
source=tests/models/stories260K-qwen2
engine=build/stories260K.quern
engine_of $source $engine
say "quern run -m $engine -p 'Once upon a time'"
exec $quern run -m $engine -p "Once upon a time" --temp 0 -n 200
