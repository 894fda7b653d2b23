// Package envelope encrypts a secret to the key of one recipient, and opens what was so encrypted.
//
// A workload makes a key inside its trusted execution environment, binds the public half into its evidence, and presents
// it as a JWK. [ParseRecipient] takes that JWK, or refuses it before anything is judged. The canonical form of the key,
// which the evidence's digest covers, and its thumbprint, which records and replies name it by, come from the [Recipient];
// so does the envelope.
//
// # Keys and algorithms
//
//	kty  crv      alg                           envelope
//	EC   P-256    ECDH-ES+A256KW                JWE, A256GCM
//	EC   P-521    ECDH-ES+A256KW                JWE, A256GCM
//	RSA           RSA-OAEP-256                  JWE, A256GCM: SHA-256 for hash and MGF1, empty label
//	RSA           RSA1_5                        JWE, A256GCM: only where Options.AllowRSA15 says so
//	OKP  X25519   HPKE-X25519-SHA256-A256GCM    HPKE base mode: KEM 0x0020, KDF 0x0001, AEAD 0x0002
//	AKP           HPKE-XWING-SHA256-A256GCM     HPKE base mode: KEM 0x647a (MLKEM768-X25519), KDF 0x0001, AEAD 0x0002
//
// The defining members are kty, crv, alg, x, y of an EC key; kty, crv, alg, x of an OKP key; kty, alg, n, e of an RSA key;
// kty, alg, pub of an AKP key. All of them must be there. Others are dropped, as the KBS protocol says, but a private
// member is refused: a workload that sends its private key has given it away, and must not be told that all is well.
//
// The two HPKE names are this project's own. The JOSE drafts name other combinations (HPKE-0 and on), and mean by a name
// a whole JWE processing with other associated data; a name of theirs would claim an interoperability that is not there.
// X-Wing's encapsulation is secure as long as either of ML-KEM-768 and X25519 is, which is why clients of the native API
// default to it: what is recorded off the wire today stays closed to the quantum computer of tomorrow.
//
// # JWE
//
// RFC 7516 flattened JSON, exactly as the KBS guests in the field need it: they parse the protected header, serialise it
// again and use that as associated data, so the header is compact JSON with fixed members in a fixed order, and nothing can
// be added to it. A JWE therefore binds the content to the key only. In the native API, the binding to secret, version,
// policy and nonce of a JWE comes from the signed reply around it.
//
// # HPKE envelope
//
//	{"alg":"…","encapsulated_key":"<base64url>","ciphertext":"<base64url>"}
//
// in this order, compact, unpadded. info is the constant "vouchsafe hpke envelope v1"; aad is the RFC 8785 form of the
// [Context]: an envelope opens for the secret, version, policy digest, nonce and decision it was made for and no other. The
// name of the suite is not in aad because RFC 9180 mixes KEM, KDF and AEAD identifiers into the key schedule.
//
// # Limits
//
// A JWK is at most [MaxJWK] bytes and a plaintext at most [MaxPlaintext]. RSA moduli are 2048 to 8192 bits.
//
// # Randomness
//
// Nothing here takes an io.Reader of randomness. The standard library draws ephemeral keys and encapsulations from the system
// whatever it is given, and an envelope whose content key could come from elsewhere would only be weaker.
// Known-answer tests fix the inputs inside the package.
//
// # What it does not do
//
// It does not know whose key it is: only evidence does. It does not authenticate the sender: the signed reply does. It
// does not hide the plaintext's length.
package envelope
