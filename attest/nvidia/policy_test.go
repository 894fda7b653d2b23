package nvidia

import (
	"bytes"
	"crypto/x509"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/nvidiatest"
	"github.com/vouchsafe/vouchsafe/policy"
)

// TestBaseline: a policy that asks for nothing releases nothing to a machine with a device that is not in order.
func TestBaseline(t *testing.T) {
	p, err := policy.Parse("p.yaml", []byte(`{apiVersion: vouchsafe/v1, kind: ReleasePolicy, metadata: {name: p}, spec: {secrets: ["a/*"], require: [{name: r, that: claims.kind == "snp"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	f := newFleet(t)
	judge := func(t *testing.T, v *Verifier, d *nvidiatest.Device) (bool, string) {
		c, err := v.Verify(t.Context(), input(nvidiatest.Evidence(d.Present(digest))))
		if err != nil {
			t.Fatal(err)
		}
		whole := &attest.Claims{
			Kind: attest.SNP, HardwareRoot: attest.RootGenoa, Bound: attest.Ptr(true), Debug: attest.Ptr(false), MigrationAgent: attest.Ptr(false),
			VMPL: attest.Ptr(0), TCBStatus: attest.TCBUpToDate, Collateral: &attest.CollateralClaims{Current: true}, Devices: []attest.Claims{*c},
		}
		result := p.Evaluate(policy.Request{Claims: whole, Secret: "a/b", Time: now})
		for _, r := range result.Rules {
			if r.Message != "" {
				return result.Allow, r.Rule
			}
		}
		return result.Allow, ""
	}
	good := f.NewDevice("HOPPER", nvidiatest.Shape{})
	mismatched := f.NewDevice("HOPPER", nvidiatest.Shape{})
	mismatched.Blocks[0].Value = bytes.Repeat([]byte{1}, 48)
	debug := f.NewDevice("HOPPER", nvidiatest.Shape{Leaf: func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, nvidiatest.TCBInfo(good.FWID, 0x10))
	}})
	old := *f.World
	old.ManifestSigner = f.Issue(&f.ManifestCA, "old", false, func(c *x509.Certificate) { c.NotAfter = now.Add(-1) })
	late := f.verifier(t, memory{"nvidia/rim/" + driverID: old.Manifest("GH100", "580.10.01", good.Golden(1, 4)...)}, nil)
	for name, test := range map[string]struct {
		v     *Verifier
		d     *nvidiatest.Device
		allow bool
		by    string
	}{
		"in order":        {f.verifier(t, nil, nil), good, true, ""},
		"a mismatch":      {f.verifier(t, nil, nil), mismatched, false, "baseline.tcb-current"},
		"a debug device":  {f.verifier(t, nil, nil), debug, false, "baseline.no-debug"},
		"an old manifest": {late, good, false, "baseline.collateral-current"},
	} {
		t.Run(name, func(t *testing.T) {
			if allow, by := judge(t, test.v, test.d); allow != test.allow || by != test.by {
				t.Errorf("%v by %q", allow, by)
			}
		})
	}
}
