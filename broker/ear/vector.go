package ear

import "github.com/vouchsafe/vouchsafe/attest"

// PolicyID names the way this package makes a vector from claims, as ear.appraisal-policy-id.
const PolicyID = "vouchsafe-claims-v2"

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

// contraindicated is where that tier begins.
const contraindicated = 96

// The values that are used here.
const (
	noClaim = 0

	identityRecognised = 2

	configurationVulnerable   = 32
	configurationUnknown      = 36
	configurationUnacceptable = 96

	executablesApproved     = 3
	executablesUnrecognised = 33
	executablesContrary     = 96

	hardwareGenuine      = 2
	hardwareVulnerable   = 32
	hardwareUnacceptable = 96
	hardwareUnrecognised = 97

	runtimeEncrypted = 2
	runtimeIsolated  = 32
	runtimeVisible   = 96
)

// Appraise makes the vector of one part's claims, as the package documentation says.
func Appraise(c *attest.Claims) Vector {
	v := Vector{Hardware: hardware(c), Configuration: configuration(c), Executables: executables(c), RuntimeOpaque: runtimeOpaque(c)}
	if c.TPM != nil && c.TPM.Enrolled && !c.Kind.Development() {
		v.InstanceIdentity = identityRecognised
	}
	if c.Kind == attest.Token && c.Token != nil {
		// What another verifier says can make these worse, and not better.
		v.Hardware = max(v.Hardware, c.Token.TrustVector["hardware"])
		v.Configuration = max(v.Configuration, c.Token.TrustVector["configuration"])
		v.Executables = max(v.Executables, c.Token.TrustVector["executables"])
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
	if c.Kind != attest.Token && c.Kind != attest.NVIDIA && !c.Kind.CPU() || c.Collateral == nil || !c.Collateral.Current {
		return hardwareVulnerable
	}
	switch {
	case c.TCBStatus == attest.TCBUpToDate, c.TCBStatus == attest.TCBNotPublished:
		return hardwareGenuine
	case c.TCBStatus == attest.TCBElsewhere && c.Token != nil && c.Token.TrustVector["hardware"] >= hardwareGenuine:
		return c.Token.TrustVector["hardware"]
	case remoteDevices(c):
		return hardwareGenuine
	default:
		return hardwareVulnerable
	}
}

// remoteDevices reports whether c is what NVIDIA's service says of devices: it says nothing of one that does not measure as its manifests say.
func remoteDevices(c *attest.Claims) bool {
	return c.Kind == attest.NVIDIA && c.NVIDIA == nil && c.Token != nil && len(c.Token.GPUs) > 0 && c.TCBStatus == ""
}

func isTrue(b *bool) bool  { return b != nil && *b }
func isFalse(b *bool) bool { return b != nil && !*b }

func configuration(c *attest.Claims) int {
	cpu := c.Kind.CPU() && !c.Kind.Development()
	switch {
	case isTrue(c.Debug):
		return configurationUnacceptable
	case cpu && (c.Debug == nil || c.MigrationAgent == nil && c.Kind.Migratable() || c.VMPL == nil && c.Kind.HasPrivilegeLevels()),
		isTrue(c.MigrationAgent),
		c.VMPL != nil && *c.VMPL != 0,
		isFalse(c.InitDataBound),
		misconfigured(c.TCBStatus),
		masked(c),
		c.CSV != nil && (c.CSV.KeySharing || !c.CSV.CSV2Required && !c.CSV.CSV3Required),
		c.Boot != nil && isFalse(c.Boot.SecureBoot),
		c.Azure != nil && isFalse(c.Azure.SecureBoot),
		c.Token != nil && isFalse(c.Token.SecureBoot):
		return configurationVulnerable
	default:
		return configurationUnknown
	}
}

// misconfigured reports whether a state of the TCB says that the platform is not configured as it should be.
func misconfigured(status string) bool {
	switch status {
	case attest.TCBConfiguration, attest.TCBConfigurationHardening, attest.TCBRelaunchConfiguration, attest.TCBOutOfDateConfiguration:
		return true
	}
	return false
}

// masked reports whether c is from a report whose bits, that for debugging among them, whoever presents it can turn together with the measurement.
func masked(c *attest.Claims) bool { return c.CSV != nil && c.CSV.ReportVersion < 2 }

func executables(c *attest.Claims) int {
	switch {
	case c.HardwareRoot == "":
		return executablesUnrecognised
	case c.Kind == attest.NVIDIA && c.NVIDIA != nil && isFalse(c.NVIDIA.MeasurementsMatch):
		return executablesContrary
	case c.Kind == attest.NVIDIA && c.NVIDIA != nil && isTrue(c.NVIDIA.MeasurementsMatch), remoteDevices(c):
		return executablesApproved
	default:
		return executablesUnrecognised
	}
}

func runtimeOpaque(c *attest.Claims) int {
	switch {
	case isTrue(c.Debug):
		return runtimeVisible
	case !c.Kind.CPU() || c.Debug == nil || masked(c) || hardware(c) != hardwareGenuine:
		return noClaim
	case c.Kind == attest.Nitro:
		return runtimeIsolated
	default:
		return runtimeEncrypted
	}
}

// Status returns the tier of the worst value: none when nothing is claimed.
func (v Vector) Status() Status {
	worst := max(v.InstanceIdentity, v.Configuration, v.Executables, v.FileSystem, v.Hardware, v.RuntimeOpaque, v.StorageOpaque, v.SourcedData)
	switch {
	case worst >= contraindicated:
		return Contraindicated
	case worst >= 32:
		return Warning
	case worst >= 2:
		return Affirming
	default:
		return None
	}
}
