#!/usr/bin/env bash
# Prints what a release through the Vault plugin costs on a real Vault server, as a ratio to empty calls of the same plugin by as many clients in the same
# run: two, since a release is a challenge and the release itself. broker/vaultplugin/cmd/vault-plugin-vouchsafe has the benchmark.
set -euo pipefail
cd "$(dirname "$0")/../broker/vaultplugin"
printf '\nA whole release through the plugin, against two empty calls of it\n\n'
go test -run '^$' -bench '^BenchmarkRelease$' -benchtime "${BENCHTIME:-5s}" ./cmd/vault-plugin-vouchsafe | awk '
	/^Benchmark/ {
		for (i = 3; i < NF; i += 2) value[$(i+1)] = $i
		name = $1; sub(/^BenchmarkRelease\//, "", name); sub(/-[0-9]+$/, "", name)
		split(name, part, /[=\/]/)
		printf "  storage %-6s %3d clients  %8.2f ms, 99%% under %7.1f ms, %5.0f/s; empty call %6.2f ms, %5.0f/s; %.2f× two of them\n", part[2], part[4],
			value["ns/op"] / 1e6, value["p99-ms"], value["releases/s"], value["empty-ms"], value["empty/s"], value["x-empty"]
		count++
	}
	/^(FAIL|panic|---)/ { print; failed = 1 }
	END { if (!count) { print "  nothing was measured"; failed = 1 } exit failed }'
