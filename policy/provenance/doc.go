// Package provenance verifies what a build says of the reference values it made: signed statements, by keys that an operator configured, each bound
// to what it may say. It reads no clock and no network.
//
// # What is read
//
//   - A DSSE envelope ([Config.Statement]) whose payload is an in-toto Statement, v0.1 or v1, with SLSA provenance v0.2 or v1 as its predicate.
//   - cosign's signature of an OCI image ([Config.Image]): the "simple signing" payload beside its signature.
//   - What nobody signed: the registration message of a Confidential Containers key broker ([ParseKBS]), and a plain list ([ParsePlain]).
//
// Keyless signatures, by certificates of Fulcio, are not read: there is no key that an operator could have bound to anything.
//
// # Where a measurement stands
//
// A value for the set S of reference values is what the statement calls "reference:S": a subject of that name or, in SLSA v1, a by-product
// (runDetails.byproducts) of that name, each with exactly one digest; its hex is the value, and the name of the algorithm says no more than how long it is. So a statement
// says for which set it speaks: it cannot be replayed for another. A statement that is attached to an OCI artefact must have that artefact's digest as a
// subject as well.
//
// # What a key may say
//
// A [Key] that states provenance names sets, builders, the one repository and the refs that builds may come from, and may name workflows. Everything it names
// must be in the statement and be equal. The time of the build must be in the statement: it must be no older than [Key.MaxAge], not in the future, and
// while the key was valid. A key identifier in an envelope is a hint that anybody could have written, and is not looked at: every key is tried.
//
// # Errors
//
// Every error of verification is a [*Refusal] with a [Reason] of a closed set. Where several keys signed and each may not say it, the first one's refusal is returned.
package provenance
