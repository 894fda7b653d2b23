#!/usr/bin/env bash
# The main job, on one screen: a broker on an embedded store releases a secret to a good workload, refuses a bad one and explains why, and
# its audit log verifies. Where there is a software TPM, the same with TPM evidence. Everything happens in a temporary folder.
set -eu
cd "$(dirname "$0")/.."
bin=$PWD/bin
work=$(mktemp -d)
pids=()
cleanup() {
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done
	rm -rf "$work"
}
trap cleanup EXIT

bold() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || bold() { printf '\n== %s\n' "$*"; }
# run prints a command as a person would type it, and runs it.
run() {
	printf '$ %s\n' "$*"
	"$bin/$1" "${@:2}"
}
cd "$work"
field() { sed -n "s/^  \"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" dev/dev.json | sed "s#^$PWD/##"; }
wait_for() {
	for _ in $(seq 100); do
		[ -e "$1" ] && return
		sleep 0.05
	done
	echo "waited in vain for $1" >&2
	exit 1
}

maker=()
if command -v swtpm >/dev/null && command -v swtpm_setup >/dev/null; then
	"$bin/softtpm" --dir "tpm" >"tpm.log" 2>&1 &
	pids+=($!)
	wait_for "tpm/address"
	maker=(--tpm-maker-root "tpm/authority.pem")
fi

bold "A broker on an embedded store, with a development TEE"
start=$(date +%s%N)
"$bin/vouchsafe" dev --dir "dev" --listen localhost:0 --quiet "${maker[@]}" >/dev/null &
pids+=($!)
wait_for "dev/dev.json"
echo "ready after $((($(date +%s%N) - start) / 1000000)) ms at $(field url)"
export VOUCHSAFE_ADDR=$(field url) VOUCHSAFE_CACERT=$(field ca_cert) VOUCHSAFE_TOKEN_FILE=$(field token_file)
secret=$(field secret)

bold "A good workload gets the secret, encrypted to its own key"
run vouchsafe-agent fetch --tee "dev/tee" "$secret"
echo

bold "A workload of another image is refused, and told no more than that"
if run vouchsafe-agent fetch --tee "dev/tee-tampered" "$secret" 2>"refused"; then
	echo "the tampered workload got the secret" >&2
	exit 1
fi
cat "refused"
decision=$(grep -o '[0-9a-f]\{8\}-[0-9a-f-]\{27\}' "refused" | head -1)

bold "The operator sees why"
run vouchsafe explain "$decision"

if [ ${#maker[@]} -gt 0 ]; then
	bold "A host with a TPM: enrolled, then judged by its boot state"
	cat >"host.yaml" <<-'POLICY'
		apiVersion: vouchsafe/v1
		kind: ReleasePolicy
		metadata: {name: hosts, description: An enrolled host whose PCR 7 is as it was}
		spec:
		  secrets: ["hosts/disk/key"]
		  require:
		    - {name: enrolled-host, that: claims.kind == "tpm" && claims.tpm.host == "rack1-node7"}
		    - {name: boot-state, that: 'claims.tpm.pcrs[7] == "0000000000000000000000000000000000000000000000000000000000000000"', message: the host booted something else}
	POLICY
	tpm=$(cat "tpm/address")
	run vouchsafe token create rack1 --role enroller --file "enroller.token"
	VOUCHSAFE_TOKEN_FILE=enroller.token run vouchsafe-agent enrol --host rack1-node7 --tpm "$tpm" --tpm-state "ak"
	run vouchsafe policy apply "host.yaml"
	run vouchsafe secret generate hosts/disk/key --encoding hex
	run vouchsafe-agent fetch --kind tpm --tpm "$tpm" --tpm-state "ak" hosts/disk/key
	echo
	"$bin/softtpm" --extend 7 --address "$tpm"
	echo "(something else boots: PCR 7 changes)"
	if run vouchsafe-agent fetch --kind tpm --tpm "$tpm" --tpm-state "ak" hosts/disk/key 2>"refused"; then
		echo "the changed host got the secret" >&2
		exit 1
	fi
	cat "refused"
else
	echo "(no software TPM here, so the part with TPM evidence is left out: apt-get install swtpm swtpm-tools)"
fi

bold "The audit log is computed again from its entries"
run vouchsafe audit verify
