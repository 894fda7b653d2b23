package token

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/jcs"
)

// machine is the submodule of the machine in an EAR; devices are beside it.
const machine = "cpu0"

// maxSubmodules bounds an EAR's submodules: a machine and attest.MaxDevices, with room.
const maxSubmodules = 32

// The tiers of trustworthiness (draft-ietf-rats-ear, section 3.2), and where those of a vector's values begin (AR4SI, section 2.3.2).
const (
	contraindicated = "contraindicated"

	tierAffirming       = 2
	tierWarning         = 32
	tierContraindicated = 96
)

// ear reads an attestation result of the EAR profile of Confidential Containers (draft-ietf-rats-ear; the members of the annotated evidence are those
// of that project's Attestation Service).
func (s *signed) ear() error {
	t := s.claims.Token
	submods := s.payload.inner("submods")
	if submods.count() > maxSubmodules {
		return attest.Refuse(attest.CodeMalformed, "the token has %d submodules: at most %d are read", submods.count(), maxSubmodules)
	}
	t.Submodules = make(map[string]string, submods.count())
	for _, name := range submods.names() {
		status := submods.inner(name).text("ear.status")
		switch status {
		case contraindicated:
			return attest.Refuse(attest.CodeVerdict, "the verifier %q says of %.80q that it is not to be trusted (contraindicated)", s.issuer.Name, name)
		case "none", "affirming", "warning":
		default:
			return attest.Refuse(attest.CodeMalformed, "the submodule %.80q has the status %.40q, which is none", name, status)
		}
		t.Submodules[name] = status
	}
	cpu := submods.inner(machine)
	if t.Status = t.Submodules[machine]; t.Status == "" {
		return attest.Refuse(attest.CodeMalformed, "the token has no submodule %s, which is about the machine", machine)
	}
	t.AppraisedBy = cpu.text("ear.appraisal-policy-id")
	vector := cpu.inner("ear.trustworthiness-vector")
	if vector.count() > 0 {
		t.TrustVector = make(map[string]int, vector.count())
	}
	for name := range vector.all() {
		if n, ok := vector.signed(name); ok {
			t.TrustVector[name] = n
		}
	}
	annotated := cpu.inner("ear.veraison.annotated-evidence")
	if err := s.evidenceOf(annotated); err != nil {
		return err
	}
	s.claims.TCBStatus = worseTCB(s.claims.TCBStatus, t.TrustVector)
	s.claims.ReportData = annotated.anyHex("report_data")
	s.claims.InitData = annotated.anyHex("init_data")
	if document, ok := annotated.raw("init_data_claims"); ok && document[0] == '{' {
		// The verifier gives a document only where it found its digest in the evidence. What it parsed further is not text, and passed over.
		s.claims.InitDataClaims = annotated.inner("init_data_claims").strings()
		if s.claims.InitDataClaims != nil && s.claims.InitData != "" {
			s.claims.InitDataBound = attest.Ptr(true)
		}
	}
	recipient, err := s.recipient()
	if err != nil {
		return err
	}
	if recipient != nil {
		sum := sha256.Sum256(recipient)
		t.Recipient = hex.EncodeToString(sum[:])
	}
	return nil
}

// evidenceOf maps what the verifier found in the evidence of the machine, by the kind of evidence it was.
func (s *signed) evidenceOf(annotated object) error {
	var kind attest.Kind
	for _, k := range attest.Kinds() {
		if !annotated.has(string(k)) {
			continue
		}
		if kind != "" {
			return attest.Refuse(attest.CodeMalformed, "the token has evidence of both %s and %s for one machine", kind, k)
		}
		kind = k
	}
	if kind.Development() {
		return attest.Refuse(attest.CodeNotVerifiable, "the token is about evidence of kind %s, which proves nothing about hardware", kind)
	}
	c, found := s.claims, annotated.inner(string(kind))
	c.Token.TEE = string(kind)
	switch kind {
	case attest.SNP, attest.AzSNPvTPM:
		c.Measurement = found.hex("measurement", 48)
		c.Debug, c.MigrationAgent = found.flag("policy_debug_allowed"), found.flag("policy_migrate_ma")
		if n, ok := found.signed("vmpl"); ok {
			c.VMPL = attest.Ptr(n)
		}
	case attest.TDX, attest.AzTDXvTPM:
		body := found.inner("quote").inner("body")
		c.Measurement = body.hex("mr_td", 48)
		c.Debug = found.inner("td_attributes").flag("debug")
		if debug, known := body.tdAttributes("td_attributes", c); known && (c.Debug == nil || debug) {
			c.Debug = attest.Ptr(debug)
		}
		c.Token.Registers = body.registers([...]string{"rtmr_0", "rtmr_1", "rtmr_2", "rtmr_3", "mr_seam"})
	case attest.SGX:
		body := found.inner("body")
		c.Measurement, c.Token.Signer = body.hex("mr_enclave", 32), body.hex("mr_signer", 32)
		if flags, err := hex.DecodeString(body.hex("attributes.flags", 8)); err == nil && len(flags) == 8 {
			c.Debug = attest.Ptr(flags[0]&sgxDebug != 0)
		}
	default:
		return nil
	}
	// Kinds whose vendor publishes no status have no such member.
	if found.has("tcb_status") {
		c.TCBStatus = tcbStatuses[found.text("tcb_status")]
		if c.TCBStatus == "" {
			c.TCBStatus = tcbUnknown
		}
	}
	c.Token.Advisories = found.list("advisory_ids")
	if status, ok := found.raw("collateral_expiration_status"); ok && strings.Trim(status, `"`) != "0" {
		c.Collateral.Current = false
	}
	return nil
}

// sgxDebug is the flag DEBUG in the first byte of an enclave's attributes (Intel SDM, volume 3D, ATTRIBUTES).
const sgxDebug = 1 << 1

// tcbUnknown stands for a status in words that are not known. It never leaves this package: the claim is absent then, and the baseline refuses.
const tcbUnknown = "?"

// worseTCB joins what a token says of the TCB with the tier of its vector's claim about hardware. A verifier that makes no claim about the hardware, and says nothing else
// of it, has not judged it, and the claim is absent.
func worseTCB(status string, vector map[string]int) string {
	hardware, judged := vector["hardware"]
	switch {
	case status == tcbUnknown:
		return ""
	case hardware >= tierContraindicated:
		return attest.TCBRevoked
	case hardware >= tierWarning:
		if status == "" || status == attest.TCBUpToDate {
			return attest.TCBOutOfDate
		}
		return status
	case status != "":
		return status
	case judged && hardware >= tierAffirming:
		return attest.TCBElsewhere
	}
	return ""
}

// recipient returns the workload's key that the verifier says the evidence covers, as canonical JSON, or nil when it says none. A key in
// "cnf" (RFC 7800) beside it must be the same.
func (s *signed) recipient() ([]byte, error) {
	runtime := s.payload.inner("submods").inner(machine).inner("ear.veraison.annotated-evidence").inner("runtime_data_claims")
	key, err := canonicalObject(runtime, "tee-pubkey")
	if err != nil {
		return nil, err
	}
	confirmed, err := canonicalObject(s.payload.inner("cnf"), "jwk")
	if err != nil {
		return nil, err
	}
	if confirmed != nil && string(confirmed) != string(key) {
		return nil, attest.Refuse(attest.CodeMalformed, "the token confirms (cnf) another key than the one its evidence covers")
	}
	return key, nil
}

// maxKey bounds a workload's key, in bytes: an RSA key of 4096 bits has 800.
const maxKey = 8 << 10

// canonicalObject returns the canonical JSON of a member that is an object, nil when there is none.
func canonicalObject(o object, name string) ([]byte, error) {
	raw, ok := o.raw(name)
	if !ok {
		return nil, o.err()
	}
	if len(raw) > maxKey || raw[0] != '{' {
		o.fail(name, "an object of a few kibibytes")
		return nil, o.err()
	}
	canonical, err := canonicalJSON(raw)
	if err != nil {
		return nil, attest.Refuse(attest.CodeMalformed, "member %.80q of the token: %w", o.in.path(o.at)+name, err)
	}
	return canonical, nil
}

// canonicalJSON returns the RFC 8785 form of JSON of a token, which has no member twice. Fractions are an error.
func canonicalJSON(text string) ([]byte, error) {
	var value any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return jcs.Marshal(value)
}
