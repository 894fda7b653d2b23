#!/usr/bin/env bash
# Formatting, vet, and that the modules are tidy. The rules of the house are tests.
set -eu
cd "$(dirname "$0")/.."
bad=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$bad" ]; then
	echo "Not formatted: $bad" >&2
	exit 1
fi
# Nested modules too. Not the Vault server for tests: to vet it takes minutes, as to build it does, for one file that imports all of Vault.
for file in $(git ls-files go.mod '*/go.mod'); do
	[ "$file" = internal/vaulttest/server/go.mod ] && continue
	(
		cd "$(dirname "$file")"
		go vet ./...
		go mod verify >/dev/null
		go mod tidy -diff
	)
done
