// Package ear writes and reads the attestation result token: an Entity Attestation Result (draft-ietf-rats-ear) as the claims of a
// JWT, in the shape that consumers of Confidential Containers' tokens read. Package keys signs it.
//
// # Members
//
//	eat_profile     the profile of Confidential Containers, whose shape this is
//	iat, nbf, exp   seconds since 1970; nbf is iat
//	iss, jti, aud   issuer, token id, audience ("aud" is left out when there is none)
//	cnf             {"jwk": the TEE's public key} (RFC 7800)
//	ear.verifier-id {"build", "developer"}
//	submods         "cpu0" for the primary evidence, whatever its kind, and "<class><n>" for each device, class being "gpu" or the kind
//	vouchsafe       what this broker needs to take the token back as proof: namespace, nonce, evidence digest, decision, time, claims
//
// and in each of submods ear.status, ear.trustworthiness-vector, ear.appraisal-policy-id and
// ear.veraison.annotated-evidence, which holds <kind>: the kind's claims, report_data, init_data, init_data_claims, and
// runtime_data_claims {nonce, tee-pubkey}. The claims of snp (and of virtual, which has its layout) have the names
// and types that resource policies in the field expect; those of other kinds are [attest.Claims]'.
//
// # The trustworthiness vector
//
// It says what can be known without reference values, for at attestation no policy is applied: each secret has its own, later. So
// executables are always "not recognised" (33) and no token's status is better than a warning. Whoever relies on a token alone must judge
// its claims. By AR4SI (draft-ietf-rats-ar4si), section 2.3:
//
//	hardware           2 genuine; 32 TCB out of date, of unknown status, or relied on certificates or lists past their date, or a TPM,
//	                   whose maker vouches for the TPM and not for the machine; 96 TCB revoked; 97 development evidence
//	configuration      36 unknown to the verifier (the best there is); 32 VMPL above 0, a migration agent, Secure Boot off,
//	                   init-data that is not the one bound; 96 debugging allowed
//	executables        33
//	instance-identity  2 an enrolled TPM; 0 otherwise
//	runtime-opaque     2 memory encrypted by genuine hardware; 96 debugging allowed; 0 otherwise
//	others             0, no claim
//
// A fact that is absent counts as bad where its kind should have proved it. A submodule's status is that of its worst value.
//
// # Reading
//
// [Decode] reads only what [Token.Encode] writes: the bytes must be those that their own content encodes to. Only a payload whose
// signature was verified should come here; being strict costs little and leaves no second reading. The annotated evidence is for others and
// is not read: claims and key come from "vouchsafe" and "cnf".
//
// # Sizes
//
// A token travels in a header, and proxies allow 8 KiB or so. Bodies of init-data are the bulk of it: over [MaxInitData] they are left out of
// the annotated evidence. Claims over [MaxClaims] are left out of "vouchsafe": such a token is good for everyone but this broker, to which the
// workload must come with its session instead ([ErrNoClaims]).
package ear
