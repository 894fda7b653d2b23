// Package sgx appraises the quotes of Intel SGX enclaves: the kind sgx.
//
// # Evidence
//
// A quote of version 3, as Intel's quoting enclave for ECDSA makes it, or one of version 4 or 5 with an enclave's body: its bytes, or the
// JSON of KBS clients,
//
//	{"quote":"<base64>"}
//
// Members that are not known are passed over; one that is there twice is refused, as is an event log, since an enclave has no registers.
// Evidence has at most [MaxEvidence] bytes. Package dcap documents the layout of quotes, what is verified in which order, the collateral
// that is needed (attest.Endorsements with the names intel/tcb/sgx/{fmspc}, intel/identity/qe, intel/crl/{processor|platform},
// intel/crl/root), how the trusted computing base is judged, and what is held in caches. Short: everything from the pinned Intel SGX Root
// CA to the enclave's report, revocation with it, and bad collateral is *attest.Unavailable. Quotes by EPID are not verified: Intel ended
// that service.
//
// # What is claimed
//
// All fields of the report, and what they mean:
//
//   - measurement is MRENCLAVE; sgx.mr_signer with sgx.isv_prod_id and a least sgx.isv_svn are the other way to name an enclave.
//   - debug is the attribute DEBUG: the host can read the enclave's memory.
//   - init_data is CONFIGID. init_data_bound says whether it is the digest of the init-data that was presented, filled with zeros to 64
//     bytes. It is zero unless the enclave uses key separation (sgx.kss).
//   - tcb_status is the state of platform and quoting enclave together; intel.platform and intel.qe say which is why. Enclaves do not
//     migrate, so there is no claim migration_agent.
//
// # Codes
//
// CodeTooLarge, CodeMalformed, CodeVersionUnsupported, CodeAlgorithm, CodeBinding, CodeCertMissing, CodeCertMalformed, CodeCertUntrusted,
// CodeCertExpired, CodeCertRevoked, CodeSignature, CodeKeyNotReported, CodeIdentity, CodeEventLog.
package sgx
