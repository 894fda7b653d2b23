// Package attest defines what every kind of attestation evidence has in common: [Evidence] that an Attester
// presents, the [Binding] it must carry, the [Claims] a [Verifier] proves from it, and the two ways it can fail.
// The terms are those of RFC 9334.
//
// # The two failures
//
// A verifier that says no says one of two things, and callers must keep them apart with errors.As:
//
//   - [*Refusal]: this evidence is bad. It will be bad tomorrow too; nobody retries it.
//   - [*Unavailable]: it cannot be judged now, because something the judgement needs (a certificate, a revocation
//     list, the store of enrolments) is not at hand. Nothing is released, and the caller is told when to come back.
//
// An error that is neither is a bug, and is treated as unavailability: an unknown failure never releases anything.
//
// # Rules for a verifier
//
// A verifier is pure. Bytes, the expected binding, trust anchors, collateral and a time go in; typed claims or a typed
// failure come out. It opens no connection, reads no clock and keeps no state but caches whose entries are derived
// from their key. What it does not check is a claim that the policy baseline judges, or it is a refusal: an option
// left at its zero value never means "not checked". The zero [Binding] matches no evidence.
//
// # Presence of claims
//
// A claim that a kind of evidence cannot prove is absent, which is different from false, zero or empty. Strings, slices,
// maps and pointers are absent when zero, and that is exactly when encoding/json leaves them out. A policy that
// touches an absent claim is an error, and an error refuses.
package attest
