// Package snp appraises AMD SEV-SNP attestation reports (AMD publication 56860, "SEV Secure Nested Paging Firmware ABI
// Specification"): the kind snp.
//
// # Evidence
//
// [Parse] takes three forms: the raw report of 1184 bytes; the extended report, which is the same with the host's
// certificate table after it; and the JSON of KBS clients, from whose fields the report's bytes are put together again. Reports of
// version 2 to 5 are read, by Milan, Genoa (with Bergamo and Siena) and Turin processors. Evidence has at most
// [MaxEvidence] bytes, 16 certificates of at most 4 KiB, and of those the VCEK or VLEK and one intermediate are used.
//
// # What is verified
//
// In this order, the cheap before the expensive:
//
//   - the form, every reserved field and bit, the version (CodeMalformed, CodeTooLarge, CodeVersionUnsupported);
//   - REPORT_DATA is the expected digest, padded with zeros (CodeBinding);
//   - the report says which key signed it: the VCEK or the VLEK; a report that nothing signed is refused (CodeSignature);
//   - the certificate of that key chains to the pinned root of its product, by an intermediate that signs that kind of
//     key and no other, with RSA-PSS and SHA-384 throughout (CodeCertMalformed, CodeCertUntrusted). Intermediates are built in;
//     one that was presented is used where the built-in one did not sign. A root that was presented is not looked at;
//   - all three certificates are valid at the time of appraisal, and none is on a revocation list of that root
//     (CodeCertExpired, CodeCertRevoked);
//   - the certificate is the report's: key, product, TCB, chip, and from version 3 the processor's family and model
//     (CodeCertMismatch);
//   - the signature, ECDSA on P-384 with SHA-384 over the first 672 bytes (CodeAlgorithm, CodeSignature).
//
// Bytes that no check touches: in an extended report, those of the certificate table that belong to certificates not used
// and to nothing; in JSON, white space and members of the outer objects that are not known. Nothing is claimed from them.
//
// # What is not verified but claimed
//
// Debugging, migration agents, VMPL, how old the TCB is, whether revocation could be checked with a list that is current, and whether
// the init-data document that was presented is the one in HOST_DATA: claims, which the policy baseline judges. A claim
// init_data_bound of false is a document that somebody swapped.
//
// # Hidden chips
//
// A host may hide its CHIP_ID (MASK_CHIP_ID); it is then all zeros. That weakens nothing: a VCEK belongs to one chip and its signature is
// what proves it. But there is no claim chip_id then, so a policy that asks for a chip refuses, and no local certificate can be found.
// A VLEK certificate names a cloud instead of a chip; a CHIP_ID beside it is the firmware's word.
//
// # Local certificates
//
// Evidence without its certificate is judged by one from [Config].Certificates, DER in a file named by [CertificateNames]:
// Product/CHIPID-TCB.der for a VCEK, Product/vlek-TCB.der for a VLEK, such as Genoa/371c…e8-0a00000000001719.der. Product is Milan, Genoa or
// Turin; CHIPID is lower-case hex, 64 bytes, 8 on Turin; TCB the eight bytes of REPORTED_TCB in hex. Files may be added
// while a broker runs. Where there is none the answer is *attest.Unavailable, not a refusal: the evidence may be good, and the
// certificate may arrive.
//
// # Endorsements
//
// What neither the evidence nor that folder has is looked up among [Config].Endorsements, by [EndorsementNames], and the revocation list of the
// product's root by [CRLName] at every appraisal: a list that has arrived since the last counts without a restart. Lists are parsed once
// per digest. An item that does not verify, has expired or is not what its name says is *attest.Unavailable: that is not the evidence's fault.
//
// A list past its next update still revokes what it names. Whether it still shows that something is not revoked is the claim
// collateral.current, which allows [Config].Grace. A product without any list is a claim too, revocation_checked false, or, with
// [Config].RequireLists, *attest.Unavailable. Lists of the configuration count beside those of the endorsements.
//
// # Cache
//
// Verified chains are cached by a digest of the certificates they were verified from, so that evidence from a known chip costs one
// signature. Only what cannot change is cached: dates and revocation are judged at every use, by the time of that appraisal.
package snp
