// Package dcap appraises the quotes of Intel's Data Center Attestation Primitives, those of SGX enclaves and of TDX trust domains.
// Packages sgx and tdx turn what it finds into claims of their kind.
//
// # Quotes
//
// [ParseQuote] reads (all numbers little-endian, sizes in bytes):
//
//	header           48   version 2, attestation key type 2, TEE type 4, 4 not looked at, vendor 16, user data 20
//	[body type, size 6]   version 5 only: 1 enclave (384), 2 TDX 1.0 (584), 3 TDX 1.5 (648)
//	body                  the report of the enclave or TD
//	size             4    of the signature data, which follows
//	signature        64   ECDSA on P-256 over header and body, by the attestation key
//	attestation key  64
//	[type, size      6]   version 4 and 5 only: 6, the rest
//	QE report        384  of the quoting enclave, whose report data is SHA-256(attestation key, authentication data)
//	QE signature     64   by the platform's PCK over the QE report
//	authentication   2+n
//	type, size       6    5, a chain in PEM: PCK, the authority that issued it, and at most two more
//
// Version 3 is of enclaves, 4 and 5 of both. A quote has at most [MaxQuote] bytes; zeros may follow, nothing else. Certification data
// that names the platform instead of bringing its certificates (types 1 to 4) is refused: finding the certificate is the collateral
// service's business in the guest's host. (Intel SGX ECDSA QuoteLibReference DCAP API and Intel TDX DCAP Quoting Library API, appendix
// "Quote Format"; body type 4, which Intel's library reads too, is not verified here.)
//
// # What is verified
//
// In this order, the cheap before the expensive, and the evidence before anything is looked up for it:
//
//   - the form, versions, the vendor, and the reserved bytes of enclaves' reports (CodeTooLarge, CodeMalformed, CodeVersionUnsupported,
//     CodeAlgorithm, CodeCertMissing);
//   - the report data is the expected digest, padded with zeros (CodeBinding);
//   - the chain: the pinned Intel SGX Root CA signed the Processor or Platform CA's certificate, and that signed the PCK's, all with
//     ECDSA on P-256 and SHA-256; names, key usages and the SGX extension are what they must be (CodeCertMissing, CodeCertMalformed,
//     CodeCertUntrusted); dates (CodeCertExpired). A root that was presented is not looked into;
//   - the PCK signed the QE's report (CodeSignature), that covers the attestation key (CodeKeyNotReported), and that signed the quote
//     (CodeSignature);
//   - the collateral: see below. What is missing or wrong with it is *attest.Unavailable, never a refusal;
//   - the PCK and its authority are on no revocation list (CodeCertRevoked);
//   - the QE is the one that Intel's identity describes: MRSIGNER, ISVPRODID, and MISCSELECT and ATTRIBUTES under their masks, so that no
//     debug enclave is one. So is the TDX module: MRSIGNERSEAM, and SEAMATTRIBUTES, which are zero (CodeIdentity);
//   - the state of the trusted computing base, which is a claim and no refusal.
//
// The bytes that no check touches: in the header the four after the TEE type, and the user data, which the signature covers but nothing
// reads; in the chain what follows the second certificate, of which only the form is checked, and white space and unused bits of base64
// of the two.
//
// # Collateral
//
// Four items, asked for by these names, all of them before any is found missing:
//
//	intel/tcb/{sgx|tdx}/{fmspc}       {"tcbInfo":{…},"signature":"hex"}, version 3, with the signer's chain
//	intel/identity/{qe|tdqe}          {"enclaveIdentity":{…},"signature":"hex"}, version 2, with the signer's chain
//	intel/crl/{processor|platform}    DER list by the PCK's authority
//	intel/crl/root                    DER list by the root
//
// They are what Intel's PCS, API version 4, sends. The signature of the first two is over the bytes of the member as they stand in the
// answer; the signer is "Intel SGX TCB Signing", whose certificate the pinned root signed, valid at the time and not on the root's list.
// TCB info must be for the same TEE, FMSPC and PCE, and a status that is not known makes all of it unusable. Lists are complete ones.
// That a list is late is a claim, and so is the edition of Intel's assessments (tcbEvaluationDataNumber), by which a policy can ask for
// no older one. A list that is late still revokes; an item issued after the time of appraisal counts.
//
// # The state of the trusted computing base
//
// The algorithm is that of Intel's Quote Verification Library (github.com/intel/confidential-computing.tee.dcap.qvl, EvaluateTcb.cpp,
// which implements sections 4.1.2.5.1 and 4.1.2.5.2 of its specification, and TDRelaunchCheck.cpp), and of the PCS documentation under
// "Get TCB Info":
//
//   - The platform has the status of the first level, from the highest, of which it reaches all sixteen SGX components and the PCESVN of
//     its certificate, and for TDX all sixteen numbers of the report's TEE_TCB_SVN.
//   - Where the second of these, the TDX module's version, is not 0, the first two numbers are left out of that, and the module has a
//     status of its own: that of the highest level, in the identity TDX_{version}, that its first number reaches. A version that the TCB
//     info does not have is *attest.Unavailable.
//   - The QE has the status of the highest level of its identity that its ISVSVN reaches.
//   - What reaches no level at all is revoked, and the claim listed is false. Intel's library stops there with TCB_NOT_SUPPORTED and has
//     no verdict; the worst one is what no policy takes by accident.
//   - Together: revoked if any part is; out of date if any part is, with configuration needed where the platform needs it; else what the
//     platform is. QE and module have no other states in what Intel publishes. Should they, the whole needs what they need: Intel's
//     library passes over some of those and stops at others.
//   - TDX 1.5 tells the numbers at launch (TEE_TCB_SVN) and now (TEE_TCB_SVN_2), since the module can be updated under a TD. Both are
//     judged. Out of date at launch and not now is a relaunch that is advised, with configuration needed where either needs it. Otherwise
//     the state is that of both together. Intel's library takes that at launch alone, and with it a module that is out of date or revoked
//     now.
//
// # Cache
//
// What vouches for an attestation key is held under that key, with the certificates and signatures it was verified from, and a quote
// that has the very same costs one signature. There is one place for each key, so that bytes which do not matter make none. Collateral is
// held under the digest of its bytes. Dates, revocation, identities and the trusted computing base are judged at every use.
package dcap
