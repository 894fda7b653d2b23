// Package authmethod is the auth method of the plugin: a workload logs in with evidence and gets a Vault token.
//
//	vault auth enable vouchsafe
//	vault write auth/vouchsafe/config issuer=https://vault.example:8200/v1/auth/vouchsafe kinds=snp
//	vault write auth/vouchsafe/policy-apply source=@payments.yaml        # spec.secrets: ["auth/payments"]
//	vault write auth/vouchsafe/role/payments token_policies=payments token_ttl=1h
//
// # Who gets a role
//
// A role is a secret of the mount named auth/ROLE, and a login is a release of it: the release policies that guard auth/ROLE say who gets the role, by default
// nobody does, and the decision is recorded, explained and listed as a lease like any other. What Vault's token may do is said by the role's
// token_policies. The token lives no longer than the release policy's lease. Its alias is the role, so that there is one entity for each role and not one for each boot.
//
// # The login
//
//  1. challenge {kind} gives a nonce.
//  2. The workload makes a key of P-256 (alg ECDH-ES+A256KW in its JWK) and has its evidence cover nonce and key, as for a release.
//  3. login {role, nonce, recipient, evidence, proof} gives the token. The proof is a compact JWS, ES256, signed by that key; its type is [ProofType] and
//     its payload {"use":"login","aud":ISSUER,"role":ROLE,"nonce":NONCE,"evidence":"sha256:HEX"}, see [Proof].
//
// # Why a relayed login is worthless
//
// Vault answers a login with the token in the clear of its TLS connection, so it matters who holds the other end. Whoever relays evidence, or has a guest make
// it for a nonce of Vault's, has no proof without the guest's key: the evidence covers the key, and the proof covers nonce, role and evidence. Whoever
// has the guest log in to another place gets a proof whose audience is that place. The nonce is spent by the login. What is left is who reads
// the guest's own TLS connection to Vault, against which there is the certificate; token_bound_cidrs and token_num_uses make what he gets worth less.
// The proof is looked at before the nonce is spent, so that a stranger cannot spend it.
//
// # Renewal
//
// A token says that a machine was good when it logged in. Vault's renew-self extends it only while there is evidence younger than the role's max_evidence_age
// (5 minutes by default): of the login itself, or of a reattest since, which takes what login takes with "use":"reattest" by the same key, is judged by the
// release policies as they are now, and is recorded. It also ends with the release policy's lease, which a reattest begins anew, and when the role's policies were
// changed. So a token of a machine that is no longer good, or no longer wanted, ends within its token_ttl.
//
// A token is revoked by Vault like any other. A role that is deleted gives no tokens, and those there are cannot be renewed.
package authmethod
