#!/usr/bin/env bash
# How long `./scripts/demo` takes on a fresh machine, with installation, and a second time; and what it installs.
#   benchmarks/demo.sh
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
NEARFIELD_HOME="$(mktemp -d)"
export NEARFIELD_HOME
trap 'rm -rf "$NEARFIELD_HOME"' EXIT

for run in first second; do
    began=$(date +%s.%N)
    "$root/scripts/demo" >"$NEARFIELD_HOME/$run.log"
    printf '%s run: %.1f s\n' "$run" "$(awk "BEGIN { print $(date +%s.%N) - $began }")"
done
printf 'installed, with every extra and the model: %s MB\n' "$(du -sm "$NEARFIELD_HOME"/venv-* | cut -f1)"
