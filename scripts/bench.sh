#!/usr/bin/env bash
# Measures what the design promises about speed, as ratios to floors measured in the same run: the broker's parts and whole releases by internal/bench,
# those with a real Vault server among them, releases through the Vault plugin, and each kind of evidence by its package's benchmarks. Takes some eight
# minutes, best on a machine that does nothing else, and some more the first time, to build the Vault server (scripts/vault.sh); where that cannot be, it says
# what is not measured. With arguments only the first: see go run ./internal/bench -help.
set -eu
cd "$(dirname "$0")/.."
vault=$(bash scripts/vault.sh --optional)
go run ./internal/bench "$@"
[ $# -eq 0 ] || exit 0
if [ -n "$vault" ]; then
	bash scripts/bench-plugin.sh
else
	printf '\nReleases through the Vault plugin are not measured: there is no Vault server, see above.\n'
fi
bash scripts/bench-evidence.sh
