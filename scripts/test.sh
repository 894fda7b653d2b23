#!/usr/bin/env bash
# Runs every test, with the race detector where there is a C compiler, and names what was skipped.
set -u
cd "$(dirname "$0")/.."

bash scripts/lint.sh || exit 1

# Some tests read data that modules ship and no package imports.
go mod download || exit 1

race=()
cgo=0
if command -v gcc >/dev/null; then
	race=(-race)
	cgo=1
else
	echo "No C compiler: the tests run without the race detector."
fi

# -json, so that skips can be told from passes. The report prints each package as it ends, and what fails whole.
set -o pipefail
CGO_ENABLED=$cgo go test "${race[@]}" -timeout 30m -json ./... 2>&1 | go run ./internal/testreport
