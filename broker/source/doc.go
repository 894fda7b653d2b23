// Package source says what a secret is whose value lies elsewhere: a version of it has a [Document], which names where, instead of a value of its
// own. Package broker/source/vault has the kinds that are Vault's.
//
// # When a source is asked
//
// The broker's one door stays the only one: a source is asked for a value by the function that reads stored values, after every policy has allowed the
// release, and what it gives is encrypted to the workload's key and cleared as a stored value is. Nothing else asks for a value.
// Writing a version checks its document without asking anything, and [Source.Probe] asks whether there would be an answer, not for one.
//
// # What may come of it
//
// Each failure is one of these, and each has one meaning for the workload and one for the operator:
//
//	ErrNotFound     there is no such thing            as for a stored secret that does not exist
//	*Refusal        a claim cannot be a part of it    the secret is denied; explain says which claim and why
//	ErrForbidden    the broker may not                unavailable; explain and the log say what right is missing
//	ErrRejected     the source refuses the request    unavailable; the log says what it said
//	ErrUnavailable  it cannot be asked now            unavailable: come back
//
// Unavailable is an answer about the whole request: nothing of it is released, and the failure is recorded as a decision.
//
// # Sources that issue
//
// An [Issuer] makes something new for each release, which lives on until it ends it: a database account, a certificate. The broker then writes down
// the place of what it is about to ask for before it asks, and what was issued with the release, so that after a crash at any point there is
// a record by which it can be ended. It is ended when the broker's own lease ends, or is revoked, when the secret's version is destroyed, or when a
// policy that allowed the release no longer guards the secret.
//
// # Templates
//
// Parts of a path, or of a request, may be templates over what was attested. Their language is small and strict on purpose: see [Template].
package source
