#!/usr/bin/env bash
# Builds the Vault server that tests run against (internal/vaulttest/server) into the user's cache folder, or reuses what is there, and prints
# its path. The first build compiles all of Vault: minutes. With --optional it says why it cannot, and that is no error.
set -u
cd "$(dirname "$0")/../internal/vaulttest/server" || exit 1

optional=
[ "${1:-}" = --optional ] && optional=1

say() { echo "Vault for tests: $*" >&2; }

# give_up says why there is no server, and what that means.
give_up() {
	say "$*"
	say "what needs a Vault server is skipped, and is listed as skipped."
	[ -n "$optional" ] && exit 0
	exit 1
}

# The same folder as package vaulttest finds: the name is a digest of all that the program is made from.
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/vouchsafe/vault-test
digest=$(cat go.mod go.sum main.go | sha256sum | cut -c1-16)
program=$cache/$digest/vault-test
if [ -n "${VOUCHSAFE_TEST_VAULT:-}" ]; then
	[ -x "$VOUCHSAFE_TEST_VAULT" ] || give_up "VOUCHSAFE_TEST_VAULT is $VOUCHSAFE_TEST_VAULT, which is no program."
	say "using VOUCHSAFE_TEST_VAULT."
	echo "$VOUCHSAFE_TEST_VAULT"
	exit 0
fi
if [ -x "$program" ]; then
	touch "$cache/$digest"
	echo "$program"
	exit 0
fi

command -v go >/dev/null || give_up "Go is not installed."
mkdir -p "$cache/$digest" || give_up "there is no place for it at $cache."
# What the first build was measured to take, and a little over: sources, what is compiled and the program; and the linker's memory.
place=$(go env GOCACHE)
mkdir -p "$place"
free=$(df -Pk "$place" | awk 'NR == 2 { print int($4 / 1024) }')
[ "$free" -ge 6144 ] || give_up "building it takes 6 GiB of disk, and $place has $free MiB."
memory=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo 2>/dev/null)
[ "${memory:-9999}" -ge 3072 ] || give_up "building it takes 3 GiB of memory, and $memory MiB are available."

# No two builds at once: the second waits, and finds the first one's program.
if command -v flock >/dev/null; then
	exec 9>"$cache/lock"
	flock 9
	if [ -x "$program" ]; then
		echo "$program"
		exit 0
	fi
fi

started=$SECONDS
log=$cache/$digest/build.log
say "building it, once: about 5 minutes on two cores, less when parts are cached."
nice -n 10 env CGO_ENABLED=0 GOWORK=off go build -v -ldflags '-s -w' -o "$program.new" . >"$log" 2>&1 9>&- &
build=$!
trap 'kill $build; exit 1' INT TERM # what a shell runs in the background does not hear of these
while kill -0 $build 2>/dev/null; do
	sleep 1
	passed=$((SECONDS - started))
	[ $((passed % 30)) -eq 0 ] && say "$passed s, $(grep -c / "$log") packages compiled or modules fetched"
done
wait $build || {
	tail -5 "$log" >&2
	give_up "it could not be built, see above and $log."
}
trap - INT TERM
mv "$program.new" "$program"
# Programs of earlier versions that nobody used for two weeks.
find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +14 ! -name "$digest" -exec rm -rf {} +
say "built in $((SECONDS - started)) s."
echo "$program"
