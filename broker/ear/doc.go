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
//	submods         "cpu0" for the primary evidence, whatever its kind, and "<class><n>" for each device: gpu0 and switch0 for each of NVIDIA's,
//	                tpm0 for a TPM beside a processor, and otherwise the kind
//	vouchsafe       what this broker needs to take the token back as proof: namespace, nonce, evidence digest, decision, time, claims
//
// and in each of submods ear.status, ear.trustworthiness-vector, ear.appraisal-policy-id and
// ear.veraison.annotated-evidence, which holds <kind>: the kind's claims, report_data, init_data, init_data_claims, and
// runtime_data_claims {nonce, tee-pubkey}.
//
// # Annotated evidence
//
// The members below <kind> have the names, types and encodings that resource policies in the field expect: those which the Attestation Service of
// Confidential Containers gives the same evidence.
//
//	snp, virtual   measurement, policy_*, platform_*, reported_tcb_*, chip_id, vmpl
//	az-snp-vtpm    the same, of the paravisor, and tpm {pcr00 … pcr23}
//	tdx            quote {header, body}, td_attributes, tcb_status in Intel's words, collateral_expiration_status ("0" while nothing is past
//	               its date, without the grace that a broker may give), tcb_date, tcb_eval_num, advisory_ids, sgx_type, is_*
//	az-tdx-vtpm    the same, of the paravisor, without quote.body.report_data, and tpm {pcr00 … pcr23}
//	sgx            header, body, and what tdx has of Intel's collateral
//	cca            realm, platform; bytes in base64
//	csv            version, policy (bits are numbers), measure, vm_id, vm_version, mnonce, rtmr0 … rtmr4
//	tpm            pcr00 … pcr23, and the rest of the quote under the names of [attest.TPMClaims]
//	nvidia         of one device: the claims of NVIDIA's service that policies read (hwmodel, ueid, secboot, dbgstat, measres, x-nvidia-gpu-* or
//	               x-nvidia-switch-*), and arch, mode, identity, firmware_id
//	nitro, token   the Attestation Service has no such kinds: measurement, and [attest.NitroClaims] or [attest.TokenClaims] as they are
//
// and boot, [attest.BootClaims], wherever an event log was replayed. A member that theirs has and no claim of ours is left out: fields that are
// reserved or not verified, uefi_event_logs and ccel, and the schema validation of NVIDIA's manifests.
//
// # The trustworthiness vector
//
// It says what can be known without reference values, for at attestation no policy is applied: each secret has its own, later. So
// executables are "not recognised" (33), but for devices whose maker signs what they should measure, and no token's status is better than a warning.
// Whoever relies on a token alone must judge its claims. By AR4SI (draft-ietf-rats-ar4si), section 2.3:
//
//	hardware           2 genuine; 32 a TCB in any other state than up to date, or of unknown state, or certificates or lists past their date, or a
//	                   TPM, whose maker vouches for the TPM and not for the machine; 96 TCB revoked; 97 development evidence. Of a token:
//	                   what its verifier says, where that is worse, and where that verifier judged the TCB and does not say its state
//	configuration      36 unknown to the verifier (the best there is); 32 VMPL above 0, a migration agent, Secure Boot off, a TCB that Intel says
//	                   must be configured, init-data that is not the one bound, a CSV guest that shares its key, has its registers in the
//	                   clear or presents a report of version 1, whose bits are not protected; 96 debugging allowed
//	executables        33; 3 a device all of whose measurements are those that NVIDIA signed; 96 one that has others
//	instance-identity  2 an enrolled TPM; 0 otherwise
//	runtime-opaque     2 memory encrypted by genuine hardware; 32 memory that is set apart and not known to be encrypted, of Nitro; 96 debugging
//	                   allowed; 0 otherwise
//	others             0, no claim
//
// Where there is an attestation policy for the class of a part ([Appraiser]), the vector is what it claims, and ear.appraisal-policy-id names it. What it does not claim is 0. It may
// know more than this package, and be better; but where the value above is contraindicated (96 and more) the claim is no better than that. A policy that
// gives no vector makes no token.
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
// A token travels in a header, and proxies allow 8 KiB or so for one, of which base64 takes a quarter: servers in front of a broker must allow more.
// A payload without init-data has 2 KiB for a TPM, 5 for SEV-SNP, SGX and CSV, 6 for CCA, 9 for TDX, 9 or 13 for Azure, up to 10 for Nitro, and for each GPU
// beside it 10 more, most of which are its measurements in "vouchsafe". What would be larger is left out, always by these rules:
//
//   - the measurements, fields and manifests of NVIDIA's devices are in no annotated evidence;
//   - bodies of init-data that together are over [MaxInitData] are left out of the annotated evidence: init_data_claims is null;
//   - any other member below <kind> that is over [MaxMember] is left out of it;
//   - claims with which the payload would be over [MaxClaims], such as those of eight GPUs, are left out of "vouchsafe": such a token is good for everyone
//     but this broker, to which the workload must come with its session instead ([ErrNoClaims]).
package ear
