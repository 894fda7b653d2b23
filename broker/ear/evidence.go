package ear

import (
	"encoding/json"
	"fmt"

	"github.com/vouchsafe/vouchsafe/attest"
)

// annotate returns the annotated evidence of one part.
func (t *Token) annotate(c *attest.Claims) (json.RawMessage, error) {
	doc := map[string]any{
		string(c.Kind):        kindClaims(c),
		"report_data":         orNull(c.ReportData),
		"init_data":           orNull(c.InitData),
		"init_data_claims":    nil,
		"runtime_data_claims": map[string]any{"nonce": t.Nonce, "tee-pubkey": json.RawMessage(t.Recipient)},
	}
	size := 0
	for name, body := range c.InitDataClaims {
		size += len(name) + len(body)
	}
	if size > 0 && size <= MaxInitData {
		doc["init_data_claims"] = c.InitDataClaims
	}
	return marshal(doc)
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// kindClaims returns what stands under the kind's name.
func kindClaims(c *attest.Claims) any {
	switch {
	case c.SNP != nil:
		return snpClaims(c)
	case c.TPM != nil:
		return map[string]any{"quote": c.TPM, "boot": c.Boot}
	case c.Sample != nil:
		return c.Sample
	default:
		return map[string]any{}
	}
}

// snpClaims are named and typed as resource policies in the field expect them. A claim that is absent is left out.
func snpClaims(c *attest.Claims) map[string]any {
	s := c.SNP
	m := map[string]any{
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
	if s.ReportedTCB.FMC != nil {
		m["reported_tcb_fmc"] = *s.ReportedTCB.FMC
	}
	if s.ChipID != "" {
		m["chip_id"] = s.ChipID
	}
	if c.Debug != nil {
		m["policy_debug_allowed"] = *c.Debug
	}
	if c.MigrationAgent != nil {
		m["policy_migrate_ma"] = *c.MigrationAgent
	}
	if c.VMPL != nil {
		m["vmpl"] = *c.VMPL
	}
	return m
}

// submods appraises the primary evidence and every device.
func (t *Token) submods() (map[string]submod, error) {
	mods := make(map[string]submod, 1+len(t.Claims.Devices))
	add := func(name string, c *attest.Claims) error {
		annotated, err := t.annotate(c)
		if err != nil {
			return fmt.Errorf("ear: annotated evidence of %s: %w", name, err)
		}
		v := Appraise(c)
		mods[name] = submod{Status: v.Status(), Vector: v, Policy: PolicyID, Annotated: annotated}
		return nil
	}
	if err := add("cpu0", t.Claims); err != nil {
		return nil, err
	}
	count := map[string]int{}
	for i := range t.Claims.Devices {
		class := deviceClass(t.Claims.Devices[i].Kind)
		if err := add(fmt.Sprintf("%s%d", class, count[class]), &t.Claims.Devices[i]); err != nil {
			return nil, err
		}
		count[class]++
	}
	return mods, nil
}

// deviceClass is the name of a device's submodule but for its number.
func deviceClass(kind attest.Kind) string {
	if kind == "nvidia" {
		return "gpu"
	}
	return string(kind)
}
