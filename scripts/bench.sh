#!/usr/bin/env bash
# Measures what the design promises about speed; see internal/bench. Takes about three minutes, best on a machine that does nothing else.
set -eu
cd "$(dirname "$0")/.."
exec go run ./internal/bench "$@"
