package policy

import (
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// document returns a policy document with the given rules, each an expression; they are named r0, r1 and so on.
func document(t testing.TB, that ...string) string {
	t.Helper()
	doc := "apiVersion: vouchsafe/v1\nkind: ReleasePolicy\nmetadata: {name: test}\nspec:\n  secrets: [\"**\"]\n  require:\n"
	for i, expression := range that {
		doc += "    - name: r" + string(rune('0'+i)) + "\n      that: |-\n        " + expression + "\n"
	}
	return doc
}

func mustParse(t testing.TB, source string) *Policy {
	t.Helper()
	p, err := Parse("test.yaml", []byte(source))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return p
}

// snpClaims are those of a good SEV-SNP guest.
func snpClaims() *attest.Claims {
	return &attest.Claims{
		Kind: attest.SNP, HardwareRoot: "amd-genoa", Bound: attest.Ptr(true), Measurement: "6a65", ReportData: "00ff",
		Debug: attest.Ptr(false), MigrationAgent: attest.Ptr(false), VMPL: attest.Ptr(0), TCBStatus: "up-to-date",
		Collateral: &attest.CollateralClaims{Current: true, Source: "evidence"},
		SNP: &attest.SNPClaims{
			ReportVersion: 3, Product: "Genoa", SigningKey: "vcek", GuestSVN: 2, CPUIDFamily: attest.Ptr(25),
			ReportedTCB: attest.TCBVersion{Bootloader: 9, Microcode: 0},
		},
	}
}

// tpmClaims are those of a good enrolled TPM.
func tpmClaims() *attest.Claims {
	return &attest.Claims{
		Kind: attest.TPM, HardwareRoot: "tpm-enrolled", Bound: attest.Ptr(true), ReportData: "00ff",
		TPM:  &attest.TPMClaims{AKName: "000b", Enrolled: true, Bank: "sha256", PCRs: map[int]string{7: "aa", 11: "bb"}},
		Boot: &attest.BootClaims{SecureBoot: attest.Ptr(true), CommandLine: "root=/dev/vda ro quiet", PCRs: []int{7}},
	}
}

var testNow = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func request(claims *attest.Claims) Request {
	return Request{Claims: claims, Secret: "payments/db/password", Time: testNow, EvidenceAge: time.Second,
		References: listedReferences{"images": {"6a65"}}}
}

// outcome returns the result of one rule.
func outcome(t testing.TB, result Result, rule string) RuleResult {
	t.Helper()
	for _, r := range result.Rules {
		if r.Rule == rule {
			return r
		}
	}
	t.Fatalf("no rule %s in %+v", rule, result.Rules)
	return RuleResult{}
}

// TestExpressions is what each expression says of an SNP guest and of a TPM. It holds the strict reading of invariant 3: whatever touches an absent
// claim is an error, whichever way it is written.
func TestExpressions(t *testing.T) {
	for _, tc := range []struct {
		that     string
		snp, tpm Outcome
	}{
		{`claims.kind == "snp"`, Pass, Fail},
		{`claims.kind in ["snp", "tpm"]`, Pass, Pass},
		{`!claims.debug`, Pass, Error},
		{`claims.debug == false`, Pass, Error},
		{`claims.debug != true`, Pass, Error},
		{`(claims.debug ? false : true)`, Pass, Error},
		{`claims.vmpl == 0`, Pass, Error},
		{`claims.vmpl < 1`, Pass, Error},
		{`claims.snp.guest_svn >= 0`, Pass, Error},
		{`claims.snp.current_tcb.microcode == 0`, Pass, Error},
		{`claims.measurement != "bad"`, Pass, Error},
		{`!(claims.measurement in ["bad"])`, Pass, Error},
		{`size(claims.measurement) < 100`, Pass, Error},
		{`claims.collateral.current`, Pass, Error},
		// Absorbed by CEL's own operators, refused here.
		{`claims.debug == false || claims.kind == "tpm"`, Pass, Error},
		{`claims.debug == false || true`, Pass, Error},
		{`!(claims.debug && false)`, Pass, Error},
		{`[1, 2].exists(i, claims.vmpl == 0 || i == 2)`, Pass, Error},
		{`[1, 2].exists(i, i == 2 ? true : claims.vmpl == 1)`, Pass, Error},
		{`!([1, 2].all(i, claims.vmpl == 0 && i == 3))`, Pass, Error},
		{`claims.tpm.pcrs[3] == "x" || true`, Error, Error},
		{`claims.boot.pcrs[5] == 7 || true`, Error, Error},
		{`1 / (claims.vmpl) == 1 || true`, Error, Error},
		{`"x" in reference("nowhere") || true`, Error, Error},
		{`!("x" in reference("nowhere"))`, Error, Error},
		// Not reached, so not touched.
		{`claims.kind == "tpm" || claims.debug == false`, Pass, Pass},
		{`claims.kind == "snp" && claims.debug == false`, Pass, Fail},
		{`claims.kind == "snp" ? claims.vmpl == 0 : claims.tpm.enrolled`, Pass, Pass},
		{`has(claims.vmpl)`, Pass, Fail},
		{`!has(claims.vmpl) || claims.vmpl == 0`, Pass, Pass},
		{`has(claims.snp) && has(claims.snp.chip_id)`, Fail, Fail},
		{`!has(claims.snp.chip_id)`, Pass, Error},
		{`has(claims.snp) && claims.snp.chip_id == ""`, Error, Fail},
		{`has(claims.snp) && has(claims.snp.current_tcb.fmc)`, Fail, Fail},
		{`has(claims.tpm) && 7 in claims.tpm.pcrs && claims.tpm.pcrs[7] == "aa"`, Fail, Pass},
		{`has(claims.boot) && claims.boot.command_line.matches("^root=[a-z/]+ ro .*$")`, Fail, Pass},
		{`has(claims.devices) && claims.devices.exists(d, d.kind == "sampledevice")`, Fail, Fail},
		{`claims.devices.all(d, d.kind == "snp")`, Error, Error},
		{`claims.kind == "tpm" || claims.measurement in reference("images")`, Pass, Pass},
		{`secret.startsWith("payments/") && evidence_age < duration("5s") && now < timestamp("2027-01-01T00:00:00Z")`, Pass, Pass},
		{`claims.kind != "snp" && claims.kind != "tpm"`, Fail, Fail},
		{`(claims.kind == "tpm" || claims.vmpl == 0) && (claims.kind == "snp" || claims.tpm.enrolled) && true`, Pass, Pass},
	} {
		p := mustParse(t, document(t, tc.that))
		for claims, want := range map[*attest.Claims]Outcome{snpClaims(): tc.snp, tpmClaims(): tc.tpm} {
			result := p.Evaluate(request(claims))
			got := outcome(t, result, "r0")
			if got.Outcome != want {
				t.Errorf("%s on %s: %s (%s), want %s", tc.that, claims.Kind, got.Outcome, got.Message, want)
			}
			if result.Allow != (want == Pass) {
				t.Errorf("%s on %s: allow %v, with outcome %s", tc.that, claims.Kind, result.Allow, want)
			}
		}
	}
}
