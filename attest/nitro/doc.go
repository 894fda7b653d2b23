// Package nitro appraises AWS Nitro Enclaves attestation documents ("Nitro Enclaves Attestation Process" of
// aws-nitro-enclaves-nsm-api): the kind nitro.
//
// # Evidence
//
// [Parse] takes the document as the Nitro Secure Module gives it, a COSE_Sign1 message with the CBOR tag 18 or without;
// and, where a protocol wants JSON, {"document":"<base64 of it>"}. Evidence has at most [MaxEvidence] bytes. The
// message's payload is a map:
//
//	module_id    text, 1 to 256 bytes
//	timestamp    number of milliseconds since 1970, over 0
//	digest       text, "SHA384"
//	pcrs         map of 1 to 32 registers, index 0 to 31 to 48 bytes
//	certificate  DER, 1 to 1024 bytes
//	cabundle     array of 1 to 8 certificates, DER, 1 to 1024 bytes each, the root first
//	public_key, user_data, nonce   at most 1024 bytes each; may be missing or null
//
// AWS's text says 512 bytes for user data and nonce in one place and 1024 in another; documents with 1024 exist.
// Nothing else may be in the map, and nothing twice. Lengths are definite, and the message around the payload has one
// encoding only.
//
// # Binding
//
// user_data is exactly the broker's digest, without padding. The digest covers the broker's nonce and the recipient's
// key, so the document's own nonce and public_key say nothing more: they are claims. They are not where the digest
// goes, because enclaves that talk to AWS KMS need public_key for a key of their own, and may need nonce, in the same
// document.
//
// # What is verified
//
// In this order, the cheap before the expensive:
//
//   - the form and every size above (CodeTooLarge, CodeMalformed);
//   - the algorithm is ES384 (CodeAlgorithm); a register of another hash than SHA-384 is malformed;
//   - user_data is the expected digest (CodeBinding);
//   - no init-data was presented, since nothing carries its digest (CodeInitData);
//   - the bundle begins with the pinned root, AWS Nitro Enclaves Root G1, and each certificate was signed by the one
//     before it, with ECDSA and SHA-384 on P-384 throughout: authorities that may sign certificates, whose path length
//     allows for those after them, and a last one that may sign data and is no authority; no critical extension but
//     basic constraints and key usage (CodeCertMalformed, CodeCertUntrusted);
//   - all of them are valid at the time of appraisal, and the last one, which lives for three hours, was at the
//     document's timestamp (CodeCertExpired);
//   - the signature over the payload (CodeSignature).
//
// No bytes of a document are outside of these checks: the payload is signed, and around it nothing can be changed. In
// the JSON form it is white space that may be.
//
// # What is not verified but claimed
//
// Debug mode: an enclave that was started in it has registers 0, 1 and 2 of zeros, and debug is true if any of these is
// zero or missing. Which image, role, instance and signer the registers stand for, for the policy to ask. The
// timestamp, which the hypervisor's clock gave: that the document is fresh is proved by the digest alone.
//
// # What it does not do
//
// It checks no revocation list: AWS's text says that none is to be used, and revocation_checked is false. AWS publishes
// no versions of the Nitro system either, so tcb_status is not-published. The root is that of AWS's commercial regions;
// documents of GovCloud and China, which have their own, are refused with CodeCertUntrusted.
//
// # Cache
//
// Verified certificates are cached in two places: by bundle, which all enclaves of an instance share for a day, and by
// bundle and certificate, which one enclave presents again. Dates are judged at every use.
package nitro
