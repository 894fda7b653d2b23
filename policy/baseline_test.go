package policy

import (
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
)

// TestBaseline breaks one claim at a time, by a wrong value and by absence, and names the rule that must refuse.
func TestBaseline(t *testing.T) {
	virtual := func() *attest.Claims {
		c := snpClaims()
		c.Kind, c.HardwareRoot = attest.Virtual, "virtual-development"
		return c
	}
	sample := func() *attest.Claims {
		return &attest.Claims{Kind: attest.Sample, Bound: attest.Ptr(true), Sample: &attest.SampleClaims{SVN: "1"}}
	}
	token := func() *attest.Claims {
		return &attest.Claims{
			Kind: attest.Token, HardwareRoot: "configured-verifier", Bound: attest.Ptr(true), Debug: attest.Ptr(false), TCBStatus: "judged-elsewhere",
			Collateral: &attest.CollateralClaims{Current: true}, Token: &attest.TokenClaims{Verifier: "as"},
		}
	}
	passport := func(c *attest.Claims) {
		c.Bound, c.Token.Passport, c.Token.Recipient = attest.Ptr(false), true, "00"
	}
	device := func(c *attest.Claims, d attest.Claims) { c.Devices = []attest.Claims{d} }
	gpu := func(change func(*attest.Claims)) func(*attest.Claims) {
		return func(c *attest.Claims) {
			d := attest.Claims{Kind: attest.NVIDIA, HardwareRoot: "nvidia-device", Bound: attest.Ptr(true)}
			change(&d)
			device(c, d)
		}
	}
	// of makes good claims of a kind that says all that its like can say.
	of := func(kind attest.Kind, root string) func() *attest.Claims {
		return func() *attest.Claims {
			c := snpClaims()
			c.Kind, c.HardwareRoot, c.SNP, c.TCBStatus = kind, root, nil, "up-to-date"
			return c
		}
	}
	silent := func(c *attest.Claims) { c.VMPL, c.MigrationAgent = nil, nil }
	for _, tc := range []struct {
		name   string
		claims func() *attest.Claims
		change func(c *attest.Claims)
		rules  []string // that fail; none when the claims pass
	}{
		{"snp", snpClaims, func(c *attest.Claims) {}, nil},
		{"tpm", tpmClaims, func(c *attest.Claims) {}, nil},
		{"virtual", virtual, func(c *attest.Claims) {}, nil},
		{"token", token, func(c *attest.Claims) {}, nil},
		{"token not bound", token, func(c *attest.Claims) { c.Bound = attest.Ptr(false) }, []string{"bound"}},
		{"token without a root", token, func(c *attest.Claims) { c.HardwareRoot = "amd-genoa" }, []string{"genuine-hardware", "primary-evidence"}},
		{"token of nobody", token, func(c *attest.Claims) { c.Token.Verifier = "" }, []string{"primary-evidence"}},
		{"token that does not say", token, func(c *attest.Claims) { c.Debug, c.TCBStatus = nil, "" }, []string{"no-debug", "tcb-current"}},
		{"passport", token, passport, []string{"no-passport"}},
		{"passport of no key", token, func(c *attest.Claims) { passport(c); c.Token.Recipient = "" }, []string{"no-passport", "bound"}},
		{"passport with a device that is not bound", token, func(c *attest.Claims) {
			passport(c)
			device(c, attest.Claims{Kind: attest.NVIDIA, HardwareRoot: "nvidia-device"})
		}, []string{"no-passport", "bound"}},
		{"another kind's passport", snpClaims, func(c *attest.Claims) { c.Token = &attest.TokenClaims{}; passport(c) }, []string{"no-passport", "bound"}},
		{"sample", sample, func(c *attest.Claims) {}, []string{"genuine-hardware", "no-debug", "vmpl-0", "no-migration-agent", "tcb-current", "collateral-current"}},
		{"no root", snpClaims, func(c *attest.Claims) { c.HardwareRoot = "" }, []string{"genuine-hardware"}},
		{"root of another kind", snpClaims, func(c *attest.Claims) { c.HardwareRoot = "virtual-development" }, []string{"genuine-hardware"}},
		{"virtual under a hardware root", virtual, func(c *attest.Claims) { c.HardwareRoot = "amd-genoa" }, []string{"genuine-hardware"}},
		{"unknown kind", snpClaims, func(c *attest.Claims) { c.Kind = "new" }, []string{"genuine-hardware", "primary-evidence"}},
		{"no kind", snpClaims, func(c *attest.Claims) { c.Kind = "" }, []string{"genuine-hardware", "primary-evidence"}},
		{"unknown kind that says nothing", tpmClaims, func(c *attest.Claims) { c.Kind = "new" },
			[]string{"genuine-hardware", "primary-evidence", "no-debug", "vmpl-0", "no-migration-agent", "tcb-current", "collateral-current"}},
		{"bound false", snpClaims, func(c *attest.Claims) { c.Bound = attest.Ptr(false) }, []string{"bound"}},
		{"bound absent", tpmClaims, func(c *attest.Claims) { c.Bound = nil }, []string{"bound"}},
		{"device", snpClaims, gpu(func(d *attest.Claims) {}), nil},
		{"device not bound", snpClaims, gpu(func(d *attest.Claims) { d.Bound = nil }), []string{"bound"}},
		{"device without a root", snpClaims, gpu(func(d *attest.Claims) { d.HardwareRoot = "" }), []string{"genuine-hardware"}},
		{"device under the processor's root", snpClaims, gpu(func(d *attest.Claims) { d.HardwareRoot = "amd-genoa" }), []string{"genuine-hardware"}},
		{"device of tests", snpClaims, gpu(func(d *attest.Claims) { d.Kind, d.HardwareRoot = attest.SampleDevice, "" }), []string{"genuine-hardware"}},
		{"device that has devices", snpClaims, gpu(func(d *attest.Claims) { d.Devices = []attest.Claims{*d} }), []string{"primary-evidence"}},
		{"CPU as a device", snpClaims, func(c *attest.Claims) { device(c, *snpClaims()) }, []string{"primary-evidence"}},
		{"TPM as a device", snpClaims, func(c *attest.Claims) { device(c, *tpmClaims()) }, nil},
		{"unknown TPM as a device", snpClaims, func(c *attest.Claims) {
			d := tpmClaims()
			d.TPM.Enrolled = false
			device(c, *d)
		}, []string{"primary-evidence"}},
		{"TPM as a device without claims", snpClaims, func(c *attest.Claims) {
			device(c, attest.Claims{Kind: attest.TPM, Bound: attest.Ptr(true)})
		}, []string{"genuine-hardware", "primary-evidence"}},
		{"device of an unknown kind", snpClaims, gpu(func(d *attest.Claims) { d.Kind = "later" }), []string{"genuine-hardware", "primary-evidence"}},
		{"device in debug mode", snpClaims, gpu(func(d *attest.Claims) { d.Debug = attest.Ptr(true) }), []string{"no-debug"}},
		{"device out of date", snpClaims, gpu(func(d *attest.Claims) {
			d.TCBStatus, d.Collateral = "out-of-date", &attest.CollateralClaims{}
		}), []string{"tcb-current", "collateral-current"}},
		{"tdx", of(attest.TDX, "intel-sgx"), func(c *attest.Claims) { c.VMPL = nil }, nil},
		{"tdx that says nothing of migration", of(attest.TDX, "intel-sgx"), silent, []string{"no-migration-agent"}},
		{"tdx under AMD's root", of(attest.TDX, "amd-genoa"), func(c *attest.Claims) { c.VMPL = nil }, []string{"genuine-hardware"}},
		{"sgx", of(attest.SGX, "intel-sgx"), silent, nil},
		{"sgx that says nothing of debugging", of(attest.SGX, "intel-sgx"), func(c *attest.Claims) { c.Debug = nil }, []string{"no-debug"}},
		{"az-snp-vtpm", of(attest.AzSNPvTPM, "amd-milan"), func(c *attest.Claims) {}, nil},
		{"az-snp-vtpm that says nothing of its level", of(attest.AzSNPvTPM, "amd-milan"), silent, []string{"vmpl-0", "no-migration-agent"}},
		{"az-tdx-vtpm", of(attest.AzTDXvTPM, "intel-sgx"), func(c *attest.Claims) { c.VMPL = nil }, nil},
		{"nitro", of(attest.Nitro, "aws-nitro"), silent, nil},
		{"nitro that says nothing of its TCB", of(attest.Nitro, "aws-nitro"), func(c *attest.Claims) { c.TCBStatus = "" }, []string{"tcb-current"}},
		{"cca", of(attest.CCA, "arm-cca"), silent, nil},
		{"csv", of(attest.CSV, "hygon-csv"), func(c *attest.Claims) { c.VMPL = nil }, nil},
		{"se", of(attest.SE, "ibm-se"), silent, nil},
		{"gpu judged by NVIDIA's service", snpClaims, gpu(func(d *attest.Claims) { d.HardwareRoot = "configured-verifier" }), nil},
		{"gpu as primary", of(attest.NVIDIA, "nvidia-device"), func(c *attest.Claims) {}, []string{"primary-evidence"}},
		{"token of a verifier without a name", token, func(c *attest.Claims) { c.Token.Verifier = "" }, []string{"primary-evidence"}},
		{"token without a token's claims", token, func(c *attest.Claims) { c.Token = nil }, []string{"primary-evidence"}},
		{"token under a processor's root", token, func(c *attest.Claims) { c.HardwareRoot = "amd-genoa" }, []string{"genuine-hardware", "primary-evidence"}},
		{"token of a debug guest", token, func(c *attest.Claims) { c.Debug = attest.Ptr(true) }, []string{"no-debug"}},
		{"token that says nothing of debugging", token, func(c *attest.Claims) { c.Debug = nil }, []string{"no-debug"}},
		{"token that says its level", token, func(c *attest.Claims) { c.VMPL = attest.Ptr(2) }, []string{"vmpl-0"}},
		{"tcb needs hardening", snpClaims, func(c *attest.Claims) { c.TCBStatus = "sw-hardening-needed" }, nil},
		{"tcb needs configuration", snpClaims, func(c *attest.Claims) { c.TCBStatus = "configuration-needed" }, nil},
		{"tcb needs both", snpClaims, func(c *attest.Claims) { c.TCBStatus = "configuration-and-sw-hardening-needed" }, nil},
		{"tcb out of date and to configure", snpClaims, func(c *attest.Claims) { c.TCBStatus = "out-of-date-configuration-needed" }, []string{"tcb-current"}},
		{"tcb was out of date at launch", snpClaims, func(c *attest.Claims) { c.TCBStatus = "td-relaunch-advised" }, []string{"tcb-current"}},
		{"tcb was out of date at launch and to configure", snpClaims, func(c *attest.Claims) { c.TCBStatus = "td-relaunch-advised-configuration-needed" }, []string{"tcb-current"}},
		{"device as primary", sample, func(c *attest.Claims) { c.Kind = attest.SampleDevice }, []string{"genuine-hardware", "primary-evidence", "collateral-current"}},
		{"TPM not enrolled", tpmClaims, func(c *attest.Claims) { c.TPM.Enrolled = false }, []string{"primary-evidence", "collateral-current"}},
		{"TPM without a quote", tpmClaims, func(c *attest.Claims) { c.TPM = nil }, []string{"primary-evidence", "collateral-current"}},
		{"TPM certified by a cloud", tpmClaims, func(c *attest.Claims) {
			c.TPM.Enrolled, c.HardwareRoot, c.Collateral = false, "google-ak", &attest.CollateralClaims{Current: true}
		}, nil},
		{"TPM certified by a cloud, no collateral", tpmClaims, func(c *attest.Claims) { c.TPM.Enrolled, c.HardwareRoot = false, "google-ak" }, []string{"collateral-current"}},
		{"debug", snpClaims, func(c *attest.Claims) { c.Debug = attest.Ptr(true) }, []string{"no-debug"}},
		{"debug absent", snpClaims, func(c *attest.Claims) { c.Debug = nil }, []string{"no-debug"}},
		{"debug of a TPM", tpmClaims, func(c *attest.Claims) { c.Debug = attest.Ptr(true) }, []string{"no-debug"}},
		{"vmpl 1", snpClaims, func(c *attest.Claims) { c.VMPL = attest.Ptr(1) }, []string{"vmpl-0"}},
		{"vmpl negative", snpClaims, func(c *attest.Claims) { c.VMPL = attest.Ptr(-1) }, []string{"vmpl-0"}},
		{"vmpl absent", virtual, func(c *attest.Claims) { c.VMPL = nil }, []string{"vmpl-0"}},
		{"migration agent", snpClaims, func(c *attest.Claims) { c.MigrationAgent = attest.Ptr(true) }, []string{"no-migration-agent"}},
		{"migration agent absent", snpClaims, func(c *attest.Claims) { c.MigrationAgent = nil }, []string{"no-migration-agent"}},
		{"tcb out of date", snpClaims, func(c *attest.Claims) { c.TCBStatus = "out-of-date" }, []string{"tcb-current"}},
		{"tcb revoked", snpClaims, func(c *attest.Claims) { c.TCBStatus = "revoked" }, []string{"tcb-current"}},
		{"tcb unheard of", snpClaims, func(c *attest.Claims) { c.TCBStatus = "Up-To-Date" }, []string{"tcb-current"}},
		{"tcb absent", snpClaims, func(c *attest.Claims) { c.TCBStatus = "" }, []string{"tcb-current"}},
		{"tcb not published", snpClaims, func(c *attest.Claims) { c.TCBStatus = "not-published" }, nil},
		{"collateral expired", snpClaims, func(c *attest.Claims) { c.Collateral.Current = false }, []string{"collateral-current"}},
		{"collateral absent", snpClaims, func(c *attest.Claims) { c.Collateral = nil }, []string{"collateral-current"}},
		{"collateral of an enrolled TPM expired", tpmClaims, func(c *attest.Claims) { c.Collateral = &attest.CollateralClaims{} }, []string{"collateral-current"}},
		{"init-data not bound", snpClaims, func(c *attest.Claims) { c.InitDataBound = attest.Ptr(false) }, []string{"init-data-bound"}},
		{"init-data bound", snpClaims, func(c *attest.Claims) { c.InitDataBound = attest.Ptr(true) }, nil},
		{"init-data claims alone", snpClaims, func(c *attest.Claims) { c.InitDataClaims = map[string]string{"a": "b"} }, []string{"init-data-bound"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			claims := tc.claims()
			tc.change(claims)
			want := map[string]bool{}
			for _, rule := range tc.rules {
				want[BaselinePrefix+rule] = true
			}
			p := mustParse(t, document(t, `claims.kind != "x" || true`))
			result := p.Evaluate(request(claims))
			if result.Allow != (len(tc.rules) == 0) {
				t.Errorf("allow is %v", result.Allow)
			}
			for _, rule := range result.Rules {
				if failed := rule.Outcome != Pass; failed != want[rule.Rule] {
					t.Errorf("%s: %s %s", rule.Rule, rule.Outcome, rule.Message)
				}
			}
			// With every rule waived that can be, only bound is left, and what was waived shows.
			waived := mustParse(t, waiveAll(document(t, `claims.kind != "x" || true`)))
			result = waived.Evaluate(request(claims))
			if result.Allow != !want["baseline.bound"] {
				t.Errorf("all waived: allow is %v", result.Allow)
			}
			for _, rule := range result.Rules {
				if want[rule.Rule] && rule.Rule != "baseline.bound" && (rule.Outcome != Waived || rule.Reason != "a test" || rule.Message == "") {
					t.Errorf("all waived: %+v", rule)
				}
			}
		})
	}
}

// waiveAll adds a waiver of every rule that can be waived.
func waiveAll(doc string) string {
	doc += "  waive:\n"
	for _, rule := range Baseline() {
		if rule.Waivable {
			doc += "    - {rule: " + rule.Name + ", reason: a test}\n"
		}
	}
	return doc
}

func TestNothingToJudge(t *testing.T) {
	p := mustParse(t, waiveAll(document(t, `true`)))
	if result := p.Evaluate(Request{}); result.Allow {
		t.Error("no claims at all are allowed")
	}
	if result := new(Policy).Evaluate(Request{}); result.Allow {
		t.Error("the zero policy allows no claims")
	}
}

func TestEvidenceAge(t *testing.T) {
	p := mustParse(t, document(t, `true`)+"  release: {maxEvidenceAge: 1m}\n")
	for age, want := range map[string]Outcome{"0s": Pass, "1m0s": Pass, "1m0.000000001s": Fail, "-1ns": Error} {
		req := request(snpClaims())
		req.EvidenceAge = mustDuration(t, age)
		if got := outcome(t, p.Evaluate(req), "release.max-evidence-age"); got.Outcome != want {
			t.Errorf("age %s: %s, want %s", age, got.Outcome, want)
		}
	}
}
