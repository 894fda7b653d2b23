#!/usr/bin/env bash
# Installs what the tests and the demo use besides Go: a software TPM, a PostgreSQL, and a C compiler for the race detector. Where it may
# not, it says what will be skipped.
set -eu
command -v go >/dev/null || { echo "Go is needed: see go.mod for the version" >&2; exit 1; }

missing=()
command -v swtpm >/dev/null && command -v swtpm_setup >/dev/null || missing+=(swtpm swtpm-tools gnutls-bin)
command -v gcc >/dev/null || missing+=(gcc libc6-dev)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "Installing ${missing[*]}"
	case " ${missing[*]} " in
	*" postgresql "*)
		# The tests make servers of their own; the one that Debian would make and start is not wanted.
		no_cluster=/etc/postgresql-common/createcluster.d/vouchsafe-tests.conf
		[ -d /etc/postgresql-common ] || { mkdir -p "${no_cluster%/*}" && echo "create_main_cluster = false" >"$no_cluster"; }
		;;
	esac
	log=$(mktemp)
	if { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
		rm -f "$log"
		exit 0
	fi
	tail -5 "$log" >&2
	rm -f "$log"
fi
echo "Not installed: ${missing[*]}. What needs a software TPM, a PostgreSQL or the race detector is skipped." >&2
