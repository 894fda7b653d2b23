package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/policy"
)

// document is a policy with one expression, and what else its spec has.
func document(name, secrets, that string, more ...string) string {
	return fmt.Sprintf(`apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: %s}
spec:
  secrets: [%q]
  require:
    - name: rule
      that: '%s'
      message: told to the operator only
%s`, name, secrets, that, strings.Join(more, "\n"))
}

// TestInvariant3DefaultDeny looks for a way to a secret that no policy gives.
func TestInvariant3DefaultDeny(t *testing.T) {
	for name, test := range map[string]struct {
		policies []string
		want     broker.Outcome
		code     policy.Code
	}{
		"no policy":                          {nil, broker.OutcomeDenied, policy.CodeNoPolicy},
		"a policy of others":                 {[]string{document("p", "b/*", `claims.kind == "virtual"`)}, broker.OutcomeDenied, policy.CodeNoPolicy},
		"a policy of the folder, not within": {[]string{document("p", "a", `claims.kind == "virtual"`)}, broker.OutcomeDenied, policy.CodeNoPolicy},
		"one that allows":                    {[]string{document("p", "a/*", `claims.kind == "virtual"`)}, broker.OutcomeReleased, policy.CodeAllowed},
		"one of two that allows": {[]string{document("p", "a/*", `claims.kind == "virtual"`), document("q", "a/b", `claims.kind == "snp"`)},
			broker.OutcomeDenied, policy.CodeDenied},
		"the other of two that allows": {[]string{document("p", "a/*", `claims.kind == "snp"`), document("q", "a/b", `claims.kind == "virtual"`)},
			broker.OutcomeDenied, policy.CodeDenied},
		"two that allow": {[]string{document("p", "a/*", `claims.vmpl == 0`), document("q", "**", `claims.kind == "virtual"`)},
			broker.OutcomeReleased, policy.CodeAllowed},
		"a claim that is absent":            {[]string{document("p", "a/*", `claims.snp.report_id_ma == ""`)}, broker.OutcomeDenied, policy.CodeDenied},
		"a claim that is absent, negated":   {[]string{document("p", "a/*", `!(claims.snp.report_id_ma == "x")`)}, broker.OutcomeDenied, policy.CodeDenied},
		"an index that is not there":        {[]string{document("p", "a/*", `claims.devices[0].kind != "x"`)}, broker.OutcomeDenied, policy.CodeDenied},
		"a reference set that is not there": {[]string{document("p", "a/*", `claims.measurement in reference("none")`)}, broker.OutcomeDenied, policy.CodeDenied},
		"not in a set that is not there":    {[]string{document("p", "a/*", `!(claims.measurement in reference("none"))`)}, broker.OutcomeDenied, policy.CodeDenied},
	} {
		t.Run(name, func(t *testing.T) {
			b := brokertest.Start(t, brokertest.Config{})
			b.PutSecret("a/b", []byte(plaintext))
			for _, source := range test.policies {
				b.ApplyPolicy(source)
			}
			g := newGuest(t, b.Broker, b.Device)
			r, err := g.fetch("a/b")
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Results[0].Outcome; got != test.want || (r.Results[0].Envelope != nil) != (test.want == broker.OutcomeReleased) {
				t.Fatalf("%s, want %s", got, test.want)
			}
			d := explain(t, b, r.Decision).Secrets[0]
			if d.Code != string(test.code) || d.Outcome != test.want {
				t.Errorf("the operator is told %s, %s", d.Code, d.Outcome)
			}
		})
	}
}

func TestInvariant3DraftsAndRetiredPoliciesDoNotCount(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{})
	b.PutSecret("a/b", []byte(plaintext))
	g := newGuest(t, b.Broker, b.Device)
	want := func(what string, want broker.Outcome) {
		t.Helper()
		if got, _ := g.outcome("a/b"); got != want {
			t.Fatalf("%s: %s, want %s", what, got, want)
		}
	}
	if _, err := b.Broker.ApplyPolicy(t.Context(), b.Admin, ns, "p", []byte(document("p", "a/*", `claims.vmpl == 0`)), true); err != nil {
		t.Fatal(err)
	}
	want("a draft", broker.OutcomeDenied)
	if _, err := b.ActivatePolicy(t.Context(), b.Admin, ns, "p", 1); err != nil {
		t.Fatal(err)
	}
	want("activated", broker.OutcomeReleased)
	if _, err := b.Broker.ApplyPolicy(t.Context(), b.Admin, ns, "p", []byte(document("p", "a/*", `claims.vmpl == 1`)), true); err != nil {
		t.Fatal(err)
	}
	want("a stricter draft beside it", broker.OutcomeReleased)
	if _, err := b.ActivatePolicy(t.Context(), b.Admin, ns, "p", 2); err != nil {
		t.Fatal(err)
	}
	want("the stricter one", broker.OutcomeDenied)
	if _, err := b.ActivatePolicy(t.Context(), b.Admin, ns, "p", 1); err != nil {
		t.Fatal(err)
	}
	want("the first again", broker.OutcomeReleased)
	if _, err := b.ActivatePolicy(t.Context(), b.Admin, ns, "p", 0); err != nil {
		t.Fatal(err)
	}
	want("retired", broker.OutcomeDenied)
	_, err := b.ActivatePolicy(t.Context(), b.Admin, ns, "p", 9)
	wantCode(t, err, broker.CodeNotFound)

	var types []string
	for _, e := range events(t, b) {
		if strings.HasPrefix(e.Type, "policy.") {
			types = append(types, fmt.Sprint(e.Type, " ", e.Version, " ", e.Activated))
		}
	}
	if expected := []string{"policy.draft 1 false", "policy.activate 1 true", "policy.draft 2 false", "policy.activate 2 true",
		"policy.activate 1 true", "policy.retire 1 false"}; !slices.Equal(types, expected) {
		t.Errorf("the log says %q", types)
	}
}

// TestInvariant4AbsenceIsNeverConsent takes guests that are not as the baseline wants them through the whole broker, with a policy that has nothing
// against them.
func TestInvariant4AbsenceIsNeverConsent(t *testing.T) {
	b, _ := started(t, brokertest.Config{})
	for rule, change := range map[string]func(*virtual.Config){
		"no-debug":           func(c *virtual.Config) { c.Debug = true },
		"vmpl-0":             func(c *virtual.Config) { c.VMPL = 2 },
		"no-migration-agent": func(c *virtual.Config) { c.MigrationAgent = true },
	} {
		t.Run(rule, func(t *testing.T) {
			device, err := b.Device.With(change)
			if err != nil {
				t.Fatal(err)
			}
			g := newGuest(t, b.Broker, device)
			b.ApplyPolicy(brokertest.AllowVirtual("a/*"))
			outcome, id := g.outcome("a/b")
			if outcome != broker.OutcomeDenied {
				t.Fatalf("%s", outcome)
			}
			failed := failing(explain(t, b, id))
			if !slices.Equal(failed, []string{policy.BaselinePrefix + rule}) {
				t.Errorf("it failed by %q", failed)
			}

			// Waived by name, with a reason, it is released; and that it was shows in record and listing.
			const reason = "a debugging session with the auditor watching"
			waiver := fmt.Sprintf("  waive:\n    - {rule: %s, reason: %s}\n", rule, reason)
			b.ApplyPolicy(brokertest.AllowVirtual("a/*") + waiver)
			outcome, id = g.outcome("a/b")
			if outcome != broker.OutcomeReleased {
				t.Fatalf("with a waiver: %s", outcome)
			}
			rules := explain(t, b, id).Secrets[0].Policies[0].Rules
			if !slices.ContainsFunc(rules, func(r policy.RuleResult) bool {
				return r.Rule == policy.BaselinePrefix+rule && r.Outcome == policy.Waived && r.Reason == reason && r.Message != ""
			}) {
				t.Errorf("the record does not show the waiver: %+v", rules)
			}
			list, _, err := b.Policies(t.Context(), b.Admin, ns, "", 0)
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			v := list[0].Versions[len(list[0].Versions)-1]
			if len(v.Waivers) != 1 || v.Waivers[0].Rule != rule && v.Waivers[0].Rule != policy.BaselinePrefix+rule || v.Waivers[0].Reason != reason {
				t.Errorf("the listing does not show the waiver: %+v", v)
			}
			// It waives one rule, not the others.
			worse, err := device.With(func(c *virtual.Config) { c.Debug, c.VMPL = true, 3 })
			if err != nil {
				t.Fatal(err)
			}
			if outcome, _ := newGuest(t, b.Broker, worse).outcome("a/b"); outcome != broker.OutcomeDenied {
				t.Errorf("one waiver lets a worse guest have it: %s", outcome)
			}
		})
	}
}

// TestInvariant4WaiversAreNamed holds that no waiver goes without a rule's name and a reason, and that binding cannot be waived.
func TestInvariant4WaiversAreNamed(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{})
	for name, waiver := range map[string]string{
		"no reason":    "  waive:\n    - {rule: no-debug}\n",
		"empty reason": "  waive:\n    - {rule: no-debug, reason: \"\"}\n",
		"everything":   "  waive:\n    - {rule: \"*\", reason: because}\n",
		"unknown":      "  waive:\n    - {rule: no-bugs, reason: because}\n",
		"bound":        "  waive:\n    - {rule: bound, reason: because}\n",
		"a flag":       "  waive: true\n",
	} {
		_, err := b.Broker.ApplyPolicy(t.Context(), b.Admin, ns, "p", []byte(brokertest.AllowVirtual("a/*")+waiver), false)
		if codeOf(err) != broker.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// failing returns the rules of a decision's first secret that did not pass.
func failing(d broker.Decision) []string {
	var out []string
	for _, p := range d.Secrets[0].Policies {
		for _, r := range p.Rules {
			if r.Outcome != policy.Pass && r.Outcome != policy.Waived {
				out = append(out, r.Rule)
			}
		}
	}
	return out
}
