// Package tdx appraises the quotes of Intel TDX trust domains: the kind tdx.
//
// # Evidence
//
// A quote of version 4, or of version 5 with the body of TDX 1.0 or 1.5: its bytes, or the JSON of KBS clients,
//
//	{"quote":"<base64>","cc_eventlog":"<base64>"|null}
//
// in which cc_eventlog is the firmware's confidential-computing event log. Members that are not known are passed over; one that is there
// twice is refused. Evidence has at most [MaxEvidence] bytes. Package dcap documents the layout of quotes, what is verified in which
// order, the collateral that is needed (attest.Endorsements with the names intel/tcb/tdx/{fmspc}, intel/identity/tdqe,
// intel/crl/{processor|platform}, intel/crl/root), how the trusted computing base is judged, and what is held in caches. Short:
// everything from the pinned Intel SGX Root CA to the TD's report, revocation with it, and bad collateral is *attest.Unavailable.
//
// # The event log
//
// A log that was presented is replayed to RTMR0 to RTMR3 of the verified report, and what it proves is in claims.boot. One that does not
// replay, or is not read at all, is a refusal with CodeEventLog: it is never passed over.
//
// # What is claimed
//
// All fields of the report, and what they mean:
//
//   - measurement is MRTD, the TD's initial contents. What was booted after them is in the RTMRs.
//   - debug is true when any attribute of the group "TD under debug" is set, of which DEBUG is one: the host can look into the TD, or has
//     looked.
//   - migration_agent is true when the TD can be migrated (the attribute MIGRATABLE), or when service TDs are bound to it (MRSERVICETD is
//     not zero).
//   - init_data is MRCONFIGID. init_data_bound says whether it is the digest of the init-data that was presented, cut off or filled with
//     zeros to 48 bytes.
//   - tcb_status is the state of platform, TDX module and quoting enclave together, at launch and now; intel.platform, intel.module and
//     intel.qe say which part is why.
//
// MRTD, MRCONFIGID, MROWNER and MROWNERCONFIG are chosen by who starts the TD; that they are the expected ones is for policies to ask, as
// are attributes other than debugging and migration. SEPT_VE_DISABLE is set by kernels that need it and a claim.
//
// # Codes
//
// CodeTooLarge, CodeMalformed, CodeVersionUnsupported, CodeAlgorithm, CodeBinding, CodeCertMissing, CodeCertMalformed, CodeCertUntrusted,
// CodeCertExpired, CodeCertRevoked, CodeSignature, CodeKeyNotReported, CodeIdentity, CodeEventLog.
//
// # What it does not do
//
// Migration TDs' policies and the extended report of body type 4 are not read. Who may be the platform's owner is a claim (intel.ppid,
// intel.platform_instance_id), as for every kind.
package tdx
