// Package keys holds the keys a broker signs with: attestation result tokens, replies and checkpoints of the audit log. They are made at
// the first start, kept as records of the store, rotated, and published.
//
// # Purposes
//
//	token  ES256, JWS compact: attestation result tokens. The protected header carries the public key as "jwk", as EAR consumers expect.
//	reply  ES256, JWS flattened JSON: signed answers.
//	log    Ed25519, signed notes (C2SP signed-note): checkpoints.
//
// A key signs for its purpose only, and what is signed for one type is no good as another: "typ" is in the protected header and
// [Ring.Verify] asks for it.
//
// # JWS
//
// The protected header is this, compact, in this order; "jwk" in tokens only:
//
//	{"alg":"ES256","jwk":{"crv":"P-256","kty":"EC","x":"…","y":"…"},"kid":"…","typ":"…"}
//
// kid is the key's RFC 7638 thumbprint, SHA-256, base64url. [Ring.Verify] takes what the ring signed and nothing else: it holds the encoded
// header against the one that each of its keys writes, byte for byte. So the algorithm is pinned, a key in the header is never believed,
// and no parser reads a stranger's header.
//
// # Records
//
// The record sys/key/<purpose> is JSON: the current key with its private part (PKCS #8), and the public parts of retired keys with the
// time until which they are published and believed. The private part of a retired key is gone. This package encrypts nothing: the
// store it is given must seal what it keeps (see package seal below store).
//
// Several brokers may start on an empty store together: a record is made by create-if-absent, and who comes second reads what the first made. A rotation is
// a compare-and-swap of one record. The others see it by [Ring.Follow] or [Ring.Reload], until which they refuse what is signed with the
// new key as unknown; workloads then attest again.
//
// # What it does not do
//
// The log's key does not rotate: whoever follows the log knows it by that key. A key is not published before it signs; tokens carry
// theirs, and consumers who cache the JWKS must fetch it again when they meet a kid they do not know. The old private key is
// dropped at rotation, but a backup made before still has it.
package keys
