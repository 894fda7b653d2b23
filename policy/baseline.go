package policy

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/vouchsafe/vouchsafe/attest"
)

// BaselinePrefix begins the names of the built-in rules in results and in the by member of tests.
const BaselinePrefix = "baseline."

// baselineRule is one built-in rule. Each says for itself what an absent claim means.
type baselineRule struct {
	name      string
	demands   string   // what it demands, for records and documentation
	claims    []string // the claims it reads, below claims
	waivable  bool
	violation func(c *attest.Claims) string // why it fails, or ""
}

// roots are the trust anchors that make each kind genuine. A kind without an entry, such as sample, has none and fails until its policy
// waives the rule.
func roots(kind attest.Kind) []string {
	switch kind {
	case attest.SNP, attest.AzSNPvTPM:
		return []string{attest.RootMilan, attest.RootGenoa, attest.RootTurin}
	case attest.TDX, attest.SGX, attest.AzTDXvTPM:
		return []string{attest.RootIntel}
	case attest.Nitro:
		return []string{attest.RootNitro}
	case attest.CCA:
		return []string{attest.RootCCA}
	case attest.CSV:
		return []string{attest.RootCSV}
	case attest.SE:
		return []string{attest.RootSE}
	case attest.NVIDIA:
		return []string{attest.RootNVIDIA, attest.RootVerifier} // the second where NVIDIA's service judged the device
	case attest.Token:
		return []string{attest.RootVerifier}
	case attest.TPM:
		return []string{attest.RootTPMEnrolled, attest.RootGoogleAK}
	case attest.Virtual:
		return []string{attest.RootVirtual}
	}
	return nil
}

func notGenuine(c *attest.Claims, what string) string {
	switch {
	case c.HardwareRoot == "":
		return "no hardware root vouches for " + what
	case !slices.Contains(roots(c.Kind), c.HardwareRoot):
		return fmt.Sprintf("%q, which vouches for %s, is not a hardware root of kind %q", seenText(c.HardwareRoot), what, seenText(string(c.Kind)))
	}
	return ""
}

// baseline holds for every policy. It is constant; the order is that of records.
var baseline = [...]baselineRule{
	{
		name:    "genuine-hardware",
		demands: "the hardware root is one of those of the evidence's kind, also for every device",
		claims:  []string{"kind", "hardware_root", "devices"}, waivable: true,
		violation: func(c *attest.Claims) string {
			if why := notGenuine(c, "the evidence"); why != "" {
				return why
			}
			for i := range c.Devices {
				if why := notGenuine(&c.Devices[i], fmt.Sprintf("the evidence of device %d", i)); why != "" {
					return why
				}
			}
			return ""
		},
	},
	{
		name:    "bound",
		demands: "the evidence, and that of every device, covers the broker's nonce and the recipient key; a passport, which no-passport judges, covers the key",
		claims:  []string{"bound", "devices", "kind", "token.passport", "token.recipient"}, // never waivable: without it a recording of someone else's evidence is as good as evidence
		violation: func(c *attest.Claims) string {
			if !is(c.Bound, true) && !passport(c) {
				return "the evidence is not bound to a nonce and recipient key"
			}
			for i, device := range c.Devices {
				if !is(device.Bound, true) {
					return fmt.Sprintf("the evidence of device %d is not bound to a nonce and recipient key", i)
				}
			}
			return ""
		},
	},
	{
		name:    "no-passport",
		demands: "the evidence is not a token that was issued without a nonce of this broker, and that can be presented again until it expires",
		claims:  []string{"token.passport"}, waivable: true,
		violation: func(c *attest.Claims) string {
			if c.Token != nil && c.Token.Passport {
				return "the token is a passport: no nonce of this broker is in it"
			}
			return ""
		},
	},
	{
		name:    "primary-evidence",
		demands: "the primary evidence is that of a CPU, of a TPM that was enrolled or that a cloud certified, or the token of a configured verifier; the others are devices, or such TPMs",
		claims:  []string{"kind", "hardware_root", "tpm.enrolled", "token.verifier", "devices"}, waivable: true,
		violation: func(c *attest.Claims) string {
			for i, device := range c.Devices {
				switch {
				case !device.Kind.Accompanies() || len(device.Devices) > 0:
					return fmt.Sprintf("device %d presents evidence that is not a device's", i)
				case device.Kind == attest.TPM && !knownTPM(&device):
					return fmt.Sprintf("the TPM that is device %d is neither enrolled nor certified by a cloud", i)
				}
			}
			switch {
			case c.Kind.Device():
				return fmt.Sprintf("kind %q can only accompany primary evidence", c.Kind)
			case c.Kind.CPU():
				return ""
			case c.Kind == attest.Token:
				if c.Token == nil || c.Token.Verifier == "" || c.HardwareRoot != attest.RootVerifier {
					return "the token is not of a verifier that is configured"
				}
			case c.Kind != attest.TPM:
				return fmt.Sprintf("kind %q is not primary evidence", seenText(string(c.Kind)))
			case !knownTPM(c):
				return "the TPM is neither enrolled nor certified by a cloud"
			}
			return ""
		},
	},
	{
		name:    "no-debug",
		demands: "debug is false; a TPM and a device need not say",
		claims:  []string{"debug", "devices"}, waivable: true,
		violation: func(c *attest.Claims) string {
			if why := mustBeFalse(c.Kind.HasTCB(), c.Debug, "debug"); why != "" {
				return why
			}
			for i, device := range c.Devices {
				if is(device.Debug, true) {
					return fmt.Sprintf("debug is true for device %d", i)
				}
			}
			return ""
		},
	},
	{
		name:    "vmpl-0",
		demands: "vmpl is 0; kinds that have no privilege levels need not say",
		claims:  []string{"vmpl"}, waivable: true,
		violation: func(c *attest.Claims) string {
			switch {
			case c.VMPL == nil && c.Kind.HasPrivilegeLevels():
				return "vmpl is absent"
			case c.VMPL != nil && *c.VMPL != 0:
				return fmt.Sprintf("vmpl is %d", *c.VMPL)
			}
			return ""
		},
	},
	{
		name:    "no-migration-agent",
		demands: "migration_agent is false; kinds whose guests cannot be migrated need not say",
		claims:  []string{"migration_agent"}, waivable: true,
		violation: func(c *attest.Claims) string {
			return mustBeFalse(c.Kind.Migratable(), c.MigrationAgent, "migration_agent")
		},
	},
	{
		name:    "tcb-current",
		demands: "tcb_status is neither revoked nor out of date, now or when the guest was launched; a TPM and a device need not say",
		claims:  []string{"tcb_status", "devices"}, waivable: true,
		violation: func(c *attest.Claims) string {
			if c.TCBStatus == "" && c.Kind.HasTCB() {
				return "tcb_status is absent"
			}
			if !tcbAccepted(c.TCBStatus) {
				return fmt.Sprintf("tcb_status is %q", seenText(c.TCBStatus))
			}
			for i, device := range c.Devices {
				if !tcbAccepted(device.TCBStatus) {
					return fmt.Sprintf("tcb_status is %q for device %d", seenText(device.TCBStatus), i)
				}
			}
			return ""
		},
	},
	{
		name:    "collateral-current",
		demands: "collateral.current is true; it may be absent for an enrolled TPM and a device, which need no certificates",
		claims:  []string{"collateral.current", "hardware_root", "devices"}, waivable: true,
		violation: func(c *attest.Claims) string {
			enrolled := c.Kind == attest.TPM && c.HardwareRoot == attest.RootTPMEnrolled && c.TPM != nil && c.TPM.Enrolled
			if c.Collateral == nil && !enrolled {
				return "collateral is absent"
			}
			if c.Collateral != nil && !c.Collateral.Current {
				return "a certificate or list that the appraisal relied on is past its time"
			}
			for i, device := range c.Devices {
				if device.Collateral != nil && !device.Collateral.Current {
					return fmt.Sprintf("a certificate or list that the appraisal of device %d relied on is past its time", i)
				}
			}
			return ""
		},
	},
	{
		name:    "init-data-bound",
		demands: "init_data_bound is true when init-data was presented",
		claims:  []string{"init_data_bound"}, waivable: true,
		violation: func(c *attest.Claims) string {
			switch {
			case c.InitDataBound == nil && len(c.InitDataClaims) > 0:
				return "there are init_data_claims, and init_data_bound is absent"
			case c.InitDataBound != nil && !*c.InitDataBound:
				return "the init-data presented is not what the hardware carries"
			}
			return ""
		},
	},
}

// knownTPM reports whether somebody vouches that a TPM's key is a TPM's.
func knownTPM(c *attest.Claims) bool {
	return c.TPM != nil && (c.TPM.Enrolled || c.HardwareRoot == attest.RootGoogleAK)
}

// passport reports whether claims are those of a passport that names the recipient key.
func passport(c *attest.Claims) bool {
	return c.Kind == attest.Token && c.Token != nil && c.Token.Passport && c.Token.Recipient != ""
}

func is(claim *bool, want bool) bool { return claim != nil && *claim == want }

func mustBeFalse(needed bool, claim *bool, name string) string {
	switch {
	case claim == nil && needed:
		return name + " is absent"
	case claim != nil && *claim:
		return name + " is true"
	}
	return ""
}

// tcbAccepted accepts the states that a policy may decide on, and absence: the caller judges that. What needs hardening or configuration is
// not known to be bad; what was launched on firmware that is out of date may have been changed before it was updated.
func tcbAccepted(status string) bool {
	switch status {
	case "", attest.TCBUpToDate, attest.TCBNotPublished, attest.TCBElsewhere,
		attest.TCBSWHardening, attest.TCBConfiguration, attest.TCBConfigurationHardening:
		return true
	}
	return false
}

// BaselineRule describes a built-in rule, for listings and documentation.
type BaselineRule struct {
	Name     string   `json:"name"` // as a waiver spells it: no-debug
	Demands  string   `json:"demands"`
	Claims   []string `json:"claims"`
	Waivable bool     `json:"waivable"`
}

// Baseline returns the built-in rules in the order of records.
func Baseline() []BaselineRule {
	out := make([]BaselineRule, len(baseline))
	for i, r := range baseline {
		out[i] = BaselineRule{Name: r.name, Demands: r.demands, Claims: slices.Clone(r.claims), Waivable: r.waivable}
	}
	return out
}

// baselineNames are the names of the built-in rules as results have them.
var baselineNames = func() (names [len(baseline)]string) {
	for i := range baseline {
		names[i] = BaselinePrefix + baseline[i].name
	}
	return names
}()

// baselinePaths resolves the claims that each rule reads, once.
var baselinePaths = sync.OnceValues(func() ([len(baseline)][]path, error) {
	var out [len(baseline)][]path
	s, err := claimSchema()
	if err != nil {
		return out, err
	}
	for i, r := range baseline {
		for _, claim := range r.claims {
			p, err := s.claimPath(claim)
			if err != nil {
				return out, fmt.Errorf("policy: baseline rule %s: %w", r.name, err)
			}
			p.text = strings.Clone(p.text)
			out[i] = append(out[i], p)
		}
	}
	return out, nil
})
