package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/store"
)

// forWorkload is what a front end may show of an answer.
func forWorkload(r *broker.Release, err error) string {
	if err != nil {
		e := err.(*broker.Error)
		return fmt.Sprint(e.Code, " ", e.Message, " ", e.Decision)
	}
	var out strings.Builder
	for _, result := range r.Results {
		fmt.Fprintf(&out, "%s %s %s %v;", result.Secret, result.Outcome, result.ContentType, result.Lease)
	}
	return out.String()
}

// TestInvariant8TwoAnswers has workloads refused for every sort of reason: what they learn is one of a few words, and what the operator
// learns is the reason.
func TestInvariant8TwoAnswers(t *testing.T) {
	b, good := started(t, brokertest.Config{})
	b.ApplyPolicy(document("strict", "s/*", `claims.measurement == "`+strings.Repeat("ab", 48)+`"`))
	b.PutSecret("s/x", []byte(plaintext))
	debug, err := b.Device.With(func(c *virtual.Config) { c.Debug = true })
	if err != nil {
		t.Fatal(err)
	}
	suspect := newGuest(t, b.Broker, debug)

	damaged := func(at int) func() (*broker.Release, error) {
		return func() (*broker.Release, error) {
			request := good.request(good.nonce())
			request.Evidence.Primary[at] ^= 1
			r, _, err := b.AttestAndRelease(t.Context(), request, []broker.Want{{Secret: "a/b"}})
			return r, err
		}
	}
	refusals := map[attest.Code]func() (*broker.Release, error){
		attest.CodeSignature: damaged(0x90), // the measurement
		attest.CodeBinding:   damaged(0x50), // the report data
		attest.CodeMalformed: func() (*broker.Release, error) {
			request := good.request(good.nonce())
			request.Evidence.Primary = request.Evidence.Primary[:100]
			r, _, err := b.AttestAndRelease(t.Context(), request, []broker.Want{{Secret: "a/b"}})
			return r, err
		},
		attest.CodeTooLarge: func() (*broker.Release, error) {
			request := good.request(good.nonce())
			request.Evidence.Primary = make([]byte, attest.MaxEvidenceSize+1)
			r, _, err := b.AttestAndRelease(t.Context(), request, []broker.Want{{Secret: "a/b"}})
			return r, err
		},
		attest.CodeNotADevice: func() (*broker.Release, error) {
			request := good.request(good.nonce())
			request.Evidence.Devices = []attest.Device{{Kind: attest.Virtual, Data: request.Evidence.Primary}}
			r, _, err := b.AttestAndRelease(t.Context(), request, []broker.Want{{Secret: "a/b"}})
			return r, err
		},
	}
	told := map[string]bool{}
	for code, request := range refusals {
		r, err := request()
		e := wantCode(t, err, broker.CodeEvidence)
		if r != nil {
			t.Errorf("%s: %+v", code, r)
		}
		told[strings.ReplaceAll(forWorkload(r, err), e.Decision, "ID")] = true
		if d := explain(t, b, e.Decision); d.Refusal == nil || d.Refusal.Code != code || d.Refusal.Detail == "" || d.Outcome != broker.OutcomeRefused ||
			d.Claims != nil || d.Remote != "192.0.2.7" || !strings.HasPrefix(d.Evidence, "sha256:") {
			t.Errorf("%s: the operator is told %+v, %+v", code, d, d.Refusal)
		}
		// The cause is for the operator's log; the text of the answer has none of it.
		if strings.Contains(e.Message, string(code)) {
			t.Errorf("%s: the workload is told %q", code, e.Message)
		}
	}
	if len(told) != 1 {
		t.Errorf("refused evidence is told apart: %v", told)
	}

	told = map[string]bool{}
	for name, test := range map[string]struct {
		guest  *guest
		secret string
		by     string
		saw    string
	}{
		"no policy":           {good, "z/none", "", ""},
		"denied":              {good, "s/x", "rule", "claims.measurement"},
		"denied, not there":   {good, "s/y", "rule", "claims.measurement"},
		"denied by baseline":  {suspect, "a/b", "baseline.no-debug", "claims.debug"},
		"debug and not there": {suspect, "a/nothing", "baseline.no-debug", "claims.debug"},
	} {
		r, err := test.guest.fetch(test.secret)
		if err != nil {
			t.Fatal(err)
		}
		told[strings.ReplaceAll(forWorkload(r, nil), test.secret, "NAME")] = true
		d := explain(t, b, r.Decision).Secrets[0]
		if test.by == "" {
			if d.Code != string(policy.CodeNoPolicy) {
				t.Errorf("%s: %+v", name, d)
			}
			continue
		}
		found := false
		for _, rule := range d.Policies[0].Rules {
			if rule.Rule == test.by {
				found = true
				saw, err := rule.Saw.MarshalJSON()
				if rule.Outcome != policy.Fail || rule.That == "" || rule.Message == "" || err != nil || !strings.Contains(string(saw), test.saw) {
					t.Errorf("%s: the operator is told %+v, saw %s, %v", name, rule, saw, err)
				}
			}
		}
		if !found || d.Policies[0].Digest == "" || d.Policies[0].Version == 0 {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if len(told) != 1 {
		t.Errorf("denials are told apart, and so whether there is a secret: %v", told)
	}
}

// TestExplain asks for decisions in the wrong way, as the wrong people, and after they were tampered with.
func TestExplain(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	var ids []string
	for range 3 {
		r, err := g.fetch("a/b")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.Decision)
	}
	unknown, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		id   string
		code broker.Code
	}{
		"unknown":         {unknown.String(), broker.CodeNotFound},
		"empty":           {"", broker.CodeInvalid},
		"a path":          {"../token/x", broker.CodeInvalid},
		"upper case":      {strings.ToUpper(ids[0]), broker.CodeInvalid},
		"in braces":       {"{" + ids[0] + "}", broker.CodeInvalid},
		"with more":       {ids[0] + "/x", broker.CodeInvalid},
		"a megabyte of x": {strings.Repeat("x", 1<<20), broker.CodeInvalid},
	} {
		_, err := b.Explain(t.Context(), b.Admin, ns, test.id)
		if e := wantCode(t, err, test.code); len(e.Message) > 400 {
			t.Errorf("%s: a message of %d bytes", name, len(e.Message))
		}
	}
	for role, allowed := range map[access.Role]bool{
		access.Auditor: true, access.Author: true, access.Custodian: false, access.Approver: false, access.Operator: false, access.Enroller: false,
	} {
		who := access.Caller{Name: "x", Roles: access.SetOf(role), Namespace: ns}
		if _, err := b.Explain(t.Context(), who, ns, ids[0]); (err == nil) != allowed {
			t.Errorf("%s: %v", role, err)
		}
		if _, err := b.Explain(t.Context(), access.Caller{Name: "x", Roles: access.SetOf(role), Namespace: "other"}, ns, ids[0]); codeOf(err) != broker.CodeForbidden {
			t.Errorf("%s of another namespace: %v", role, err)
		}
	}

	// Pages.
	var listed []string
	for next, more := "", true; more; more = next != "" {
		var page []broker.DecisionSummary
		if page, next, err = b.Decisions(t.Context(), b.Admin, ns, broker.DecisionFilter{}, next, 2); err != nil {
			t.Fatal(err)
		}
		for _, d := range page {
			listed = append(listed, d.ID)
		}
	}
	if strings.Join(listed, " ") != strings.Join(ids, " ") {
		t.Errorf("listed %q, want %q", listed, ids)
	}

	// A record that was changed, by someone who can even seal it, is no explanation; nor is another's in its place.
	key := func(id string) string { return store.Key(ns, "decision", id) }
	record, err := b.Data.Store.Get(t.Context(), key(ids[0]))
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.Data.Store.Get(t.Context(), key(ids[1]))
	if err != nil {
		t.Fatal(err)
	}
	version := record.Version
	for name, value := range map[string]string{
		"another outcome":   strings.Replace(string(record.Value), `"outcome":"released"`, `"outcome":"denied"`, 1),
		"another entry":     strings.Replace(string(record.Value), `"index":`, `"index":1`, 1),
		"another's":         string(other.Value),
		"an added space":    strings.Replace(string(record.Value), `"decision":{`, `"decision":{ `, 1),
		"not JSON any more": string(record.Value[:len(record.Value)-1]),
		"empty":             "",
	} {
		if err := b.Data.Store.Apply(t.Context(), store.Write{Key: key(ids[0]), Version: version, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
		version++
		if e, err := b.Explain(t.Context(), b.Admin, ns, ids[0]); codeOf(err) != broker.CodeUnavailable {
			t.Errorf("%s: %+v, %v", name, e.Decision.Outcome, err)
		}
	}
	// A record copied to another namespace was not made there.
	if err := b.Data.Store.Apply(t.Context(), store.Write{Key: store.Key("other", "decision", ids[1]), Value: other.Value}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Explain(t.Context(), b.Admin, "other", ids[1]); codeOf(err) != broker.CodeUnavailable {
		t.Errorf("in another namespace: %v", err)
	}
	explain(t, b, ids[1])
}

// TestEvidenceAge holds releases in a session to the age that a policy allows.
func TestEvidenceAge(t *testing.T) {
	clock := newClock()
	b := brokertest.Start(t, brokertest.Config{Now: clock.now})
	b.PutSecret("a/b", []byte(plaintext))
	b.ApplyPolicy(document("p", "a/*", "claims.vmpl == 0", "  release: {maxEvidenceAge: 30s, lease: 10m}\n"))
	attested := newGuest(t, b.Broker, b.Device).attest()
	for _, step := range []struct {
		after time.Duration
		want  broker.Outcome
	}{{0, broker.OutcomeReleased}, {30 * time.Second, broker.OutcomeReleased}, {time.Second, broker.OutcomeDenied}, {-2 * time.Minute, broker.OutcomeDenied}} {
		clock.add(step.after)
		r, err := b.Release(t.Context(), attested, []broker.Want{{Secret: "a/b"}})
		if err != nil || r.Results[0].Outcome != step.want {
			t.Fatalf("after %v: %+v, %v", step.after, r, err)
		}
		if step.want == broker.OutcomeReleased && r.Results[0].Lease.Expires.Sub(r.Issued) != 10*time.Minute {
			t.Errorf("a lease of %v", r.Results[0].Lease.Expires.Sub(r.Issued))
		}
		if step.want == broker.OutcomeDenied {
			if failed := failing(explain(t, b, r.Decision)); len(failed) != 1 || failed[0] != "release.max-evidence-age" {
				t.Errorf("after %v: denied by %q", step.after, failed)
			}
		}
	}
}
