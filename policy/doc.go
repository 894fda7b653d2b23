// Package policy parses, type-checks, compiles and evaluates release policies: the documents that say which workloads may have
// which secrets.
//
// # The document
//
//	apiVersion: vouchsafe/v1
//	kind: ReleasePolicy
//	metadata: {name: payments-db, description: Payments image on patched AMD hosts}
//	spec:
//	  secrets: ["payments/db/*"]
//	  require:
//	    - name: confidential-vm
//	      that: claims.kind in ["snp", "tpm"]
//	    - name: approved-image
//	      that: claims.measurement in reference("payments-image")
//	      message: this image is not in the approved set
//	  waive:
//	    - {rule: tcb-current, reason: the lab's hosts have no update yet, until ticket 71 is done}
//	  release: {maxEvidenceAge: 60s, lease: 1h}
//	tests:
//	  - {name: approved, claims: {file: genoa.json}, reference: {payments-image: ["6a65…"]}, expect: allow}
//	  - {name: debug VM, claims: {file: genoa.json, set: {debug: true}}, expect: deny, by: baseline.no-debug}
//
// It is YAML 1.2 without anchors, aliases, tags, further documents and characters that screens do not show; unknown and repeated members are errors. A pattern of secrets is a path
// ([CheckPath]) in which "*" stands for one segment and a final "**" for one or more. A policy has at least one rule, so that
// leaving them out cannot release to every genuine machine there is; one that says "rego: required" leaves that to the namespace's Rego resource policy (package
// policy/rego), and refuses where none is active. A rule is an expression in CEL over claims (the claims of package
// attest, by their JSON names), secret (the path asked for), now and evidence_age, with reference("name") for sets of reference values;
// docs/reference/policy.md lists them all. [Parse] reports every error with line, column, what was expected and the nearest name.
//
// # What decides
//
// [Set.Judge] asks every policy whose patterns cover the secret. None: refused. One refuses: refused. A policy allows when all of these hold:
//
//   - the built-in baseline ([Baseline]), except the rules it waives by name and with a reason. A waived rule is evaluated all the same, and
//     recorded as waived where it would have failed. The rule bound cannot be waived;
//   - the evidence is not older than release.maxEvidenceAge, [DefaultMaxEvidenceAge] where it says nothing;
//   - the Rego resource policy allows, where the policy requires that;
//   - every rule of its own.
//
// Where a Rego resource policy is active it joins the others as one policy more ([Request].Rego): it can refuse, and allows nothing that they refuse.
//
// Rules are named in results, and by the by member of tests: baseline.no-debug, release.max-evidence-age, rego.required, and the policy's own by their
// plain name, which has no dots, so they cannot meet.
//
// # Absence is never consent
//
// A claim that the evidence does not prove is absent (package attest). An expression that touches an absent claim, a missing key of a map,
// or a reference set that is not there is an error, and an error refuses. This is stricter than CEL in two ways:
//
//   - No defaults. CEL reads an unset member as false, 0 or ""; here it errs, and "!claims.debug" refuses a TPM quote.
//   - No forgiveness. CEL's || and && ignore an error on one side when the other side decides. Here they go from left to right: an error
//     ends the expression, and what is not reached is not touched. So claims.kind == "tpm" || !claims.debug is a good rule for both kinds,
//     and !claims.debug || claims.kind == "tpm" refuses every TPM.
//
// The guards are has(claims.vmpl), key in claims.tpm.pcrs, the conditional c ? a : b, and order. has(claims.snp.chip_id) is itself an error where
// claims.snp is absent: write has(claims.snp) && has(claims.snp.chip_id).
//
// In the baseline each rule says what absence means. Debug, VMPL, migration agent and TCB must be proved by every kind but TPMs and devices,
// which have no such thing; a kind that this package does not know must prove them too, and has no hardware root, so that adding a
// verifier never weakens a policy.
//
// # Development kinds
//
// Whether a server accepts evidence of kind virtual or sample is the server's configuration and not a policy's. Where it does,
// virtual passes the baseline by itself: it proves all claims, under a root of its own. sample proves nothing, and a policy that admits it waives
// genuine-hardware, no-debug, vmpl-0, no-migration-agent, tcb-current and collateral-current in so many words. Evidence of devices is additional:
// it must be bound and, where it speaks of debugging, TCB or collateral, good; it never stands in for the primary.
//
// # Limits
//
// Documents, rules, expressions and their syntax trees are bounded by the constants of this package. Loops go over claims, at most two
// deep. When the cost of an expression, estimated at parsing for the largest claims there can be, is below [MaxCost], it runs without
// counting; otherwise the run is counted and stops there, which is an error. Patterns of matches are RE2, written out in the policy, and
// bounded in size. What a record keeps of a claim is cut to a few hundred bytes.
//
// # What it does not do
//
// It does not verify evidence, store policies, or know who may change them. It cannot tell a good rule from a bad one; [Check]
// points out those that are constant, cannot be proved, or admit every kind, and embedded tests ([RunTests]) say the rest.
package policy
