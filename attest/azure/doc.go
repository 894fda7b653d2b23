// Package azure appraises Azure confidential VMs: the kinds az-snp-vtpm and az-tdx-vtpm. Their guests cannot ask the processor for a report.
// A paravisor by Microsoft (the HCL, now OpenHCL) runs between host and guest, at VMPL 0 or as the outer part of a trust domain,
// and gives the guest a virtual TPM. It asks the processor for a report about the TPM's attestation key (AK), and the guest asks the TPM for a
// quote. References are to the TCG TPM 2.0 Library and to the paravisor's published sources (openvmm, openhcl_attestation_protocol).
//
// # Evidence
//
// JSON as KBS clients send it, in three layouts. Layouts 1 and 2 have a version, lower-case hex and base64url, padded or not:
//
//	{"version":    1 or 2,
//	 "tpm_quote":  {"message":   "<hex TPMS_ATTEST>",
//	                "signature": "<hex RSA signature, 256 bytes, no TPM header>",
//	                "pcrs":      ["<hex>", … 24 values of 32 bytes, PCR 0 first]},
//	 "hcl_report": "<base64url, as it is in NV index 0x01400001>",
//	 "vcek":       "<base64url DER>"            az-snp-vtpm; may be absent
//	 "td_quote":   "<base64url TDX quote>"}     az-tdx-vtpm
//
// The project's own collector adds, in both, "ak_public" (base64url DER SubjectPublicKeyInfo of the key that quoted) and "event_log"
// (base64url TCG event log); each may be absent. Layout 0 has no version and arrays of numbers for bytes: {"quote":{message, signature, pcrs},
// "report", "vcek"}, the certificate in PEM, or {"tpm_quote":{…}, "hcl_report", "td_quote"}. A member that is there twice or that its layout does
// not have is refused, so that nothing is presented and not judged. [MaxEvidence] and the constants below it bound the sizes.
//
// # HCL report
//
// Little-endian, in bytes, with zeros after it up to the size of the NV index:
//
//	   0  32    "HCLA"; version, 1 or 2; size of all this; request type 2; status 0; 12 bytes of zeros
//	  32  1184  the hardware's report: SEV-SNP's of 1184, or a TD report of 1024 and zeros
//	1216  20    size of the rest of the report; version 1; report type, 2 SEV-SNP or 4 TDX; hash type 1, SHA-256; size of the variable data
//	1236  …     variable data: JSON with "keys" (JWKs, the AK is the one of kid HCLAkPub), "vm-configuration" and "user-data"
//
// # What is verified
//
// In this order, the cheap before the expensive:
//
//   - the form of everything that is presented (CodeMalformed, CodeTooLarge, CodeVersionUnsupported); 24 PCR values (CodePCRCount);
//   - the message is a TPMS_ATTEST with the magic that only a TPM writes, of type quote; its extraData is exactly the binding's digest
//     (CodeBinding);
//   - it has one selection (CodePCRSelection), of the SHA-256 bank (CodePCRBank), of PCRs 0 to 23. Where several selections put a PCR that
//     can be reset into the place of another, the code is CodePCRResettable. Its digest is over exactly the values presented (CodePCRDigest);
//   - an init-data digest has 32 bytes, which is what PCR 8 can be extended with (CodeInitData);
//   - each field of the HCL report is as above, the type is the kind's, and the report data of the hardware's report in it is the SHA-256 of
//     the variable data and zeros (CodeKeyNotReported);
//   - the variable data has exactly one AK (CodeKeyNotReported), RSA-2048 with the exponent 65537 (CodeAlgorithm), for signing alone
//     (CodeKeyAttributes). In layout 2, "user-data" is the quote's extraData and zeros up to 64 bytes (CodeBinding);
//   - ak_public, where it is presented, is that AK (CodeKeyNotReported), and the AK signed the quote (CodeSignature);
//   - the hardware's report is genuine, as [Config].Hardware judges it, and its report data is the SHA-256 of the variable data and zeros: SEV-SNP's
//     report from the HCL report, with the VCEK's certificate presented, or where none was, with what that verifier has; or the TD quote.
//     A report about anything else is CodeKeyNotReported; the other codes are that verifier's. Where it cannot tell it is *attest.Unavailable;
//   - SEV-SNP's report was asked for at VMPL 0 (CodeKeyNotReported). A guest at a lower level that could ask for one about a key of
//     its own would be its own TPM;
//   - the event log, where there is one, replays to the quoted values (CodeEventLog).
//
// # What an attacker in the guest can try
//
// Someone with all rights in the guest after it booted can use the AK, extend every PCR, and reset PCRs 16 and 23, but cannot set another back. The
// AK is a restricted key of the paravisor's TPM, which signs no TPMS_ATTEST that it did not make itself. So the attacker can quote what is
// there, in any selection: of fewer PCRs, of another bank into which the firmware measured less, or of PCR 16 between 10 and 12, filled
// with what PCR 11 should be. A TPM really makes that quote (see the tests). One selection of all PCRs of one bank is what is left.
// Old quotes have old nonces, and quotes of another machine another AK, whose HCL report would say what that machine is.
//
// # What is not verified but claimed
//
// Claims of the hardware are those of its verifier, under the same names: measurement, debug, migration_agent, vmpl, tcb_status,
// hardware_root, collateral, snp, tdx, intel. They are about the paravisor; measurement is the paravisor's, not the guest's.
//
// Which paravisor it is, is not verified, and everything else hangs on it. Whoever has a machine of AMD's or Intel's can write variable
// data with a key that is in no TPM, have the processor report its digest, and then "quote" any PCRs. So a policy must name the paravisor
// before it asks for PCRs: by snp.id_key_digest, which only an image signed with that key gets from the firmware, or by measurement.
// See docs/evidence/azure.md.
//
// report_data is the quote's extraData. tpm.* comes from the quote, boot.* from the event log and azure.* from the variable data. Whoever
// runs the host writes the guest's disks, so the log is judged as that of a guest ([eventlog.BootGuest]): what only GRUB's labels say is in
// boot.loader_says, and proves nothing.
// init_data is there only when PCR 8 is SHA-256(0^32 ‖ digest) of the document presented; one that is not in PCR 8 makes init_data_bound
// false, and the policy baseline refuses it. What the host set at launch is azure.host_data.
//
// # Bytes that no check touches
//
// The version in the header of the HCL report, 1 or 2, says nothing that is used. Of a TD report all but the report data is passed over: only
// the machine itself could verify it, and the TD quote says the same with a signature. White space in JSON is no part of it, nor is padding of base64.
//
// # What it does not do
//
// It does not read the AK's certificate by Microsoft (NV index 0x01c101d0): the AK is the paravisor's word, and so is that it is restricted.
// It does not read HCL reports whose data has version 2 or later, which requests to hosts have. No PCR value is appraised: policies do that.
// In layouts 0 and 1 the hardware's report may be as old as the boot of the machine; only the quote is fresh. azure.user_data_bound tells.
package azure
