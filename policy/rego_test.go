package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/policy"
)

const needsRego = `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: kbs}
spec:
  secrets: ["*/*/*"]
  rego: required
`

// TestRego holds that the Rego resource policy joins the release policies, that all must allow, and that a policy which relies on it refuses without it.
func TestRego(t *testing.T) {
	relies := parseGood(t, needsRego)
	if !relies.NeedsRego() {
		t.Error("the policy does not say that it needs Rego")
	}
	alone := parseGood(t, strings.Replace(strings.Replace(needsRego, "  rego: required\n", "  require: [{name: yes, that: 'claims.kind == \"snp\"'}]\n", 1), "kbs", "other", 1))
	claims := &attest.Claims{
		Kind: attest.SNP, HardwareRoot: "amd-genoa", Bound: attest.Ptr(true), Debug: attest.Ptr(false), MigrationAgent: attest.Ptr(false),
		VMPL: attest.Ptr(0), TCBStatus: attest.TCBUpToDate, Collateral: &attest.CollateralClaims{Current: true}, SNP: &attest.SNPClaims{},
	}
	says := func(allow bool) func() policy.Result {
		return func() policy.Result {
			outcome := policy.Fail
			if allow {
				outcome = policy.Pass
			}
			return policy.Result{Policy: "rego/resource-policy", Version: 7, Digest: "sha256:00", Allow: allow, Rules: []policy.RuleResult{{Rule: "allow", Outcome: outcome}}}
		}
	}
	bad := *claims
	bad.Debug = attest.Ptr(true)
	digests := map[string]bool{}
	for _, c := range []struct {
		name   string
		policy *policy.Policy
		claims *attest.Claims
		secret string
		rego   func() policy.Result
		code   policy.Code
	}{
		{"relies, allows", relies, claims, "a/b/c", says(true), policy.CodeAllowed},
		{"relies, refuses", relies, claims, "a/b/c", says(false), policy.CodeDenied},
		{"relies on none", relies, claims, "a/b/c", nil, policy.CodeDenied},
		{"relies, allows, baseline broken", relies, &bad, "a/b/c", says(true), policy.CodeDenied},
		{"beside, allows", alone, claims, "a/b/c", says(true), policy.CodeAllowed},
		{"beside, refuses", alone, claims, "a/b/c", says(false), policy.CodeDenied},
		{"beside none", alone, claims, "a/b/c", nil, policy.CodeAllowed},
		{"no policy", relies, claims, "a/b", says(true), policy.CodeNoPolicy},
	} {
		set, err := policy.NewSet([]policy.Active{{Policy: c.policy, Version: 1}})
		if err != nil {
			t.Fatal(err)
		}
		j := set.Judge(policy.Request{Claims: c.claims, Secret: c.secret, Time: time.Unix(1e9, 0), EvidenceAge: time.Second, Rego: c.rego})
		if j.Code != c.code || j.Allow != (c.code == policy.CodeAllowed) {
			t.Errorf("%s: %v %s: %+v", c.name, j.Allow, j.Code, j.Results)
		}
		if c.code == policy.CodeAllowed && digests[j.Digest] {
			t.Errorf("%s: the digest does not say which policies judged", c.name)
		}
		digests[j.Digest] = true
	}
	tested := needsRego + `tests:
  - {name: allowed, claims: {values: CLAIMS}, rego: allow, expect: allow}
  - {name: denied, claims: {values: CLAIMS}, rego: deny, expect: deny, by: rego.required}
  - {name: none, claims: {values: CLAIMS}, expect: deny, by: rego.required}
`
	tested = strings.ReplaceAll(tested, "CLAIMS", `{kind: snp, hardware_root: amd-genoa, debug: false, migration_agent: false, vmpl: 0, tcb_status: up-to-date, collateral: {current: true}}`)
	for _, result := range policy.RunTests(parseGood(t, tested), nil) {
		if !result.Pass {
			t.Errorf("%s: %s", result.Name, result.Detail)
		}
	}
	if _, err := policy.Parse("x.yaml", []byte(strings.Replace(tested, "rego: deny", "rego: maybe", 1))); err == nil {
		t.Error("a test in which Rego says maybe is taken")
	}
	for _, wrong := range []string{"rego: optional", "rego: true", "rego: [required]", "rego: required\n  rego: required"} {
		if _, err := policy.Parse("x.yaml", []byte(strings.Replace(needsRego, "rego: required", wrong, 1))); err == nil {
			t.Errorf("%s: taken", wrong)
		}
	}
}

func parseGood(t *testing.T, source string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("x.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return p
}
