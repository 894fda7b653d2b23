// Package tpm verifies quotes of TPM 2.0 devices and enrols the keys that make them. A quote says which values the platform
// configuration registers (PCRs) hold, signed by an attestation key (AK) that signs nothing a TPM did not make. References are
// to the TCG TPM 2.0 Library, parts 1 and 2.
//
// # Evidence
//
// JSON, as KBS clients of kind "tpm" send it, base64 standard with padding:
//
//	{"ak_public": "<base64 DER SubjectPublicKeyInfo>",
//	 "tpm_quote": {"signature": "<base64 TPMT_SIGNATURE>",
//	               "message":   "<base64 TPMS_ATTEST>",
//	               "pcrs":      ["<hex>", … 24 values, PCR 0 first]}}
//
// The project's own collector adds members, each of which may be absent:
//
//	"ak_tpm_public":   "<base64 TPMT_PUBLIC>"       the key as its TPM describes it: attributes and name
//	"ak_certificates": ["<base64 DER>", …]          leaf first; a root is never taken from here
//	"bank":            "sha256" or "sha384"         of the values in pcrs; sha256 when absent
//	"event_log":       "<base64 TCG event log>"     crypto-agile format, see package eventlog
//
// Unknown members are ignored; a member that is there twice is refused. Sizes are bounded by [MaxEvidence].
//
// # What is checked
//
//   - The message is a TPMS_ATTEST with the magic that only a TPM writes, of type quote, and nothing follows it.
//   - Its extraData is exactly the first 32 bytes of the binding's digest. (An older KBS client put 64 bytes there: its
//     evidence parses, but does not match a binding.)
//   - It selects all of PCRs 0 to 23 of one bank, the bank presented, and its digest is over exactly the values presented.
//     Every quote covers all PCRs, so that none can be left out of a policy's sight.
//   - The signature is RSASSA, RSAPSS or ECDSA with SHA-256 or better, by ak_public.
//   - ak_public is known, in one of two ways. Either it was enrolled in the namespace ([Enroller]): then its attributes were
//     checked and recorded, and are checked again in the record. Or its certificate, issued to a signing key of a named cloud
//     instance, chains to a configured root ([Config].AKRoots). Where ak_tpm_public is presented its attributes are checked, it
//     must be the same key, and for an enrolled key it must be what was enrolled, byte for byte. Which instance or host it is, is the claim tpm.host: a certificate of a cloud says only that the key
//     belongs to one of the cloud's customers, so a policy must look at it.
//   - The event log, where there is one, replays to the quoted values.
//
// # Codes
//
// Evidence is refused with CodeTooLarge, CodeMalformed, CodeAlgorithm, CodeBinding, CodePCRSelection, CodePCRDigest,
// CodeKeyNotEnrolled, CodeKeyAttributes, CodeCertMalformed, CodeCertUntrusted, CodeCertExpired, CodeCertRevoked,
// CodeCertMismatch, CodeSignature, CodeEventLog, CodeVersionUnsupported (an event log of TPM 1.2) or CodeInitData. When enrolments cannot be
// looked up the answer is *attest.Unavailable.
//
// # Init-data
//
// A guest with a virtual TPM extends PCR 8, from zero, with the digest of its init-data, so that PCR8 = SHA-256(0^32 ‖ digest).
// Init-data whose digest is not 32 bytes, or a quote of another bank, cannot be bound so: CodeInitData. Where PCR 8 holds another value
// the claim init_data_bound is false, and the policy baseline refuses it. A boot chain that measures into PCR 8 itself, as GRUB does, leaves
// no room for init-data.
//
// # Claims
//
// tpm.* comes from the quote and the enrolment, boot.* from the event log and is absent without one, or for what the log
// does not say. There is no measurement and no debug: a TPM attests a boot chain, not the isolation of a guest's memory from
// its host, which is why a policy must name what it wants of the PCRs or of boot.
//
// # What it does not do
//
// It fetches nothing. It does not judge an enrolled key's endorsement certificate again but for its expiry: to revoke a key, its enrolment is
// removed. It does not tie the quote's qualified signer name to an AK's parents: fixedTPM and fixedParent say as
// much. It does not appraise PCR values: policies do. A physical TPM on a bus can be interposed on between TPM and CPU, and
// reset by who holds the machine; a virtual one is as good as its host. See docs/threat-model.md.
package tpm
