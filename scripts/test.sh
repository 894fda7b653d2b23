#!/usr/bin/env bash
# Runs every test, with the race detector where there is a C compiler, and names what was skipped. "test.sh vault" runs only those that need a real
# Vault server, and fails where there is none.
set -u
cd "$(dirname "$0")/.."

# What needs a Vault server, in the main module; patterns of what does not exist are passed over.
vault=(
	internal/testserver internal/pgtest internal/vaulttest
	store/vault store/vaultconn store/seal/transit broker/source broker/node examples
)

# The core and its front ends, whose tests run on other stores too: broker/brokertest says how.
shared=(./broker ./broker/api ./broker/kbs)

# Nested modules, whose tests are run with the others. Not the Vault server: it is a program, and a race detector in it would compile it all again.
modules=()
for file in $(git ls-files '*/go.mod'); do
	case $file in
	internal/vaulttest/server/*) ;;
	*) modules+=("$(dirname "$file")") ;;
	esac
done

packages=(./...)
stores=(nonatomic)
case ${1:-} in
"")
	bash scripts/lint.sh || exit 1
	bash scripts/vault.sh --optional >/dev/null || exit 1
	bash scripts/vault.sh --built && stores+=(vault)
	;;
vault)
	bash scripts/vault.sh >/dev/null || exit 1
	packages=()
	stores=(vault)
	for dir in "${vault[@]}"; do
		[ -d "$dir" ] && packages+=("./$dir/...")
	done
	;;
*)
	echo "usage: test.sh [vault]" >&2
	exit 2
	;;
esac

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

# run runs the tests of a module.
run() {
	CGO_ENABLED=$cgo go test "${race[@]}" -timeout 30m -json "$@" 2>&1
}

# -json, so that skips can be told from passes. The report prints each package as it ends, and what fails whole.
started=$SECONDS
set -o pipefail
{
	bad=0
	run "${packages[@]}" || bad=1
	for store in "${stores[@]}"; do # without the race detector, which has seen this code
		VOUCHSAFE_TEST_STORE=$store CGO_ENABLED=0 go test -timeout 30m -json "${shared[@]}" 2>&1 || bad=1
	done
	for module in "${modules[@]}"; do
		(cd "$module" && run ./...) || bad=1
	done
	exit $bad
} | go run ./internal/testreport
result=$?
[ "${1:-}" = vault ] && echo "The tests with Vault took $((SECONDS - started)) s."
exit $result
