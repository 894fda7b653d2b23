package token

import "github.com/vouchsafe/vouchsafe/attest"

// hardwareModels maps hwmodel to the technology (Google Cloud, "Attestation token claims").
var hardwareModels = map[string]string{
	"GCP_AMD_SEV":     "sev",
	"GCP_AMD_SEV_ES":  "sev-es",
	"GCP_AMD_SEV_SNP": string(attest.SNP),
	"GCP_INTEL_TDX":   string(attest.TDX),
	"GCP_SHIELDED_VM": teeNone,
}

// teeNone is the technology of a machine whose host can read its memory.
const teeNone = "none"

// confidentialSpace reads a token of Google Cloud Attestation (Google Cloud, "Attestation token claims").
func (s *signed) confidentialSpace() {
	p, t := s.payload, s.claims.Token
	t.HardwareModel, t.Software, t.SoftwareVersion = p.text("hwmodel"), p.text("swname"), p.list("swversion")
	t.TEE = hardwareModels[t.HardwareModel]
	t.SecureBoot, t.ServiceAccounts = p.flag("secboot"), p.list("google_service_accounts")
	// A host can always read the memory of a machine without a TEE, whatever its image says of debugging; and what is neither of
	// the two words is not known to be either.
	if t.TEE != teeNone && t.TEE != "" {
		switch p.text("dbgstat") {
		case "disabled-since-boot":
			s.claims.Debug = attest.Ptr(false)
		case "enabled":
			s.claims.Debug = attest.Ptr(true)
		}
	}
	s.claims.TCBStatus = attest.TCBElsewhere
	if tdx := p.inner("tdx"); tdx.has("gcp_attester_tcb_status") {
		s.claims.TCBStatus = tcbStatuses[tdx.text("gcp_attester_tcb_status")]
	}
	mods := p.inner("submods")
	t.Support = mods.inner("confidential_space").list("support_attributes")
	gce := mods.inner("gce")
	t.Project, t.Zone, t.Instance = gce.text("project_id"), gce.text("zone"), gce.text("instance_id")
	if mods.has("container") {
		c := mods.inner("container")
		t.Container = &attest.TokenContainer{
			ImageReference: c.text("image_reference"), ImageDigest: c.text("image_digest"), ImageID: c.text("image_id"),
			RestartPolicy: c.text("restart_policy"), Arguments: c.list("args"), CommandOverride: c.list("cmd_override"),
			Environment: c.texts("env"), EnvOverride: c.texts("env_override"), Signatures: c.identifiers("image_signatures", "key_id"),
		}
	}
	t.Stated = stated(p)
}
