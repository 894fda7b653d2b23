package ear

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// snpClaims are the fields of an SEV-SNP report, and the PCRs of the paravisor's TPM where there is one.
func snpClaims(c *attest.Claims) members {
	s := c.SNP
	m := members{
		"measurement":             c.Measurement,
		"policy_abi_major":        s.PolicyABIMajor,
		"policy_abi_minor":        s.PolicyABIMinor,
		"policy_smt_allowed":      s.SMTAllowed,
		"policy_single_socket":    s.SingleSocket,
		"platform_smt_enabled":    s.PlatformSMT,
		"platform_tsme_enabled":   s.PlatformTSME,
		"reported_tcb_bootloader": s.ReportedTCB.Bootloader,
		"reported_tcb_tee":        s.ReportedTCB.TEE,
		"reported_tcb_snp":        s.ReportedTCB.SNP,
		"reported_tcb_microcode":  s.ReportedTCB.Microcode,
	}
	add(m, "reported_tcb_fmc", s.ReportedTCB.FMC)
	m.set("chip_id", s.ChipID)
	add(m, "policy_debug_allowed", c.Debug)
	add(m, "policy_migrate_ma", c.MigrationAgent)
	add(m, "vmpl", c.VMPL)
	paravisorTPM(m, c)
	return m
}

// paravisorTPM adds the PCRs that an Azure guest's TPM quoted.
func paravisorTPM(m members, c *attest.Claims) {
	if c.TPM != nil {
		m["tpm"] = pcrs(c.TPM)
	}
}

// What the header of every quote says that is verified (Intel SGX and TDX DCAP Quoting Library API, "Quote Header"): a key of ECDSA over P-256, and
// Intel's quoting enclave.
const (
	attestationKeyECDSA = 2
	vendorIntel         = "939a7233f79c4ca9940a0db3957f0607"
	typeTDX             = "81000000"
	typeSGX             = "00000000"
)

// tdxClaims are the fields of a TDX quote and what Intel's collateral says of the platform, and the PCRs of the paravisor's TPM where there
// is one.
func tdxClaims(c *attest.Claims) members {
	t := c.TDX
	body := members{
		"tcb_svn": t.TEETCBSVN, "mr_seam": t.MRSEAM, "mrsigner_seam": t.MRSignerSEAM, "seam_attributes": t.SEAMAttributes,
		"td_attributes": t.TDAttributes, "xfam": t.XFAM, "mr_td": t.MRTD,
		"mr_config_id": t.MRConfigID, "mr_owner": t.MROwner, "mr_owner_config": t.MROwnerConfig,
		"rtmr_0": t.RTMR0, "rtmr_1": t.RTMR1, "rtmr_2": t.RTMR2, "rtmr_3": t.RTMR3,
	}
	if c.Azure == nil { // report_data of an Azure guest is that of its TPM's quote
		body.set("report_data", c.ReportData)
	}
	body.set("tee_tcb_svn2", t.TEETCBSVN2)
	body.set("mr_servicetd", t.MRServiceTD)
	attributes := members{
		"septve_disable": t.SEPTVEDisable, "protection_keys": t.ProtectionKeys, "key_locker": t.KeyLocker, "perfmon": t.PerfMon,
	}
	add(attributes, "debug", c.Debug)
	m := members{
		"quote": members{
			"header": members{
				"version": number(t.QuoteVersion), "att_key_type": number(attestationKeyECDSA), "tee_type": typeTDX, "vendor_id": vendorIntel,
			},
			"body": body,
		},
		"td_attributes": attributes,
	}
	intelClaims(m, c)
	paravisorTPM(m, c)
	return m
}

// sgxClaims are the fields of an SGX quote and what Intel's collateral says of the platform.
func sgxClaims(c *attest.Claims) members {
	s := c.SGX
	body := members{
		"cpu_svn": s.CPUSVN, "misc_select": s.MiscSelect, "isv_ext_prod_id": s.ExtProductID, "mr_enclave": s.MREnclave, "mr_signer": s.MRSigner,
		"config_id": s.ConfigID, "isv_prod_id": number(s.ProductID), "isv_svn": number(s.SVN), "config_svn": number(s.ConfigSVN),
		"isv_family_id": s.FamilyID,
	}
	body.set("report_data", c.ReportData)
	if half := len(s.Attributes) / 2; half > 0 {
		body["attributes.flags"], body["attributes.xfrm"] = s.Attributes[:half], s.Attributes[half:]
	}
	m := members{
		"header": members{
			"version": number(s.QuoteVersion), "att_key_type": number(attestationKeyECDSA), "att_key_data_0": typeSGX, "vendor_id": vendorIntel,
		},
		"body": body,
	}
	intelClaims(m, c)
	return m
}

// number is a number as quotes have it, two bytes little-endian, in hex.
func number(n int) string {
	return hex.EncodeToString(binary.LittleEndian.AppendUint16(nil, uint16(n)))
}

// intelWords are Intel's own words for the states of a TCB.
var intelWords = [...]struct{ status, word string }{
	{attest.TCBUpToDate, "UpToDate"},
	{attest.TCBSWHardening, "SWHardeningNeeded"},
	{attest.TCBConfiguration, "ConfigurationNeeded"},
	{attest.TCBConfigurationHardening, "ConfigurationAndSWHardeningNeeded"},
	{attest.TCBRelaunch, "TDRelaunchAdvised"},
	{attest.TCBRelaunchConfiguration, "TDRelaunchAdvisedConfigurationNeeded"},
	{attest.TCBOutOfDate, "OutOfDate"},
	{attest.TCBOutOfDateConfiguration, "OutOfDateConfigurationNeeded"},
	{attest.TCBRevoked, "Revoked"},
}

// sgxTypes are the kinds of memory protection by number.
var sgxTypes = [...]string{"Standard", "Scalable", "Scalable with Integrity"}

// intelClaims adds what Intel's collateral says of a platform.
func intelClaims(m members, c *attest.Claims) {
	for _, known := range intelWords {
		if known.status == c.TCBStatus {
			m["tcb_status"] = known.word
		}
	}
	if c.Collateral != nil {
		// Theirs has no grace: it is "0" only while nothing is past its date.
		m["collateral_expiration_status"] = "1"
		if c.Collateral.Current && !c.Collateral.Stale {
			m["collateral_expiration_status"] = "0"
		}
		m.set("earliest_expiration_date", date(c.Collateral.Expires))
	}
	i := c.Intel
	if i == nil {
		return
	}
	m.set("tcb_date", date(i.TCBDate))
	m["tcb_eval_num"] = i.TCBEvaluationNumber
	m["advisory_ids"] = append([]string{}, i.Advisories...)
	m.set("platform_provider_id", i.PPID)
	m.set("platform_instance_id", i.PlatformInstanceID)
	m["sgx_type"] = fmt.Sprintf("Unknown (%d)", i.SGXType)
	if i.SGXType >= 0 && i.SGXType < len(sgxTypes) {
		m["sgx_type"] = sgxTypes[i.SGXType]
	}
	add(m, "is_dynamic_platform", i.DynamicPlatform)
	add(m, "is_cached_keys", i.CachedKeys)
	add(m, "is_smt_enabled", i.SMTEnabled)
}

// date is a time in the form of RFC 3339, "" for none.
func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
