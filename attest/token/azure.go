package token

import "github.com/vouchsafe/vouchsafe/attest"

// azureTypes maps the type of what Azure Attestation attested to the technology: of a virtual machine behind a paravisor, whose evidence is a quote of
// its TPM, and of one without.
var azureTypes = map[string]struct{ behind, alone string }{
	"sevsnpvm": {string(attest.AzSNPvTPM), string(attest.SNP)},
	"tdxvm":    {string(attest.AzTDXvTPM), string(attest.TDX)},
	"sgx":      {"", string(attest.SGX)},
}

// azureVM is the type of a virtual machine behind a paravisor; what its hardware is, is inside.
const azureVM = "azurevm"

// azureHardware returns the object that has the claims of the hardware: the token's own, or for a virtual machine one in it.
func (s *signed) azureHardware() object {
	if s.payload.text("x-ms-attestation-type") == azureVM {
		return s.payload.inner("x-ms-isolation-tee")
	}
	return s.payload
}

// azure reads a token of Microsoft Azure Attestation (Microsoft, "Claim sets", "Examples of an attestation token", "Azure Attestation EAT profile for TDX").
func (s *signed) azure() error {
	p, c := s.payload, s.claims
	t := c.Token
	t.Attestation, t.AppraisedBy = p.text("x-ms-attestation-type"), p.text("x-ms-policy-hash")
	hardware := s.azureHardware()
	kind := hardware.text("x-ms-attestation-type")
	if t.Attestation == azureVM {
		t.Instance, t.SecureBoot = p.text("x-ms-azurevm-vmid"), p.flag("secureboot")
		t.TEE = azureTypes[kind].behind
		if kind == "" {
			t.TEE = teeNone
		}
	} else {
		t.TEE = azureTypes[kind].alone
	}
	if t.TEE == "" {
		return attest.Refuse(attest.CodeVersionUnsupported, "the token is about %.40q with hardware %.40q, which is not known here", t.Attestation, kind)
	}
	t.Compliance = hardware.text("x-ms-compliance-status")
	c.TCBStatus = attest.TCBElsewhere
	switch kind {
	case "sevsnpvm":
		c.Measurement = hardware.hex("x-ms-sevsnpvm-launchmeasurement", 48)
		c.ReportData = hardware.hex("x-ms-sevsnpvm-reportdata", 64)
		c.InitData = hardware.hex("x-ms-sevsnpvm-hostdata", 32)
		c.Debug, c.MigrationAgent = hardware.flag("x-ms-sevsnpvm-is-debuggable"), hardware.flag("x-ms-sevsnpvm-migration-allowed")
		if n, ok := hardware.signed("x-ms-sevsnpvm-vmpl"); ok {
			c.VMPL = attest.Ptr(n)
		}
	case "tdxvm":
		hardware.tdx(c)
	case "sgx":
		c.Measurement, t.Signer = hardware.hex("x-ms-sgx-mrenclave", 32), hardware.hex("x-ms-sgx-mrsigner", 32)
		c.Debug = hardware.flag("x-ms-sgx-is-debuggable")
	}
	t.Stated = stated(p, hardware)
	return nil
}
