#!/usr/bin/env bash
# Runs every test, with the race detector where there is a C compiler, and names what was skipped. What needs a real Vault server is the second half, which says
# how long it took; "test.sh vault" runs that half alone, and fails where there is no server. "test.sh accept" runs the core's tests on every store, with
# the race detector.
set -u
cd "$(dirname "$0")/.."

mode=${1:-all}
case $mode in
all | accept)
	bash scripts/lint.sh || exit 1
	bash scripts/vault.sh --optional >/dev/null || exit 1
	;;
vault) bash scripts/vault.sh >/dev/null || exit 1 ;;
*)
	echo "usage: test.sh [vault|accept]" >&2
	exit 2
	;;
esac

# What needs a Vault server: packages; the tests of some names in other packages; and packages where only other processes do several things at a time, so that
# a race detector in the test sees nothing.
needs=(store/vault store/vaultconn store/seal/transit store/migrate broker/source broker/server broker/brokertest)
partly=(./broker ./broker/node ./cmd/vouchsafe)
names='Vault'
outside=(internal/testserver internal/pgtest internal/vaulttest examples)

# Tests of store/vault with many writes or large ones, and nothing at a time that TestContract does not do: only "make accept" has the race detector look on.
long='^(TestListAtScale|TestHostileKeys|TestSizes|TestRequests|TestDamagedParts|TestContractOnRaft|TestContractSealed)$'

# The core and its front ends, whose tests run on other stores too: broker/brokertest says how. Where there is Vault, "make test" takes the plugin's
# storage, the slowest, for the front ends' tests only.
core=(./broker ./broker/api ./broker/kbs)
ends=(./broker/api ./broker/kbs)
[ "$mode" = accept ] && ends=("${core[@]}")

plugin=broker/vaultplugin # a module of its own; cmd/ in it drives a program that Vault runs

# Some tests read data that modules ship and no package imports.
go mod download || exit 1

cgo=1
race=(-race)
if ! command -v gcc >/dev/null; then
	cgo=0
	race=()
	echo "No C compiler: the tests run without the race detector."
fi

# -json, so that skips can be told from passes; without what only debuggers need, which linking takes long over. Errors count when all has been run.
flags=(-timeout 30m -json -ldflags=-w)
bad=0
raced() { CGO_ENABLED=$cgo go test "${race[@]}" "${flags[@]}" "$@" 2>&1 || bad=1; }
plain() { CGO_ENABLED=0 go test "${flags[@]}" "$@" 2>&1 || bad=1; }

# long_tests runs them.
long_tests() {
	local run=plain
	[ "$mode" = accept ] && run=raced
	$run -count=1 -parallel 4 -run "$long" ./store/vault
}

# on runs tests on a store, with the race detector only if asked to, since it has seen this code. Tests that have a Vault of their own are run once, elsewhere.
on() {
	local run=plain
	[ "$mode" = accept ] && run=raced
	VOUCHSAFE_TEST_STORE=$1 $run -skip '^TestVault' "${@:2}"
}

# below writes patterns of the packages below folders.
below() { printf './%s/...\n' "$@"; }

without_vault() (
	mapfile -t rest < <(comm -23 <(go list ./... | sort) <(go list "${partly[@]}" $(below "${needs[@]}" "${outside[@]}") | sort))
	[ ${#rest[@]} -gt 0 ] || exit 1
	raced "${rest[@]}"
	raced -skip "$names" "${partly[@]}"
	on nonatomic "${core[@]}"
	exit $bad
)

# Two of these run at once, since the tests wait for Vault as much as they compute. -count=1: a result depends on other processes' programs.
with_vault_raced() (
	raced -count=1 -parallel 4 -skip "$long" $(below "${needs[@]}")
	raced -count=1 -run "$names" "${partly[@]}"
	cd "$plugin" || exit 1
	raced -count=1 $(go list ./... | grep -v /cmd/)
	exit $bad
)

with_vault_plain() (
	on vault -count=1 "${core[@]}"
	on plugin -count=1 "${ends[@]}"
	long_tests
	plain -count=1 $(below "${outside[@]}")
	cd "$plugin" || exit 1
	plain -count=1 ./cmd/...
	exit $bad
)

with_vault() {
	local started=$SECONDS out result=0
	out=$(mktemp -d) || return 1
	echo "The tests with Vault: they are shown when all of them have ended."
	with_vault_raced >"$out/raced" &
	with_vault_plain >"$out/plain" || result=1
	wait $! || result=1
	cat "$out/raced" "$out/plain"
	rm -r "$out"
	echo "The tests with Vault took $((SECONDS - started)) s."
	return $result
}

set -o pipefail
{
	result=0
	[ "$mode" = vault ] || without_vault || result=1
	with_vault || result=1
	exit $result
} | go run ./internal/testreport
