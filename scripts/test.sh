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

# What needs a Vault server: packages whose tests do several things at a time that no test without Vault does; packages whose tests do one thing at a time,
# and tests of some names in packages whose others show the race detector the same code, so that only "make accept" has it look on; and packages where only
# other processes do several things, so that it sees nothing.
needs=(./store/vault ./store/vaultconn ./broker/brokertest)
single=(./store/seal/transit ./store/vaultconn/{doctor,rights} ./broker/source/vault)
outside=(./internal/testserver ./internal/pgtest ./internal/vaulttest/... ./examples)
partly=(./broker ./broker/data ./broker/node ./broker/server ./cmd/vouchsafe ./store/migrate)
names='Vault|^TestMigrate$/vault'

# Tests of store/vault with many writes or large ones, and nothing at a time that the rest of TestContract does not do; and such tests of the plugin.
long='^(TestListAtScale|TestHostileKeys|TestSizes|TestRequests|TestDamagedParts|TestContractOnRaft|TestContractSealed)$|^TestContract$/^(list|empty_and_largest)'
long_in_plugin='^(TestStoreInVault|TestTooLarge)$'

# Tests of the core that are the same on every store: of sources, of parsers, and with a Vault of their own. With Vault, where each write takes long, also those
# that make as many records as a limit allows, since the core counts them. They all run without it.
same='^TestVault|Mutat|^TestInvariant1OneDoor$|^TestInvariant6'
limits='^(TestBounds|TestClosedProposalsAreBounded|TestVersionsAreBounded)$'
[ "$mode" = accept ] && same='^TestVault' limits='^$'

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

# -json, so that skips can be told from passes; without what lint.sh does, and without what only debuggers need, which linking takes long over. Errors count when all has been run.
flags=(-timeout 30m -json -vet=off -ldflags=-w)
bad=0
raced() { CGO_ENABLED=$cgo go test "${race[@]}" "${flags[@]}" "$@" 2>&1 || bad=1; }
plain() { CGO_ENABLED=0 go test "${flags[@]}" "$@" 2>&1 || bad=1; }

# seen runs tests that the race detector need not see.
seen() { if [ "$mode" = accept ]; then raced "$@"; else plain "$@"; fi; }

# on runs tests on a store.
on() { VOUCHSAFE_TEST_STORE=$1 seen "${@:2}"; }

without_vault() (
	mapfile -t rest < <(comm -23 <(go list ./... | sort) <(go list "${partly[@]}" "${needs[@]}" "${single[@]}" "${outside[@]}" | sort))
	[ ${#rest[@]} -gt 0 ] || exit 1
	raced "${rest[@]}"
	raced -skip "$names" "${partly[@]}"
	on nonatomic -skip "$same" "${core[@]}"
	exit $bad
)

# These run at once, since the tests wait for Vault as much as they compute. -count=1: a result depends on other processes' programs.
lanes=(packages core names programs)

lane_packages() {
	raced -count=1 -parallel 4 -skip "$long" "${needs[@]}"
	seen -count=1 "${single[@]}"
	cd "$plugin" || exit 1
	raced -count=1 -skip "$long_in_plugin" $(go list ./... | grep -v /cmd/)
	seen -count=1 -run "$long_in_plugin" ./logicalstore ./secretsengine
}

lane_core() {
	on vault -count=1 -skip "$same|$limits" "${core[@]}"
	on plugin -count=1 -skip "$same|$limits" "${ends[@]}"
}

lane_names() {
	seen -count=1 -run "$names" "${partly[@]}"
	seen -count=1 -parallel 4 -run "$long" ./store/vault
}

lane_programs() {
	plain -count=1 "${outside[@]}"
	cd "$plugin" || exit 1
	plain -count=1 ./cmd/...
}

with_vault() {
	local started=$SECONDS out lane result=0 running=()
	out=$(mktemp -d) || return 1
	echo "The tests with Vault: they are shown when all of them have ended."
	# What links and what runs for a minute collects its garbage seldom: half of the linker's time.
	for lane in "${lanes[@]}"; do
		(
			export GOGC=400
			"lane_$lane" >"$out/$lane"
			echo "The lane \"$lane\" took $((SECONDS - started)) s." >>"$out/times"
			exit $bad
		) &
		running+=($!)
	done
	for lane in "${running[@]}"; do wait "$lane" || result=1; done
	for lane in "${lanes[@]}"; do cat "$out/$lane"; done
	cat "$out/times"
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
