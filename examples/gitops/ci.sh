#!/usr/bin/env bash
# What CI runs: "ci.sh branch" for a branch, "ci.sh main" for what was merged. It takes jq, and from the environment:
#   VOUCHSAFE_ADDR, VOUCHSAFE_CACERT, VOUCHSAFE_TOKEN_FILE   the broker; of a branch the token of an author, on main of an author and approver
#   JUDGED                                                   the folder of the documents
#   REASON                                                   for approvers and the audit log: the commit
set -euo pipefail
judged=${JUDGED:-judged}
reason=${REASON:-$(git log -1 --format='%h %s' 2>/dev/null || echo 'no commit')}

# Exit code 1 says that something differs, or flips, which is for people to judge; others are failures.
differs() { "$@" || [ $? = 1 ]; }

check() {
	vouchsafe policy test --strict --junit tests.xml "$judged"
	vouchsafe policy check "$judged"
}

branch() {
	check
	differs vouchsafe diff -f "$judged" --prune
	for file in $(grep -rlE '^kind: *ReleasePolicy' --include='*.yaml' --include='*.yml' "$judged"); do
		differs vouchsafe policy replay "$file" --since 7d
	done
	vouchsafe apply -f "$judged" --prune --propose --reason "$reason" --quiet
}

main() {
	check
	# Only what these documents state is carried out, and only if it was approved: a proposal of anything else is left alone.
	vouchsafe apply -f "$judged" --prune --propose --reason "$reason" --quiet --format=json >applied.json
	for proposal in $(jq -r '.changes[].proposal // empty' applied.json); do
		vouchsafe policy activate "$proposal"
	done
	vouchsafe diff -f "$judged" --prune
	echo "what judges is as $judged states it"
}

case ${1:-} in
branch | main) "$1" ;;
*)
	echo 'usage: ci.sh branch|main' >&2
	exit 2
	;;
esac
