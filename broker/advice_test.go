package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// TestExplainAdvises: why a rule refused, part by part, and what became of the reference value it looked for.
func TestExplainAdvises(t *testing.T) {
	image := strings.Repeat("0", 96)
	for name, test := range map[string]struct {
		put    []reference.Value
		retire bool
		want   string
		near   string
	}{
		"no such set": {nil, false, "there is no such set", ""},
		"another":     {[]reference.Value{{Value: strings.Repeat("ab", 48)}}, false, "it is not in the set, of which 1 values count", ""},
		"a slip":      {[]reference.Value{{Value: image[:95] + "1"}}, false, "it is not in the set, of which 1 values count", image[:95] + "1"},
		"staged":      {[]reference.Value{{Value: image, State: reference.Staged}}, false, "it is in the set, staged", ""},
		"retired":     {[]reference.Value{{Value: image}}, true, "it is in the set, retired", ""},
		"early":       {[]reference.Value{{Value: image, NotBefore: time.Now().Add(time.Hour)}}, false, "it is in the set, and counts from ", ""},
		"late":        {[]reference.Value{{Value: image, Expires: time.Now().Add(-time.Hour), NotBefore: time.Now().Add(-2 * time.Hour)}}, false, "it is in the set, and expired at ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := brokertest.Start(t, brokertest.Config{})
			b.PutSecret("a/b", []byte(plaintext))
			b.ApplyPolicy(document("p", "a/*", `claims.vmpl == 0 && claims.measurement in reference("images")`))
			g := newGuest(t, b.Broker, b.Device)
			if test.put != nil {
				if _, err := b.PutReferences(t.Context(), b.Admin, ns, "images", test.put); err != nil {
					t.Fatal(err)
				}
			}
			if test.retire {
				if _, err := b.RetireReferences(t.Context(), b.Admin, ns, "images", []string{image}); err != nil {
					t.Fatal(err)
				}
			}
			outcome, id := g.outcome("a/b")
			e, err := b.Explain(t.Context(), b.Admin, ns, id)
			if err != nil || outcome != broker.OutcomeDenied || len(e.Advice) != 1 || len(e.Advice[0].Refused) != 1 {
				t.Fatalf("%s: %+v, %v", outcome, e.Advice, err)
			}
			r := e.Advice[0].Refused[0]
			if r.Policy != "p" || r.Rule != "rule" || len(r.Parts) != 2 || r.Parts[0].Outcome != policy.Pass || r.Parts[1].Outcome == policy.Pass {
				t.Errorf("%+v", r)
			}
			if len(r.Compared) != 1 || !strings.HasPrefix(r.Compared[0].Why, test.want) || r.Compared[0].Value != image {
				t.Fatalf("%+v", r.Compared)
			}
			if near := r.Compared[0].Nearest; (near == nil) != (test.near == "") || near != nil && near.Value != test.near {
				t.Errorf("the nearest is %+v", near)
			}
		})
	}

	// And which let it pass, with where it came from, also when it was retired since.
	b := brokertest.Start(t, brokertest.Config{})
	b.PutSecret("a/b", []byte(plaintext))
	b.ApplyPolicy(document("p", "a/*", `claims.measurement in reference("images")`))
	if _, err := b.PutReferences(t.Context(), b.Admin, ns, "images", []reference.Value{{Value: image, Note: "release 2.1"}}); err != nil {
		t.Fatal(err)
	}
	outcome, id := newGuest(t, b.Broker, b.Device).outcome("a/b")
	if _, err := b.RetireReferences(t.Context(), b.Admin, ns, "images", []string{image}); err != nil {
		t.Fatal(err)
	}
	e, err := b.Explain(t.Context(), b.Admin, ns, id)
	if err != nil || outcome != broker.OutcomeReleased || len(e.Advice) != 1 || len(e.Advice[0].Matched) != 1 {
		t.Fatalf("%s: %+v, %v", outcome, e.Advice, err)
	}
	if m := e.Advice[0].Matched[0]; m.Set != "images" || m.Value.Value != image || m.Note != "release 2.1" || m.State != reference.Retired {
		t.Errorf("%+v", m)
	}
}

// TestDecisionsAreFound holds each filter against all decisions.
func TestDecisionsAreFound(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	b.PutSecret("c/d", []byte(plaintext))
	begin := time.Now().Add(-time.Second)
	if r, err := g.fetch("a/b", "c/d", "a/none"); err != nil || r.Results[0].Outcome != broker.OutcomeReleased {
		t.Fatal(err)
	}
	_, denied := g.outcome("c/d")
	b.ApplyPolicy(document("strict", "c/*", `claims.kind == "snp"`))
	_, strict := g.outcome("c/d")
	request := g.request(g.nonce())
	request.Evidence.Primary[40] ^= 1
	if _, err := b.Attest(t.Context(), request); codeOf(err) != broker.CodeEvidence {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		filter broker.DecisionFilter
		want   int
	}{
		"all":                       {broker.DecisionFilter{}, 4},
		"since":                     {broker.DecisionFilter{Since: begin}, 4},
		"from now on":               {broker.DecisionFilter{Since: time.Now().Add(time.Hour)}, 0},
		"until then":                {broker.DecisionFilter{Until: begin}, 0},
		"released":                  {broker.DecisionFilter{Outcome: broker.OutcomeReleased}, 1},
		"denied":                    {broker.DecisionFilter{Outcome: broker.OutcomeDenied}, 3},
		"refused":                   {broker.DecisionFilter{Outcome: broker.OutcomeRefused}, 1},
		"a secret":                  {broker.DecisionFilter{Secret: "c/d"}, 3},
		"below a path":              {broker.DecisionFilter{Secret: "a"}, 1},
		"not by a part of a name":   {broker.DecisionFilter{Secret: "a/n"}, 0},
		"a policy":                  {broker.DecisionFilter{Policy: "strict"}, 1},
		"a secret with its outcome": {broker.DecisionFilter{Secret: "a/none", Outcome: broker.OutcomeNotFound}, 1},
		"a code":                    {broker.DecisionFilter{Code: "no_policy"}, 2},
		"a code of one secret":      {broker.DecisionFilter{Secret: "a/b", Code: "no_policy"}, 0},
		"a kind":                    {broker.DecisionFilter{Kind: "snp"}, 0},
		"an address":                {broker.DecisionFilter{Remote: "192.0.2.7"}, 4},
		"another address":           {broker.DecisionFilter{Remote: "192.0.2.8"}, 0},
	} {
		var found []string
		for next, more := "", true; more; more = next != "" {
			page, after, err := b.Decisions(t.Context(), b.Admin, ns, test.filter, next, 1)
			if err != nil || len(page) > 1 {
				t.Fatalf("%s: %v, %v", name, page, err)
			}
			for _, d := range page {
				found = append(found, d.ID)
			}
			next = after
		}
		if len(found) != test.want {
			t.Errorf("%s: %d found, not %d (denied %s, strict %s)", name, len(found), test.want, denied, strict)
		}
	}
}
