// Package broker is the core: it judges who asks and releases secrets. Front ends decode a request, call it and encode its answer; they
// decide nothing.
//
// # The path of a release
//
//	challenge → verify → decide → wrap → record → reply
//
// [Broker.Challenge] issues a nonce and remembers nothing. [Broker.Attest] spends the nonce, before anything that costs, and has the
// evidence verified against the nonce and the recipient key. [Broker.Release] judges every secret asked for by its release policies, encrypts
// those that are allowed to the recipient key, and makes the record of the decision durable; only then does the caller get
// anything. A native release is both in one call, [Broker.AttestAndRelease].
//
// Policies and reference values are judged at every release. What evidence proved, an enrolment among it, is as of when it was verified:
// a session or token is good for Limits.SessionLifetime after that, whatever was revoked in between; policies bound it with maxEvidenceAge.
//
// # The one door
//
// A secret's plaintext is read in one function, reveal, which only Release calls, and which hands it to one
// function only, the envelope's Seal. No administrative method returns it, and what writes a secret cannot read it back.
//
// # The choke point
//
// Every administrative method takes the [access.Caller] and checks its role first, and every change is committed in one Apply with
// its entry in the audit log: there is no change without an entry. (What waits for the second half of an enrolment is removed without
// one, when it is spent or too old.) On a store that is not atomic the entry comes first, see "Several brokers". Methods are grouped by what they change, a file each:
// secrets, policies, references, enrolments, tokens and keys.
//
// # The gate
//
// What judges requests, which is the active version of each policy, the reference values that count and the rules of approval in force, changes in one function, alter, which
// asks one other, gate, whether it may: by one approver where no rule of approval covers the change, or by a proposal with the approvals that the rules demand then, a rollback, or
// break-glass. Package policy/approval says what is demanded and who counts. Whatever passes writes NS/desk first, with compare-and-swap, so that none is judged by rules which
// another has just replaced.
//
// # Records
//
// Below a namespace NS, each record being JSON unless said otherwise; PATH is a secret's name, of 1 to 8 segments:
//
//	NS/secret/PATH                  a secret's metadata: its versions and which of them is current
//	NS/secret-value/PATH/N          the bytes of version N
//	NS/policy/NAME                  a policy's versions and which of them is active
//	NS/policy-version/NAME/N        the source of version N, as it was written
//	NS/reference/NAME               a set of reference values
//	NS/desk                         the versions of the rules of approval and which is in force, and which proposals are open
//	NS/approval-rules/N             the source of version N of the rules of approval
//	NS/proposal/ID                  one proposed change, with its approvals
//	NS/rego/KIND/ID                 a Rego policy's versions with their sources, and which of them is active
//	NS/rego-references              the reference values that Rego asks for
//	NS/reference-use/NAME           when evidence last matched its values; no part of the rules
//	NS/lease/PATH/ID                who holds a version until when
//	NS/decision/ID                  one judgement, with the index of its log entry
//	NS/enrolment/DIGEST             an enrolled TPM attestation key
//	NS/enrolment-host/DIGEST        which TPM a host's name belongs to
//	NS/enrolment-revoked/DIGEST     that a key of a TPM was revoked
//	NS/enrolment-pending/ID         an enrolment that waits for its credential
//	sys/namespace/NAME              a declared namespace, with its quota: Namespace
//	sys/audit/…, sys/key/…, sys/token/…
//
// and where several brokers share the store:
//
//	NS/rules-revision               tells the others that the rules changed
//	sys/audit-SLOT/…, sys/brokers/… the log of each broker, and who has it: package logs
//	sys/spent/…, sys/nonce-keys     spent nonces, and the keys of nonces: package session
//	sys/session/…                   attested KBS sessions, as the tokens that they stand for
//	sys/collateral/…                package endorse
//	sys/swept                       when the store was last swept: package data
//
// # Several brokers
//
// With Config.Shared the store is one that others have too, and that may not be atomic. Three things are different then. A change's entry is in the log, under a
// signed head, before the change is made, and a change of several records is ordered so that each prefix of it is a state that harms nobody, is
// reachable by nothing new, and lets the same call be made again: values before what leads to them, what leads to them before they are deleted, the mark of
// a revocation before the enrolment goes. What nothing leads to is passed over and removed by the next change. When another change came first, an
// "unmade" entry says so.
//
// Rules are compiled once and kept as long as NS/rules-revision says that nobody changed them. And nonces, their keys and sessions are in the store. Limits are
// each broker's own.
//
// # Two answers to a refusal
//
// What a method returns is an [*Error]: a coarse code, a message and a decision id that the workload may see, and a cause that it may not.
// The operator gets the whole of it, by that id, from [Broker.Explain].
package broker
