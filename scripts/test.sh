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

out=$(mktemp)
trap 'rm -f "$out"' EXIT
# -json, so that skips can be told from passes; what fails is printed whole.
CGO_ENABLED=$cgo go test "${race[@]}" -timeout 30m -json ./... >"$out" 2>&1
status=$?
go run ./internal/testreport <"$out"
report=$?
[ $status -eq 0 ] && [ $report -eq 0 ]
