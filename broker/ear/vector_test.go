package ear

import (
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
)

func TestVectors(t *testing.T) {
	best := Vector{Hardware: hardwareGenuine, Configuration: configurationUnknown, Executables: executablesUnrecognised, RuntimeOpaque: runtimeEncrypted}
	with := func(change func(*Vector)) Vector {
		v := best
		change(&v)
		return v
	}
	vulnerable := with(func(v *Vector) { v.Configuration = configurationVulnerable })
	oldTCB := with(func(v *Vector) { v.Hardware, v.RuntimeOpaque = hardwareVulnerable, noClaim })
	tests := []struct {
		name   string
		change func(*attest.Claims)
		want   Vector
		status Status
	}{
		{"as the baseline wants it", func(*attest.Claims) {}, best, Warning},
		{"TCB not published", func(c *attest.Claims) { c.TCBStatus = "not-published" }, best, Warning},
		{"TCB out of date", func(c *attest.Claims) { c.TCBStatus = "out-of-date" }, oldTCB, Warning},
		{"TCB unknown", func(c *attest.Claims) { c.TCBStatus = "" }, oldTCB, Warning},
		{"TCB of a new word", func(c *attest.Claims) { c.TCBStatus = "UpToDate" }, oldTCB, Warning},
		{"TCB revoked", func(c *attest.Claims) { c.TCBStatus = "revoked" },
			with(func(v *Vector) { v.Hardware, v.RuntimeOpaque = hardwareUnacceptable, noClaim }), Contraindicated},
		{"collateral expired", func(c *attest.Claims) { c.Collateral.Current = false }, oldTCB, Warning},
		{"no collateral", func(c *attest.Claims) { c.Collateral = nil }, oldTCB, Warning},
		{"no root", func(c *attest.Claims) { c.HardwareRoot = "" },
			with(func(v *Vector) { v.Hardware, v.RuntimeOpaque = hardwareUnrecognised, noClaim }), Contraindicated},
		{"debug", func(c *attest.Claims) { c.Debug = attest.Ptr(true) },
			with(func(v *Vector) { v.Configuration, v.RuntimeOpaque = configurationUnacceptable, runtimeVisible }), Contraindicated},
		{"debug unsaid", func(c *attest.Claims) { c.Debug = nil },
			with(func(v *Vector) { v.Configuration, v.RuntimeOpaque = configurationVulnerable, noClaim }), Warning},
		{"migration agent", func(c *attest.Claims) { c.MigrationAgent = attest.Ptr(true) }, vulnerable, Warning},
		{"migration agent unsaid", func(c *attest.Claims) { c.MigrationAgent = nil }, vulnerable, Warning},
		{"VMPL 1", func(c *attest.Claims) { c.VMPL = attest.Ptr(1) }, vulnerable, Warning},
		{"VMPL unsaid", func(c *attest.Claims) { c.VMPL = nil }, vulnerable, Warning},
		{"init-data of another", func(c *attest.Claims) { c.InitDataBound = attest.Ptr(false) }, vulnerable, Warning},
		{"no init-data", func(c *attest.Claims) { c.InitDataBound = nil }, best, Warning},
		{"virtual with everything right", func(c *attest.Claims) { c.Kind = attest.Virtual },
			with(func(v *Vector) { v.Hardware, v.RuntimeOpaque = hardwareUnrecognised, noClaim }), Contraindicated},
		{"virtual under AMD's name", func(c *attest.Claims) {
			c.Kind, c.HardwareRoot, c.TPM = attest.Virtual, "amd-genoa", &attest.TPMClaims{Enrolled: true}
		},
			with(func(v *Vector) { v.Hardware, v.RuntimeOpaque = hardwareUnrecognised, noClaim }), Contraindicated},
	}
	for _, test := range tests {
		c := snpGuest()
		test.change(c)
		if got := Appraise(c); got != test.want || got.Status() != test.status {
			t.Errorf("%s: %+v (%s), want %+v (%s)", test.name, got, got.Status(), test.want, test.status)
		}
	}
}

func TestVectorsOfOthers(t *testing.T) {
	enrolled := Vector{InstanceIdentity: identityRecognised, Configuration: configurationUnknown, Executables: executablesUnrecognised, Hardware: hardwareVulnerable}
	if got := Appraise(tpmHost()); got != enrolled || got.Status() != Warning {
		t.Errorf("an enrolled TPM: %+v", got)
	}
	insecure := tpmHost()
	insecure.Boot.SecureBoot = attest.Ptr(false)
	if got := Appraise(insecure); got.Configuration != configurationVulnerable {
		t.Errorf("without Secure Boot: %+v", got)
	}
	unknown := tpmHost()
	unknown.TPM.Enrolled = false
	if got := Appraise(unknown); got.InstanceIdentity != noClaim {
		t.Errorf("not enrolled: %+v", got)
	}
	for _, c := range []*attest.Claims{sampleGuest(), &sampleGuest().Devices[0], {}, {Kind: "new"}} {
		if got := Appraise(c); got.Status() != Contraindicated {
			t.Errorf("%s: %+v", c.Kind, got)
		}
	}
}

// TestVectorsOfKinds shows what of each kind makes a vector better or worse.
func TestVectorsOfKinds(t *testing.T) {
	best := Vector{Hardware: hardwareGenuine, Configuration: configurationUnknown, Executables: executablesUnrecognised, RuntimeOpaque: runtimeEncrypted}
	isolated, firmware, anothers := best, best, best
	isolated.RuntimeOpaque = runtimeIsolated
	firmware.RuntimeOpaque, firmware.Executables = noClaim, executablesApproved
	anothers.RuntimeOpaque = noClaim
	gpu := func() *attest.Claims { c := nvidia(1, 0); return split(&c)[0] }
	judged := func() *attest.Claims { c := remote(); return split(&c)[0] }
	for _, test := range []struct {
		name   string
		claims func() *attest.Claims
		change func(*attest.Claims)
		want   Vector
	}{
		{"tdx", tdxGuest, nil, best},
		{"sgx", sgxEnclave, nil, best},
		{"az-snp-vtpm", azureSNP, nil, best},
		{"az-tdx-vtpm", azureTDX, nil, best},
		{"cca", ccaRealm, nil, best},
		{"csv", csvGuest, nil, best},
		{"nitro", nitroEnclave, nil, isolated},
		{"nvidia", gpu, nil, firmware},
		{"nvidia by its service", judged, nil, firmware},
		{"token", tokenGuest, nil, anothers},

		{"tdx whose software must be hardened", tdxGuest, func(c *attest.Claims) { c.TCBStatus = attest.TCBSWHardening }, worse(best, hardwareVulnerable, configurationUnknown)},
		{"tdx to be configured", tdxGuest, func(c *attest.Claims) { c.TCBStatus = attest.TCBConfiguration }, worse(best, hardwareVulnerable, configurationVulnerable)},
		{"tdx to be configured and hardened", tdxGuest, func(c *attest.Claims) { c.TCBStatus = attest.TCBConfigurationHardening }, worse(best, hardwareVulnerable, configurationVulnerable)},
		{"tdx to be launched again", tdxGuest, func(c *attest.Claims) { c.TCBStatus = attest.TCBRelaunch }, worse(best, hardwareVulnerable, configurationUnknown)},
		{"tdx to be configured and launched", tdxGuest, func(c *attest.Claims) { c.TCBStatus = attest.TCBRelaunchConfiguration }, worse(best, hardwareVulnerable, configurationVulnerable)},
		{"tdx out of date", tdxGuest, func(c *attest.Claims) { c.TCBStatus = attest.TCBOutOfDate }, worse(best, hardwareVulnerable, configurationUnknown)},
		{"tdx out of date and to be configured", tdxGuest, func(c *attest.Claims) { c.TCBStatus = attest.TCBOutOfDateConfiguration }, worse(best, hardwareVulnerable, configurationVulnerable)},
		{"tdx revoked", tdxGuest, func(c *attest.Claims) { c.TCBStatus = attest.TCBRevoked }, worse(best, hardwareUnacceptable, configurationUnknown)},
		{"tdx with old collateral", tdxGuest, func(c *attest.Claims) { c.Collateral.Current = false }, worse(best, hardwareVulnerable, configurationUnknown)},
		{"tdx within the grace", tdxGuest, func(c *attest.Claims) { c.Collateral.Stale = true }, best},
		{"tdx judged elsewhere, which it cannot be", tdxGuest, func(c *attest.Claims) { c.TCBStatus = attest.TCBElsewhere }, worse(best, hardwareVulnerable, configurationUnknown)},
		{"tdx without Secure Boot", tdxGuest, func(c *attest.Claims) { c.Boot.SecureBoot = attest.Ptr(false) }, configured(best, configurationVulnerable)},
		{"tdx that says nothing of migration", tdxGuest, func(c *attest.Claims) { c.MigrationAgent = nil }, configured(best, configurationVulnerable)},
		{"Azure without Secure Boot", azureSNP, func(c *attest.Claims) { c.Azure.SecureBoot = attest.Ptr(false) }, configured(best, configurationVulnerable)},
		{"csv that shares its key", csvGuest, func(c *attest.Claims) { c.CSV.KeySharing = true }, configured(best, configurationVulnerable)},
		{"csv with registers in the clear", csvGuest, func(c *attest.Claims) { c.CSV.CSV2Required = false }, configured(best, configurationVulnerable)},
		{"csv of version 3", csvGuest, func(c *attest.Claims) { c.CSV.CSV2Required, c.CSV.CSV3Required = false, true }, best},
		{"csv with a masked report", csvGuest, func(c *attest.Claims) { c.CSV.ReportVersion = 1 },
			Vector{Hardware: hardwareGenuine, Configuration: configurationVulnerable, Executables: executablesUnrecognised}},
		{"nvidia of unknown firmware", gpu, func(c *attest.Claims) { c.NVIDIA.MeasurementsMatch, c.TCBStatus, c.Debug = nil, "", nil },
			Vector{Hardware: hardwareVulnerable, Configuration: configurationUnknown, Executables: executablesUnrecognised}},
		{"nvidia of other firmware", gpu, func(c *attest.Claims) {
			c.NVIDIA.MeasurementsMatch, c.TCBStatus = attest.Ptr(false), attest.TCBOutOfDate
		},
			Vector{Hardware: hardwareVulnerable, Configuration: configurationUnknown, Executables: executablesContrary}},
		{"nvidia for debugging", gpu, func(c *attest.Claims) { c.Debug = attest.Ptr(true) },
			Vector{Hardware: hardwareGenuine, Configuration: configurationUnacceptable, Executables: executablesApproved, RuntimeOpaque: runtimeVisible}},
		{"nvidia of no root", gpu, func(c *attest.Claims) { c.HardwareRoot = "" },
			Vector{Hardware: hardwareUnrecognised, Configuration: configurationUnknown, Executables: executablesUnrecognised}},
		{"nvidia by an old key set", judged, func(c *attest.Claims) { c.Collateral.Current = false },
			Vector{Hardware: hardwareVulnerable, Configuration: configurationUnknown, Executables: executablesApproved}},
		{"a token that says nothing of hardware", tokenGuest, func(c *attest.Claims) { c.Token.TrustVector = nil }, worse(anothers, hardwareVulnerable, configurationUnknown)},
		{"a token with a warning", tokenGuest, func(c *attest.Claims) {
			c.Token.TrustVector["executables"], c.Token.TrustVector["configuration"] = 34, 37
		},
			Vector{Hardware: hardwareGenuine, Configuration: 37, Executables: 34}},
		{"a token that warns of up-to-date hardware", tokenGuest, func(c *attest.Claims) { c.TCBStatus, c.Token.TrustVector["hardware"] = attest.TCBUpToDate, 33 },
			worse(anothers, 33, configurationUnknown)},
		{"a token of a TCB of its word", tokenGuest, func(c *attest.Claims) { c.TCBStatus, c.Token.TrustVector = attest.TCBUpToDate, nil }, anothers},
		{"a token without Secure Boot", tokenGuest, func(c *attest.Claims) { c.Token.SecureBoot = attest.Ptr(false) }, configured(anothers, configurationVulnerable)},
		{"a token of an old key set", tokenGuest, func(c *attest.Claims) { c.Collateral.Current = false }, worse(anothers, hardwareVulnerable, configurationUnknown)},
	} {
		c := test.claims()
		if test.change != nil {
			test.change(c)
		}
		if got := Appraise(c); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

// worse is v with hardware that is not genuine, so that nothing is known of its memory.
func worse(v Vector, hardware, configuration int) Vector {
	v.Hardware, v.Configuration, v.RuntimeOpaque = hardware, configuration, noClaim
	return v
}

func configured(v Vector, configuration int) Vector {
	v.Configuration = configuration
	return v
}

func TestStatusTiers(t *testing.T) {
	for value, want := range map[int]Status{-1: None, 0: None, 1: None, 2: Affirming, 31: Affirming, 32: Warning, 95: Warning, 96: Contraindicated, 127: Contraindicated} {
		if got := (Vector{SourcedData: value}).Status(); got != want {
			t.Errorf("%d is %s, not %s", value, got, want)
		}
		if got := (Vector{SourcedData: value, Hardware: 96}).Status(); got != Contraindicated {
			t.Errorf("%d beside 96 is %s", value, got)
		}
	}
}
