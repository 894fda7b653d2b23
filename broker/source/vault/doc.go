// Package vault has the sources that are Vault's: secrets that stay where they are in a KV engine, and what an engine issues at each release.
//
// # vault-kv
//
// A field of a KV secret, or all of it. KV v2 at a version or the latest; KV v1 where kv is 1.
//
//	{mount: secret, path: payments/db, field: password}
//
// A field that is a text is released byte for byte; of what JSON writes in several ways it is the text that counts, so "\u0041" is A.
// A field that is another JSON value is released as the JSON that Vault answered. Without a field the whole object is released as Vault answered
// it: members, order, numbers and escapes are not touched. encoding base64 decodes a text, strictly, for binary values: JSON has none.
// A version that was deleted or destroyed, and a field that is not there, do not exist.
//
// # vault-dynamic
//
// What Vault issues where a path is read or written: database accounts, certificates, SSH signatures, cloud credentials.
//
//	{path: "database/creds/${claims.init_data_claims[\"role\"]}", field: password}
//	{path: pki/issue/workload, method: write, body: {common_name: "${claims.tpm.host}.example.org"}}
//
// The path and the texts in the body are templates (see [source.Template]). A path has its first segment written out, which is the engine's mount or
// its beginning, and none of its segments but the last may be sys, auth, identity or cubbyhole, written out or put in: at the root, or in a namespace of
// Vault, these are not where secrets are. A placeholder is a segment or a part of one; with what is put in, a segment is still one and none of the above.
//
// A lease that Vault gives is kept by the broker, and ended: see package source. With wrap, what was issued is put into Vault's cubbyhole and the workload
// gets a token that unwraps it once; the broker issues first and wraps then, since of an answer that Vault wraps at once the lease is not known.
// exclusive says that nobody but brokers of this store issues at the path.
//
// # Who may name what
//
// Vault is asked with the broker's token, whichever namespace a secret is of. [Paths] says which paths the secrets of each may name, when they are put and when
// they are released, and which are the broker's own and nobody's.
//
// # Limits
//
// Values have at most 1 MiB, paths 32 segments of 255 bytes. A body nests at most 8 deep.
//
// # What is not looked at
//
// Whether a claim that a template names was held against anything: a policy does that, and one that lets a workload say of itself what role it has
// gives it every role that there is below the path.
package vault
