// Package kbs is the front end that Confidential Containers guests know: the KBS protocol, versions 0.4.x, under /kbs/v0. Clients in
// the field use it unmodified. A resource repository/type/tag is the secret of that name.
//
//	POST   /kbs/v0/auth                             a challenge; sets the cookie kbs-session-id
//	POST   /kbs/v0/attest                           evidence; the answer is an attestation result token (EAR), and a new cookie
//	GET    /kbs/v0/resource/{repository}/{type}/{tag}  a secret as a JWE, for the cookie or the token
//	POST   the same path, by a custodian's token    adds a version and makes it current
//	DELETE the same path, by a custodian's token    destroys every version
//
// # Sessions
//
// A challenge costs no memory. The session id that comes with it is no credential: it says which kind of evidence and which hash
// the challenge is for, and the nonce's MAC covers it. An id that names an attested session is made anew, at /attest, from 16 random bytes.
//
// # What is stricter than the reference server
//
//   - A nonce is good for one attempt, whatever comes of it.
//   - A recipient key is refused at /attest, not at the first secret; RSA1_5 unless it was turned on.
//   - A resource that the policies deny is 403 and one that does not exist, but would be allowed, 404. Config.DenyStatus 401 gives the
//     reference server's answer to both.
//   - Members that are there twice are refused. Unknown ones are passed over, as the protocol asks.
//
// # What the answer to a resource adds
//
// Clients ignore headers they do not know. Vouchsafe-Decision is the decision's id, by which an operator learns why. Vouchsafe-Signature is a
// compact JWS, type "vouchsafe-resource+json", whose payload binds the body to the secret's name, version, policies, nonce and recipient key:
// a guest that checks it cannot be given another secret under the name it asked for, which the JWE alone does not prevent.
package kbs
