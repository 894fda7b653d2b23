// Package token appraises attestation results of other verifiers: signed JWTs (RFC 7519) in the place of evidence, the kind token, and sets of them about devices,
// a form of the kind nvidia.
//
// A token is the word of whoever signed it. What is verified here is whose word it is, for whom it was given, how old it is, and that it is about a workload which holds this
// broker's nonce and recipient key. That the hardware is genuine is what the other verifier says, which is why the claim hardware_root is
// configured-verifier and never the name of a maker of hardware.
//
// # Evidence
//
// The compact JWT, and nothing around it; or JSON, {"token": the compact JWT, "runtime_data": base64}, whose second member is for Azure only. At most
// [MaxToken] bytes a token, [MaxEvidence] altogether. Of a device: [["JWT", overall], {name: detached, …}], a detached bundle as NVIDIA's service returns it,
// of at most attest.MaxDevices tokens; the first byte, "[", tells it from other evidence of devices.
//
// # What is verified
//
// In this order:
//
//   - the form: three parts of base64url in the one spelling that an encoder writes; header and payload are JSON objects with each member once
//     (CodeMalformed, CodeTooLarge). A header with crit, b64, enc, zip or cty is refused, and so is an unknown typ;
//   - "iss" is that of a configured verifier, exactly (CodeIssuer). This selects the keys that are tried; whose key verifies decides who issued it;
//   - "alg" is one that the format pins (CodeAlgorithm), and the key is one for it: a key of a key set with another alg, or of another type or curve, does not
//     verify. There is no "none" and no symmetric algorithm to be confused with;
//   - the key. From a key set: the one whose "kid" the header names, or where it names none the one that equals the header's "jwk", which is compared and never used
//     (CodeIssuerKey). By a chain, in "x5c" or in the "x5c" of the "jwk": its first certificate must chain to a configured root, be valid at the time of appraisal, and be for
//     signatures: not an authority's, not for TLS alone (CodeCertMissing, CodeCertMalformed, CodeCertUntrusted, CodeCertExpired). No root comes from a
//     token, and no address in a token (jku, x5u) is ever looked at;
//   - the signature (CodeSignature);
//   - the times: iat and exp are there, and nbf where the format has it; the token is neither from the future, by more than [MaxSkew], nor expired, by not a second; it is
//     no older than configured, 10 minutes by default; and it does not claim a longer life than its issuer gives (CodeTokenTime);
//   - the audience: one that is configured; a token that has one where none is configured was made for somebody else (CodeAudience);
//   - what the format demands, and the verdict: a token in which the verifier itself says no is refused (CodeVerdict, CodeVersionUnsupported, CodeNotVerifiable);
//   - the binding (CodeBinding).
//
// Presented init-data is refused (CodeInitData): it is for the verifier whose token it is to hold against the hardware. A device's token as primary
// evidence is CodeKindNotPrimary.
//
// Bytes that no check touches: none of a token. In JSON around it, white space.
//
// # How a format binds the digest
//
// D is the digest over nonce and recipient key (attest.RuntimeData), TEXT its base64url without padding: 64 characters for SHA-384.
//
//	ear                        the submodule cpu0's annotated evidence: report_data is D in hex, alone or padded with zeros; or D is SHA-256, SHA-384 or
//	                           SHA-512 of the canonical JSON (RFC 8785) of runtime_data_claims. eat_nonce does not count: it is an
//	                           echo of a request, and no evidence covers it
//	google-confidential-space  eat_nonce is TEXT, or a list with TEXT in it. The launcher asks for the token from within the machine
//	azure-attestation          azurevm: x-ms-runtime.client-payload.nonce is base64 of TEXT, which a quote of the TPM covers. sevsnpvm, tdxvm: the report data is D padded with
//	                           zeros; or SHA-256 of the presented runtime_data, which is D, padded with zeros. sgx: x-ms-sgx-ehd is base64url of D. The
//	                           member nonce does not count: it is an echo
//	intel-trust-authority      attester_held_data is base64 of D, or the report data is D padded with zeros. verifier_nonce is that service's own and does not count
//	nvidia-ras                 eat_nonce, of the overall token and of each device's, is the first 32 bytes of D in lower-case hex, and the service says that
//	                           the device's report has it
//
// # What is claimed
//
// What the token states, under the names that all kinds use where it is the same thing: measurement, debug, migration_agent, vmpl, report_data, init_data, tcb_status.
// What a token does not state is absent, so that the baseline refuses it until a policy waives the rule. Debugging is never false of a machine whose memory
// is not encrypted. Details are below token; token.stated has whatever else the token says.
//
// tcb_status is the token's word in Intel's terms, and absent when the word is unknown. An EAR whose vector warns about the hardware is out-of-date at best. Confidential Space and Azure
// judge the TCB without saying: judged-elsewhere.
//
// # Key sets and their rotation
//
// A verifier has keys that are configured and never change, or roots, or a key set that is found as the endorsement jwks/NAME. A fetched set is current for
// Config.KeySetAge and counts for Config.KeySetGrace more; after that the claim collateral.current is false and the baseline refuses, however long the set is kept. A
// set without a time, a file, is as current as the operator keeps it. A token that names a key which is not there makes the verifier ask for
// the set to be fetched ([Refresher]): while that is under way the answer is *attest.Unavailable, and otherwise a refusal. So a key that the issuer took into use is known one
// fetch later, and strangers, who can name keys as they like, cannot make the broker fetch more often than the fetcher does for anyone.
//
// # Passports
//
// [Verifier.Passport] takes an EAR that another verifier issued without any nonce of this broker, if the operator said so for that verifier. It can be used any number of times until it
// expires, by whoever holds it; what is released is encrypted to the key of the workload in it. Its claim bound is false.
//
// # Cache
//
// The parsed key set by the digest of its bytes, one for each verifier; verified chains by the digest of their certificates as the token has them, up to 64, those
// used least recently dropped first. Dates are judged at every use.
//
// # What it does not do
//
// It does not check revocation of certificates in x5c, nor fetch anything. It does not verify the hardware's evidence again, although some tokens repeat parts of it. It does not
// remember tokens: the nonce makes one good once, but a passport is not.
package token
