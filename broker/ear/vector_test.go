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
