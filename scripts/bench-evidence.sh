#!/usr/bin/env bash
# Prints what appraising each kind of evidence costs, as a ratio to the bare signature checks of that evidence: warm, when its certificates and
# collateral were seen before, and cold. A package's benchmark says what its floor is made of.
set -euo pipefail
cd "$(dirname "$0")/.."
printf '\nEvidence, as a ratio to its bare signature checks\n\n'
go test -run '^$' -bench '^BenchmarkVerify' -benchtime "${BENCHTIME:-1s}" ./attest/... | awk '
	/^pkg:/ { package = $2; sub(".*/vouchsafe/", "", package) }
	/^Benchmark/ {
		floor = budget = ""
		for (i = 4; i <= NF; i++) { if ($i == "x-floor") floor = $(i-1); if ($i == "x-budget") budget = $(i-1) }
		if (floor == "") next
		name = $1; sub(/^BenchmarkVerify\/?/, "", name); sub(/-[0-9]+$/, "", name)
		verdict = ""
		if (budget != "") {
			if (floor + 0 <= budget + 0) { verdict = "met"; met++ } else { verdict = "MISSED"; missed++ }
			verdict = sprintf("≤ %.2f×  %s", budget, verdict)
		}
		printf "  %-16s %-28s %9.3f ms  %6.2f×  %s\n", package, name, $3 / 1e6, floor, verdict
	}
	/^(FAIL|panic)/ { print; failed = 1 }
	END { printf "\n%d budgets met, %d missed\n", met, missed; exit failed }'
