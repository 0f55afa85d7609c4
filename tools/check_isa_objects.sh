#!/usr/bin/env bash
# Files compiled for more than the baseline (*_avx2.cpp, *_avx512*.cpp) must not define weak symbols: the linker may keep their copy of an
# inline function for the whole program, which then dies on a processor without that instruction set. Usage: check_isa_objects.sh FOLDER...
# looks at every such object below the folders; fails when it finds a weak symbol or no object at all.
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: $0 BUILD_FOLDER..." >&2; exit 2; }
objects=0
findings=0
while IFS= read -r -d '' object; do
  objects=$((objects + 1))
  # Sanitizers and coverage add their own constructors (asan.module_ctor and the like), which no inline function shares a name with.
  weak=$(nm --defined-only -C "$object" | grep -E ' [WVwvu] ' || true)
  if [ -n "$weak" ]; then
    findings=$((findings + 1))
    echo "$object: weak symbols:"
    echo "$weak" | head -20
  fi
done < <(find "$@" \( -name '*_avx2.cpp.o' -o -name '*_avx512*.cpp.o' \) -print0)
echo "check_isa_objects: $objects objects, $findings findings"
[ "$objects" -gt 0 ] && [ "$findings" -eq 0 ]
