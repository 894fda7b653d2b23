#!/usr/bin/env bash
# Formatting, vet, and that the modules are tidy. The rules of the house are tests.
set -eu
cd "$(dirname "$0")/.."
bad=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$bad" ]; then
	echo "Not formatted: $bad" >&2
	exit 1
fi
for file in $(git ls-files go.mod '*/go.mod'); do
	(
		cd "$(dirname "$file")"
		case $file in
		internal/vaulttest/server/go.mod)
			# Compiling Vault takes minutes, so it is vetted where scripts/vault.sh built it from these files, with the same settings. What its
			# modules' tests import, which tidy asks for, is not fetched: go build holds go.mod and go.sum against what it uses.
			if bash "$OLDPWD/scripts/vault.sh" --built; then
				CGO_ENABLED=0 go vet .
			fi
			;;
		*)
			go vet ./...
			go mod verify >/dev/null
			go mod tidy -diff
			;;
		esac
	)
done
