#!/usr/bin/env bash
# Measures what the design promises about speed, as ratios to floors measured in the same run: the broker's parts by internal/bench, and each kind
# of evidence by its package's benchmarks. Takes some five minutes, best on a machine that does nothing else. With arguments only the first: see
# go run ./internal/bench -help.
set -eu
cd "$(dirname "$0")/.."
go run ./internal/bench "$@"
[ $# -eq 0 ] || exit 0
bash scripts/bench-evidence.sh
