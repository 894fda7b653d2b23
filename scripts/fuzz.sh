#!/usr/bin/env bash
# Runs every fuzz target of the project for a time each, and says how many inputs each was given. Inputs that reach new code are not made
# smaller: go test would spend a minute on each, which for large inputs is all of the time and leaves some dozen that are tried.
set -u
cd "$(dirname "$0")/.."
time=${1:-60s}
failed=0
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" 2>/dev/null | grep '^Fuzz'); do
		printf '%-70s ' "${package#github.com/vouchsafe/vouchsafe/} $target"
		if out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x -parallel "${FUZZPARALLEL:-$(nproc)}" "$package" 2>&1); then
			grep -o 'execs: [0-9]*' <<<"$out" | tail -1
		else
			failed=$((failed + 1))
			echo FAILED
			tail -30 <<<"$out"
		fi
	done
done
echo "$failed targets failed"
[ $failed -eq 0 ]
