#!/usr/bin/env bash
# Installs a finished build into an empty folder, moves that folder, and compiles and runs main.cpp against it: through
# find_package(quern) and, where pkg-config is present, through quern.pc.
# Usage: run.sh BUILD_FOLDER CHECKPOINT [COMPILER_FLAGS]
set -euo pipefail
build=$1 checkpoint=$2 flags=${3:-}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/installed"
run() {  # run NAME PROGRAM: it answers, and the answer is the same whichever way it was built
  "$2" "$checkpoint" "$work/$1.quern" "Once upon a time" >"$work/$1.txt"
  [ -s "$work/$1.txt" ] && ! grep -q '^$' "$work/$1.txt"
  echo "$1: $(head -c 60 "$work/$1.txt" | tr '\n' ' ')"
}

cmake -S "$here" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$work/installed" -DCMAKE_CXX_FLAGS="$flags" >/dev/null
cmake --build "$work/build" >/dev/null
run cmake "$work/build/consumer"

if command -v pkg-config >/dev/null; then
  pc=$(dirname "$(find "$work/installed" -name quern.pc)")
  # shellcheck disable=SC2046,SC2086
  c++ -std=c++20 $flags "$here/main.cpp" $(PKG_CONFIG_PATH="$pc" pkg-config --cflags --libs quern) -o "$work/consumer"
  run pkg-config "$work/consumer"
  cmp "$work/cmake.txt" "$work/pkg-config.txt"
fi
echo "consumer: an installed tree serves another project"
