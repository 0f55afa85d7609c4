#!/usr/bin/env bash
# Installs the system packages that Quern is built and tested with, when any is missing (Debian 12, Ubuntu 24.04).
# As root or with sudo; otherwise prints the one line to run and exits 4. Does nothing, and needs no network, when all are present.
set -euo pipefail

packages=(
  g++ cmake make pkg-config                        # the build
  nlohmann-json3-dev libcli11-dev libfmt-dev libspdlog-dev libxxhash-dev  # libraries: docs/libraries.md
  libboost-dev libssl-dev                          # the server: Asio and Beast (headers), TLS
  libgtest-dev libbenchmark-dev                    # tests and benchmarks
  python3 python3-pip                              # tests; fetching a model from PyPI
  ca-certificates curl                             # fetching a model from the hub
)
# Wanted, and no reason to stop: without them the chat page shows answers as plain text.
page_packages=(libjs-marked node-dompurify)

if ! command -v dpkg-query >/dev/null; then
  echo "setup: this is not a Debian or Ubuntu system; packages with these contents are needed: ${packages[*]}" >&2
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
needed=${#missing[@]}
for package in "${page_packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: all $((${#packages[@]} + ${#page_packages[@]})) packages are present"
  exit 0
fi

if [ "$(id -u)" -eq 0 ]; then
  as_root=(env)
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
  as_root=(sudo env)
elif [ "$needed" -eq 0 ]; then
  echo "setup: going on without ${missing[*]}: the chat page will show plain text"
  exit 0
else
  echo "setup: packages are missing; run this as root, then again what you ran:" >&2
  echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
  exit 4
fi

echo "setup: installing ${missing[*]}"
install() { "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; }
# The package lists may be there and fresh enough; when they are not, they are read first.
if ! install >/dev/null 2>&1; then
  { "${as_root[@]}" apt-get update -q && install; } || [ "$needed" -eq 0 ]
fi
