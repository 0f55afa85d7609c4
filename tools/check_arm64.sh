#!/usr/bin/env bash
# The library compiles for 64-bit Arm: every file that such a build has goes through the cross compiler (Debian: g++-aarch64-linux-gnu)
# without linking. Exits 0 with a line that says so where there is no such compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

compiler=aarch64-linux-gnu-g++
command -v $compiler >/dev/null || { echo "check_arm64: no $compiler here, nothing checked"; exit 0; }
headers=$(mktemp -d)
trap 'rm -rf "$headers"' EXIT
# The libraries' headers are the same for every processor; all of /usr/include would bring this machine's C library along.
for name in fmt spdlog nlohmann CLI xxhash.h xxh3.h; do
  for at in /usr/include /usr/local/include; do
    if [ -e "$at/$name" ]; then ln -s "$at/$name" "$headers/$name" && break; fi
  done
done
files=$(find src -name '*.cpp' ! -name '*_test.cpp' ! -name '*_avx2.cpp' ! -name '*_avx512*.cpp' ! -path '*/cli/*' ! -path '*/backend/cuda/*' | sort)
if [ "${1:-}" = --kernels ]; then files=$(find src/backend src/base src/formats -name '*.cpp' ! -name '*_test.cpp' ! -name '*_avx2.cpp' ! -name '*_avx512*.cpp' ! -path '*/backend/cuda/*' | sort); fi
echo "$files" | xargs -P "$(nproc)" -n 4 $compiler -std=c++20 -O1 -fsyntax-only -Wall -Wextra -Werror -Wno-missing-field-initializers -Iinclude -Isrc -isystem "$headers"
echo "check_arm64: $(echo "$files" | wc -l) files compile"
