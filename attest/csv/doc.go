// Package csv appraises attestation reports of Hygon's China Secure Virtualization: the kind csv.
//
// # Evidence
//
// [Parse] takes the JSON of KBS clients, which is that of Hygon's library csv-rs with all bytes as arrays of numbers:
//
//	{"attestation_report":{"magic":[16],"flags":0,"data":[4096]},
//	 "cert_chain":{"hsk_cek":{"hsk":{…},"cek":{…}},"pek":{…}},
//	 "serial_number":[64],"cc_eventlog":"…"}
//
// hsk_cek and cc_eventlog may be missing or null, and members that are not known are passed over. Certificates are
// there in fields and are put together again, since their signatures cover bytes. Evidence has at most [MaxEvidence]
// bytes. Numbers are little-endian, and so are coordinates and parts of signatures, in fields of 72 bytes of which SM2
// fills 32.
//
// The page data begins with a report of one of two versions. Offsets of both: key digest of the owner's session 0,
// identifier 32, version 48, report data 64, nonce 128, measure 144, policy 176, usage 180 and algorithm 184 of the
// signing key. Version 1 (no magic, or the magic "ATTESTATION_EXT" with flags 0): a number called anonce 188, signature
// 192; the signature covers bytes 0 to 179. Version 2 (the magic with flags 1): build 188, version of the registers
// 192, five registers of 32 bytes 208, signature 1024; the signature covers all before it.
//
// Certificates: Hygon's signing key (HSK) in 832 bytes, of which 576 are signed: usage 36, key 64, signature 576. The
// chip's key (CEK) and the platform's (PEK) in 2084 bytes, of which 1044 are signed: firmware 4, usage 8, algorithm 12,
// key 16, two signatures with usage and algorithm 1044 and 1564. A key is a curve number, x, y, and an identifier that
// SM2 hashes with what it signs.
//
// # What is verified
//
// In this order, the cheap before the expensive:
//
//   - the form (CodeTooLarge, CodeMalformed, CodeVersionUnsupported);
//   - the report data is the expected digest, padded with zeros to 64 bytes (CodeBinding);
//   - no init-data was presented, since nothing carries its digest (CodeInitData);
//   - the report says that a PEK signed it, with SM2 and SM3, and the PEK did (CodeAlgorithm, CodeSignature);
//   - the CEK signed the PEK, the HSK the CEK, and the pinned Hygon root key (HRK) the HSK, each key of the usage it is
//     to have (CodeCertMalformed, CodeCertUntrusted).
//
// HSK and CEK come from the evidence, or as the endorsement hygon/hsk_cek/{serial}, HSK and CEK one after the other as
// Hygon publishes them. Where they are in neither the answer is *attest.Unavailable: without the chain nothing is
// accepted. So it is when an endorsement does not verify.
//
// # What a report of version 1 does not prove by itself
//
// Its fields are masked: each is XORed with anonce, which the signature does not cover. Whoever holds a report can
// write another anonce into it, and turn the same 32 bits of every four bytes of every field: the guest can choose
// report data that become the expected digest so, and bits of the policy, with debugging among them, follow. But the
// measurement follows too, and to a given one only if a guest can be found whose measure differs from it by one number
// repeated, which SM3 prevents. So the policy bits of a version 1 report count exactly where the policy names the
// measurement, as every policy must anyway. The documentation of the kind says so to authors, and csv.report_version is
// a claim. Reports of version 2 are not masked.
//
// # What is not verified but claimed
//
// Debugging (NODBG) and whether the guest may be sent to another platform (NOSEND, which is the claim migration_agent),
// and everything else in the policy. The serial number says only where to look for certificates: no signature covers
// it, so that there is no claim of it. csv.chip_key is what a policy that wants certain chips names.
//
// # What it does not do
//
// Hygon's certificates have no dates, Hygon publishes no revocation list and no TCB: collateral.revocation_checked is
// false, tcb_status not-published. The event log is not read, and nothing is claimed from it. Bytes that no check
// touches: of the page, usage, algorithm and what follows the report's signature (copies of the PEK and the serial
// number with a MAC under a key that the guest chose); of certificates, what follows their signatures, and those of
// other owners; in JSON, white space and other members.
package csv
