#!/usr/bin/env bash
# Formatting, vet, and that the modules are tidy. The rules of the house are tests.
set -eu
cd "$(dirname "$0")/.."
bad=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$bad" ]; then
	echo "Not formatted: $bad" >&2
	exit 1
fi
go vet ./...
go mod verify >/dev/null
go mod tidy -diff
