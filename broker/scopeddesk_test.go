package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

// twoEverywhere wants two approvals for every policy.
const twoEverywhere = `apiVersion: vouchsafe/v1
kind: ApprovalRules
spec:
  rules:
    - {name: all, secrets: ["**"], references: [theirs], approvals: 2, breakGlass: 2}
  changes: {approvals: 2, breakGlass: 3}
`

// member is somebody of a team with the roles of everyone who works with policies, for paths, who was authenticated by OIDC.
func (o *office) member(subject string, paths ...string) access.Caller {
	o.t.Helper()
	who := o.person(subject)
	scope, err := access.ParseScope(paths...)
	o.must(err)
	who.Roles, who.Scope = access.SetOf(access.Custodian, access.Author, access.Approver, access.Auditor), scope
	return who
}

// TestScopedDesk is a change that a team makes of a policy of its own, from the draft to what is undone, with nobody who has more than the team's paths.
func TestScopedDesk(t *testing.T) {
	o := openOffice(t, twoEverywhere)
	ctx := t.Context()
	author, alice := o.member("amy", "payments"), o.member("alice", "payments", "hr")
	bob := scopedTo(t, o.Broker, []string{"payments/"}, access.Approver) // by a token
	draft := func(description string) broker.Change {
		info, err := o.PutPolicy(ctx, author, ns, broker.PutPolicy{Source: []byte(o.document("pay", "payments/*", description)), Reason: "because"})
		o.must(err)
		return broker.Change{Type: broker.ChangePolicyActivate, Name: "pay", Version: info.Versions[len(info.Versions)-1].Version}
	}
	active := func() uint64 {
		info, _, err := o.Policy(ctx, author, ns, "pay", 0)
		o.must(err)
		return info.Active
	}
	activate := func(p broker.Proposal, how broker.Activation) error {
		return second(o.ActivateProposal(ctx, alice, ns, p.ID, how))
	}

	p, err := o.Propose(ctx, author, ns, draft("one"), "because")
	o.must(err)
	if p.State != broker.ProposalOpen || !slices.Equal(p.Standing.Rules, []string{"all"}) {
		t.Errorf("%+v", p)
	}
	wantCode(t, o.approveAs(author, p), broker.CodeForbidden) // an author is no approver, with a scope either
	wantCode(t, second(o.ActivatePolicy(ctx, alice, ns, "pay", 1)), broker.CodeApproval)
	wantCode(t, activate(p, broker.Activation{}), broker.CodeApproval)
	o.must(o.approveAs(alice, p))
	wantCode(t, activate(p, broker.Activation{}), broker.CodeApproval)
	o.must(o.approveAs(bob, p))
	got, err := o.Proposal(ctx, author, ns, p.ID)
	o.must(err)
	if got.State != broker.ProposalApproved || !slices.Equal(got.Approvals[0].Scope, access.Scope{"payments/"}) {
		t.Errorf("%+v", got) // where else alice works is not the team's to know
	}
	o.must(activate(p, broker.Activation{}))

	next, err := o.Propose(ctx, author, ns, draft("two"), "because")
	o.must(err)
	list, err := o.Proposals(ctx, author, ns, false)
	if err != nil || len(list) != 1 || list[0].ID != next.ID {
		t.Errorf("%v %v", list, err)
	}
	o.must(second(o.WithdrawProposal(ctx, author, ns, next.ID, "no")))

	// Break-glass, and who acknowledges it.
	glass, err := o.Propose(ctx, author, ns, broker.Change{Type: broker.ChangePolicyActivate, Name: "pay", Version: 2}, "because")
	o.must(err)
	for _, who := range []access.Caller{alice, bob} {
		o.must(second(o.ApproveProposal(ctx, who, ns, glass.ID, glass.Digest, true)))
	}
	o.must(activate(glass, broker.Activation{BreakGlass: true, Reason: "it burns"}))
	if active() != 2 {
		t.Error(active())
	}
	if info, _, err := o.Policies(ctx, author, ns, "", 0); err != nil || len(info) != 1 || len(info[0].Broken) != 1 {
		t.Errorf("%+v %v", info, err)
	}
	wantCode(t, second(o.AcknowledgeBreakGlass(ctx, alice, ns, glass.ID, "seen")), broker.CodeForbidden) // who had a hand in it
	o.must(second(o.AcknowledgeBreakGlass(ctx, o.member("zoe", "payments/"), ns, glass.ID, "seen")))

	if info, err := o.RollBack(ctx, alice, ns, "pay", 0, "back"); err != nil || info.Active != 1 {
		t.Errorf("%+v %v", info, err)
	}
	h, err := o.PolicyHistory(ctx, author, ns, "pay")
	o.must(err)
	if len(h.Proposals) != 3 || len(h.Steps) != 13 {
		t.Errorf("%d proposals, %d steps: %+v", len(h.Proposals), len(h.Steps), h.Steps)
	}
}

// records is every record of the namespace, with its version.
func (o *office) records() string {
	o.t.Helper()
	entries, err := o.Data.Store.List(context.Background(), ns+"/", "", 1000)
	o.must(err)
	return fmt.Sprint(entries)
}

// TestScopedDeskHidesOthers tries everything at the desk, by somebody of a team with all roles, on changes that do not lie in the team's paths. All of it is answered
// as it is for what there is not, and changes nothing.
func TestScopedDeskHidesOthers(t *testing.T) {
	// Each makes what is not the team's, and says what it is called and of which version there is a draft.
	policyWith := func(patterns ...string) func(o *office) broker.Change {
		return func(o *office) broker.Change {
			var c broker.Change
			for i, pattern := range patterns {
				c = broker.Change{Type: broker.ChangePolicyActivate, Name: "theirs", Version: o.put(o.document("theirs", pattern, fmt.Sprint("v", i)))}
			}
			return c
		}
	}
	two := func(o *office) broker.Change {
		source := strings.Replace(o.document("theirs", "payments/*", "x"), `["payments/*"]`, `["payments/*", "other/x"]`, 1)
		return broker.Change{Type: broker.ChangePolicyActivate, Name: "theirs", Version: o.put(source)}
	}
	for name, propose := range map[string]func(o *office) broker.Change{
		"a path that begins alike": policyWith("payments2/**"),
		"everything":               policyWith("**"),
		"a star before":            policyWith("*/x"),
		"a star for the segment":   policyWith("*"),
		"one pattern of two":       two,
		"an older version":         policyWith("other/x", "payments/*"),
		"a later draft":            policyWith("payments/*", "other/x"),
		"what is above":            policyWith("payments/**", "*/**"),
		"to retire one":            func(o *office) broker.Change { return broker.Change{Type: broker.ChangePolicyRetire, Name: "root-key"} },
		"reference values": func(*office) broker.Change {
			return broker.Change{Type: broker.ChangeReferencePut, Name: "theirs", Values: []reference.Value{{Value: "x"}}}
		},
		"the rules of approval":      func(*office) broker.Change { return broker.Change{Type: broker.ChangeRulesRetire} },
		"a draft of two, the former": func(o *office) broker.Change { c := policyWith("payments/a", "payments2/a")(o); c.Version--; return c },
	} {
		t.Run(name, func(t *testing.T) {
			o := openOffice(t, twoEverywhere)
			ctx := t.Context()
			change := propose(o)
			p := o.proposeChange(change)
			who := o.member("mallory", "payments/")
			policyName := change.Name
			if change.Type == broker.ChangeReferencePut || change.Type == broker.ChangeRulesRetire {
				policyName = "root-key"
			}
			calls := map[string]func(id, name string) error{
				"Proposal":                       func(id, _ string) error { return second(o.Proposal(ctx, who, ns, id)) },
				"ApproveProposal":                func(id, _ string) error { return second(o.ApproveProposal(ctx, who, ns, id, p.Digest, false)) },
				"ApproveProposal another digest": func(id, _ string) error { return second(o.ApproveProposal(ctx, who, ns, id, "x", false)) },
				"ApproveProposal glass":          func(id, _ string) error { return second(o.ApproveProposal(ctx, who, ns, id, p.Digest, true)) },
				"WithdrawProposal":               func(id, _ string) error { return second(o.WithdrawProposal(ctx, who, ns, id, "x")) },
				"ActivateProposal":               func(id, _ string) error { return second(o.ActivateProposal(ctx, who, ns, id, broker.Activation{})) },
				"ActivateProposal glass": func(id, _ string) error {
					return second(o.ActivateProposal(ctx, who, ns, id, broker.Activation{BreakGlass: true, Reason: "x"}))
				},
				"AcknowledgeBreakGlass": func(id, _ string) error { return second(o.AcknowledgeBreakGlass(ctx, who, ns, id, "x")) },
				"Propose": func(_, name string) error {
					return second(o.Propose(ctx, who, ns, broker.Change{Type: broker.ChangePolicyActivate, Name: name, Version: 1}, "x"))
				},
				"Propose retire": func(_, name string) error {
					return second(o.Propose(ctx, who, ns, broker.Change{Type: broker.ChangePolicyRetire, Name: name}, "x"))
				},
				"RollBack":         func(_, name string) error { return second(o.RollBack(ctx, who, ns, name, 0, "x")) },
				"RollBack version": func(_, name string) error { return second(o.RollBack(ctx, who, ns, name, 1, "x")) },
				"PolicyHistory":    func(_, name string) error { return second(o.PolicyHistory(ctx, who, ns, name)) },
				"ActivatePolicy":   func(_, name string) error { return second(o.ActivatePolicy(ctx, who, ns, name, 1)) },
				"RetirePolicy":     func(_, name string) error { return second(o.ActivatePolicy(ctx, who, ns, name, 0)) },
				"Policy": func(_, name string) error {
					_, _, err := o.Policy(ctx, who, ns, name, 1)
					return err
				},
			}
			tryAll := func(when string) {
				t.Helper()
				const noID, noName = "00000000000000000000000000000000", "there-is-no-such"
				before := o.records()
				for what, call := range calls {
					e, unknown := wantCode(t, call(p.ID, policyName), broker.CodeNotFound), wantCode(t, call(noID, noName), broker.CodeNotFound)
					text := strings.NewReplacer(p.ID, noID, policyName, noName).Replace(e.Message)
					if text != unknown.Message || !strings.Contains(text, "payments/") {
						t.Errorf("%s %s: %q, and of what there is not %q", what, when, text, unknown.Message)
					}
				}
				for _, all := range []bool{false, true} {
					if list, err := o.Proposals(ctx, who, ns, all); err != nil || len(list) != 0 {
						t.Errorf("%s: %+v, %v", when, list, err)
					}
				}
				if page, more, err := o.Policies(ctx, who, ns, "", 1); err != nil || more || len(page) != 0 {
					t.Errorf("%s: %+v %v %v", when, page, more, err)
				}
				// To take the name, or to have it judged with what is there, tells at most that it is taken.
				mine := []byte(document(policyName, "payments/x", "true"))
				for what, err := range map[string]error{
					"PutPolicy":   second(o.PutPolicy(ctx, who, ns, broker.PutPolicy{Source: mine})),
					"ApplyPolicy": o.ApplyPolicyAs(who, string(mine)),
					"Replay":      second(o.Replay(ctx, who, ns, broker.Replay{Source: mine}, nil)),
				} {
					if e := wantCode(t, err, broker.CodeForbidden); !strings.Contains(e.Message, "payments/") || strings.Contains(e.Message, "other/") || strings.Contains(e.Message, "root/") {
						t.Errorf("%s %s: %v", what, when, e)
					}
				}
				if after := o.records(); after != before {
					t.Errorf("%s: the records changed from %s to %s", when, before, after)
				}
			}
			tryAll("while it is open")
			o.approve(p, "bob", "carol")
			tryAll("when it is approved")
			if change.Type != broker.ChangeRulesRetire { // for which it takes three
				o.must(second(o.ActivateProposal(ctx, o.person("anyone"), ns, p.ID, broker.Activation{BreakGlass: true, Reason: "it burns"})))
				tryAll("when glass was broken")
			}
		})
	}
}

// TestScopedDeskIsForPolicies: values and rules belong to the whole namespace.
func TestScopedDeskIsForPolicies(t *testing.T) {
	o := openOffice(t, twoEverywhere)
	ctx, who := t.Context(), o.member("mallory", "payments/")
	before := o.records()
	for what, err := range map[string]error{
		"values":         second(o.Propose(ctx, who, ns, broker.Change{Type: broker.ChangeReferencePut, Name: "x", Values: []reference.Value{{Value: "x"}}}, "x")),
		"retired values": second(o.Propose(ctx, who, ns, broker.Change{Type: broker.ChangeReferenceRetire, Name: "x", Retire: []string{"x"}}, "x")),
		"rules":          second(o.Propose(ctx, who, ns, broker.Change{Type: broker.ChangeRulesActivate, Version: 1}, "x")),
		"retired rules":  second(o.Propose(ctx, who, ns, broker.Change{Type: broker.ChangeRulesRetire}, "x")),
		"another":        second(o.Propose(ctx, who, ns, broker.Change{Type: "x"}, "x")),
		"a draft":        second(o.PutApprovalRules(ctx, who, ns, broker.PutPolicy{Source: []byte(twoEverywhere)})),
		"history":        second(o.ApprovalRulesHistory(ctx, who, ns)),
		"apply":          o.applyAs(who, broker.Apply{DryRun: true}, document("mine", "payments/x", "true")),
	} {
		if e := wantCode(t, err, broker.CodeForbidden); !strings.Contains(e.Message, "payments/") {
			t.Errorf("%s: %v", what, e)
		}
	}
	if after := o.records(); after != before {
		t.Error(after)
	}
}

// TestScopeIsLeftBetween: a draft that goes beyond the paths, added between the approvals and the activation, takes the policy away from whoever has only those.
func TestScopeIsLeftBetween(t *testing.T) {
	o := openOffice(t, twoEverywhere)
	ctx := t.Context()
	author, alice := o.member("amy", "payments"), o.member("alice", "payments", "hr")
	bob := scopedTo(t, o.Broker, []string{"payments/"}, access.Approver)
	o.must(second(o.PutPolicy(ctx, author, ns, broker.PutPolicy{Source: []byte(document("pay", "payments/*", "true"))})))
	p, err := o.Propose(ctx, author, ns, broker.Change{Type: broker.ChangePolicyActivate, Name: "pay", Version: 1}, "because")
	o.must(err)
	o.must(o.approveAs(alice, p))
	o.must(o.approveAs(bob, p))
	if got, err := o.Proposal(ctx, author, ns, p.ID); err != nil || got.State != broker.ProposalApproved {
		t.Fatalf("%+v %v", got, err)
	}
	o.put(o.document("pay", "hr/*", "beyond"))
	for _, who := range []access.Caller{author, bob} {
		wantCode(t, second(o.Proposal(ctx, o.member("reader", who.Scope...), ns, p.ID)), broker.CodeNotFound)
	}
	for what, err := range map[string]error{
		"activate": second(o.ActivateProposal(ctx, bob, ns, p.ID, broker.Activation{})),
		"withdraw": second(o.WithdrawProposal(ctx, author, ns, p.ID, "x")), // one's own, too
		"approve":  o.approveAs(bob, p),
	} {
		t.Run(what, func(t *testing.T) { wantCode(t, err, broker.CodeNotFound) })
	}
	// The approvals do not count any more, whoever activates.
	o.refused(p, broker.CodeApproval, "0 of 2")
	got, err := o.Proposal(ctx, o.Admin, ns, p.ID)
	o.must(err)
	for _, a := range got.Approvals {
		if !strings.Contains(a.Not, "some paths") {
			t.Errorf("%+v", a)
		}
	}
	// Who sees all of it may approve it anew.
	o.must(o.approveAs(alice, p))
	o.approve(p, "carol")
	o.must(o.activate(p))
}

// TestScopedTokenApproves: the approval of a token counts as far as the token reaches, and no longer than it is there.
func TestScopedTokenApproves(t *testing.T) {
	o := openOffice(t, strings.Replace(twoEverywhere, "approvals: 2, breakGlass: 2}", "approvals: 1}", 1))
	ctx := t.Context()
	token, record, err := o.Broker.Broker.CreateToken(ctx, o.Admin, access.Request{
		Name: "bob", Roles: access.SetOf(access.Approver), Namespace: ns, Scope: access.Scope{"root/"},
	})
	o.must(err)
	bob := authenticated(t, o.Broker, token.Reveal())
	p := o.propose("two")
	o.must(o.approveAs(bob, p))
	if got, err := o.Proposal(ctx, bob, ns, p.ID); err != nil || got.State != broker.ProposalApproved {
		t.Fatalf("%+v %v", got, err)
	}
	o.must(o.RevokeToken(ctx, o.Admin, record.ID))
	o.refused(p, broker.CodeApproval, "0 of 1")
}

// TestScopedProposerLearnsNoCount: that the desk is full is said without how many proposals are whose.
func TestScopedProposerLearnsNoCount(t *testing.T) {
	o := openOffice(t, twoEverywhere)
	ctx, who := t.Context(), o.member("amy", "payments/")
	for i := range broker.MaxOpenByOne {
		name := fmt.Sprint("mine-", i)
		o.must(second(o.PutPolicy(ctx, who, ns, broker.PutPolicy{Source: []byte(document(name, "payments/x", "true"))})))
		o.must(second(o.Propose(ctx, who, ns, broker.Change{Type: broker.ChangePolicyActivate, Name: name, Version: 1}, "x")))
	}
	o.propose("theirs")
	o.must(second(o.PutPolicy(ctx, who, ns, broker.PutPolicy{Source: []byte(document("mine", "payments/x", "true"))})))
	e := wantCode(t, second(o.Propose(ctx, who, ns, broker.Change{Type: broker.ChangePolicyActivate, Name: "mine", Version: 1}, "x")), broker.CodeConflict)
	if strings.Contains(e.Message, fmt.Sprint(broker.MaxOpenByOne+1)) {
		t.Error(e)
	}
	list, err := o.Proposals(ctx, who, ns, true)
	if err != nil || len(list) != broker.MaxOpenByOne {
		t.Errorf("%d %v", len(list), err)
	}
}

// TestScopedReplay: a draft of a team's is tried on requests for the team's secrets, and the report has nothing of others.
func TestScopedReplay(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	ctx := t.Context()
	b.ApplyPolicy(brokertest.AllowVirtual("**"))
	for _, name := range []string{"payments/db", "other/db"} {
		b.PutSecret(name, []byte("x"))
	}
	before := time.Now().Add(-time.Minute)
	fetch := func(names ...string) {
		t.Helper()
		if _, err := g.fetch(names...); err != nil {
			t.Fatal(err)
		}
	}
	fetch("payments/db")
	fetch("payments/db", "other/db")
	fetch("payments/none")
	fetch("other/db")
	fetch("a/b")
	g.attest()
	// A record that cannot be read is nobody's.
	key := store.Key(ns, "decision", "ffffffff-ffff-7fff-bfff-ffffffffffff")
	if err := b.Data.Store.Apply(ctx, store.Write{Key: key, Value: []byte("{")}); err != nil {
		t.Fatal(err)
	}
	who := scopedTo(t, b, []string{"payments/"}, access.Author)
	replay := func(who access.Caller, pattern, that string) *broker.ReplayReport {
		t.Helper()
		r, err := b.Replay(ctx, who, ns, broker.Replay{Source: []byte(document("draft", pattern, that)), Since: before, Until: time.Now().Add(20000 * 24 * time.Hour)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := replay(who, "payments/db", "false")
	if r.Decisions != 3 || r.Judged != 2 || r.Other != 1 || r.Unreadable != 0 || len(r.Flips) != 1 || r.Flips[0].Secret != "payments/db" || r.Flips[0].Count != 2 {
		t.Errorf("%+v", r)
	}
	if text, err := json.Marshal(r); err != nil || strings.Contains(string(text), "other/") {
		t.Errorf("%s %v", text, err)
	}
	for _, pattern := range []string{"**", "*/db", "payments2/db", "other/db"} {
		_, err := b.Replay(ctx, who, ns, broker.Replay{Source: []byte(document("draft", pattern, "true")), Since: before}, nil)
		wantCode(t, err, broker.CodeForbidden)
	}
	if r := replay(b.Admin, "payments/db", "false"); r.Decisions < 6 || r.Other < 4 {
		t.Errorf("%+v", r)
	}
}

// TestScopedOutcome: whether a workload got something of somebody else's is not told.
func TestScopedOutcome(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	b.ApplyPolicy(document("pay", "payments/*", "false"))
	b.PutSecret("payments/db", []byte("x"))
	r, err := g.fetch("a/b", "payments/db")
	if err != nil || r.Results[0].Outcome != broker.OutcomeReleased {
		t.Fatal(r, err)
	}
	who := scopedTo(t, b, []string{"payments/"}, access.Auditor)
	for outcome, want := range map[broker.Outcome]int{broker.OutcomeReleased: 0, broker.OutcomeDenied: 1, "": 1} {
		page, _, err := b.Decisions(t.Context(), who, ns, broker.DecisionFilter{Outcome: outcome}, "", 0)
		if err != nil || len(page) != want || want == 1 && page[0].Outcome != broker.OutcomeDenied {
			t.Errorf("%q: %+v %v", outcome, page, err)
		}
	}
	if e, err := b.Explain(t.Context(), who, ns, r.Decision); err != nil || e.Decision.Outcome != broker.OutcomeDenied {
		t.Errorf("%+v %v", e.Decision, err)
	}
	if e, err := b.Explain(t.Context(), b.Admin, ns, r.Decision); err != nil || e.Decision.Outcome != broker.OutcomeReleased {
		t.Errorf("%+v %v", e.Decision, err)
	}
}
