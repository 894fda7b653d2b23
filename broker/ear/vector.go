package ear

import "github.com/vouchsafe/vouchsafe/attest"

// PolicyID names the way this package makes a vector from claims, as ear.appraisal-policy-id.
const PolicyID = "vouchsafe-claims-v1"

// Status is a tier of trustworthiness.
type Status string

// The tiers, from the range a value lies in (AR4SI, section 2.3.2): -1 to 1, 2 to 31, 32 to 95, 96 to 127.
const (
	None            Status = "none"
	Affirming       Status = "affirming"
	Warning         Status = "warning"
	Contraindicated Status = "contraindicated"
)

// Vector is a trustworthiness vector. Its values are those of AR4SI, section 2.3.4.
type Vector struct {
	InstanceIdentity int `json:"instance-identity"`
	Configuration    int `json:"configuration"`
	Executables      int `json:"executables"`
	FileSystem       int `json:"file-system"`
	Hardware         int `json:"hardware"`
	RuntimeOpaque    int `json:"runtime-opaque"`
	StorageOpaque    int `json:"storage-opaque"`
	SourcedData      int `json:"sourced-data"`
}

// The values that are used here.
const (
	noClaim = 0

	identityRecognised = 2

	configurationVulnerable   = 32
	configurationUnknown      = 36
	configurationUnacceptable = 96

	executablesUnrecognised = 33

	hardwareGenuine      = 2
	hardwareVulnerable   = 32
	hardwareUnacceptable = 96
	hardwareUnrecognised = 97

	runtimeEncrypted = 2
	runtimeVisible   = 96
)

// Appraise makes the vector of one part's claims, as the package documentation says.
func Appraise(c *attest.Claims) Vector {
	debug := c.Debug != nil && *c.Debug
	v := Vector{Hardware: hardware(c), Configuration: configuration(c), Executables: executablesUnrecognised}
	if c.TPM != nil && c.TPM.Enrolled && !c.Kind.Development() {
		v.InstanceIdentity = identityRecognised
	}
	switch {
	case debug:
		v.RuntimeOpaque = runtimeVisible
	case c.Kind.CPU() && c.Debug != nil && v.Hardware == hardwareGenuine:
		v.RuntimeOpaque = runtimeEncrypted
	}
	return v
}

func hardware(c *attest.Claims) int {
	if c.Kind.Development() || c.HardwareRoot == "" {
		return hardwareUnrecognised
	}
	if c.TCBStatus == attest.TCBRevoked {
		return hardwareUnacceptable
	}
	if !c.Kind.CPU() || c.Collateral == nil || !c.Collateral.Current {
		return hardwareVulnerable
	}
	switch c.TCBStatus {
	case attest.TCBUpToDate, attest.TCBNotPublished:
		return hardwareGenuine
	default:
		return hardwareVulnerable
	}
}

func configuration(c *attest.Claims) int {
	isTrue := func(b *bool) bool { return b != nil && *b }
	isFalse := func(b *bool) bool { return b != nil && !*b }
	cpu := c.Kind.CPU() && !c.Kind.Development()
	switch {
	case isTrue(c.Debug):
		return configurationUnacceptable
	case cpu && (c.Debug == nil || c.MigrationAgent == nil && c.Kind.Migratable() || c.VMPL == nil && c.Kind.HasPrivilegeLevels()),
		isTrue(c.MigrationAgent),
		c.VMPL != nil && *c.VMPL != 0,
		isFalse(c.InitDataBound),
		c.Boot != nil && isFalse(c.Boot.SecureBoot):
		return configurationVulnerable
	default:
		return configurationUnknown
	}
}

// Status returns the tier of the worst value: none when nothing is claimed.
func (v Vector) Status() Status {
	worst := max(v.InstanceIdentity, v.Configuration, v.Executables, v.FileSystem, v.Hardware, v.RuntimeOpaque, v.StorageOpaque, v.SourcedData)
	switch {
	case worst >= 96:
		return Contraindicated
	case worst >= 32:
		return Warning
	case worst >= 2:
		return Affirming
	default:
		return None
	}
}
