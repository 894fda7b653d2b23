package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// These tests are of acceptance: approvals cannot be got round. What counts as a person is tested in package approval; here is that the core asks it.

func TestReplayedApproval(t *testing.T) {
	o := openOffice(t, twoForRoot)
	p := o.propose("two")
	for range 3 {
		o.approve(p, "alice")
	}
	o.refused(p, broker.CodeApproval, "1 of 2")
	if got, err := o.Proposal(t.Context(), o.Admin, ns, p.ID); err != nil || len(got.Approvals) != 1 {
		t.Errorf("%+v, %v", got.Approvals, err)
	}

	// The same change proposed again: what approved the first approves nothing of the second.
	o.approve(p, "bob")
	o.must(second(o.WithdrawProposal(t.Context(), o.person("author"), ns, p.ID, "again")))
	wantCode(t, o.activate(p), broker.CodeConflict)
	again := o.proposeChange(broker.Change{Type: p.Change.Type, Name: p.Change.Name, Version: p.Change.Version})
	if again.Digest == p.Digest || again.ID == p.ID || len(again.Approvals) != 0 {
		t.Errorf("%+v", again)
	}
	replayed := again
	replayed.Digest = p.Digest
	wantCode(t, o.approveAs(o.person("alice"), replayed), broker.CodeInvalid)
	o.refused(again, broker.CodeApproval, "0 of 2")
}

// TestApprovalOfOneRule has approvals that count for one of the rules that cover a change and not for another, whichever comes first.
func TestApprovalOfOneRule(t *testing.T) {
	const named, anyone = "    - {name: named, policies: [root-key], approvals: 1, approvers: [alice]}\n", "    - {name: anyone, secrets: [\"**\"], approvals: 2}\n"
	for name, rules := range map[string]string{"the narrow one first": named + anyone, "the wide one first": anyone + named} {
		t.Run(name, func(t *testing.T) {
			o := openOffice(t, "apiVersion: vouchsafe/v1\nkind: ApprovalRules\nspec:\n  rules:\n"+rules+"  changes: {approvals: 2}\n")
			p := o.propose("two")
			o.must(o.approveAs(o.person("bob"), p))
			o.refused(p, broker.CodeApproval, "0 of 1 by rule named")
			o.must(o.approveAs(o.person("alice"), p))
			o.must(o.activate(p))
		})
	}
	t.Run("of none", func(t *testing.T) {
		o := openOffice(t, "apiVersion: vouchsafe/v1\nkind: ApprovalRules\nspec:\n  rules:\n"+named+"  changes: {approvals: 2}\n")
		if e := wantCode(t, o.approveAs(o.person("bob"), o.propose("two")), broker.CodeForbidden); !strings.Contains(e.Message, "not among the approvers") {
			t.Error(e)
		}
	})
}

func TestApprovalOfAnotherDigest(t *testing.T) {
	o := openOffice(t, twoForRoot)
	p, other := o.propose("two"), o.propose("three")
	o.approve(p, "bob")
	for name, digest := range map[string]string{
		"another's": other.Digest, "the policy's": p.Change.Digest, "none": "", "half of it": p.Digest[:40], "without its algorithm": strings.TrimPrefix(p.Digest, "sha256:"),
		"in capitals": strings.ToUpper(p.Digest), "and more": p.Digest + "0",
	} {
		if err := second(o.ApproveProposal(t.Context(), o.person("alice"), ns, p.ID, digest, false)); codeOf(err) != broker.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, id := range []string{"", "x", p.ID[:31], strings.ToUpper(p.ID) + "0", strings.Repeat("0", 32), "../" + p.ID} {
		if err := second(o.ApproveProposal(t.Context(), o.person("alice"), ns, id, p.Digest, false)); codeOf(err) != broker.CodeNotFound {
			t.Errorf("id %q: %v", id, err)
		}
	}
	o.refused(p, broker.CodeApproval, "1 of 2")
	if err := second(o.ApproveProposal(t.Context(), o.Admin, "other", p.ID, p.Digest, false)); codeOf(err) != broker.CodeNotFound {
		t.Errorf("in another namespace: %v", err)
	}
}

// TestOnePersonTwice has one person approve through two credentials.
func TestOnePersonTwice(t *testing.T) {
	o := openOffice(t, twoForRoot)
	for name, pair := range map[string][2]access.Caller{
		"two tokens":        {o.token(o.Admin, "one", "alice", access.Approver), o.token(o.Admin, "two", "alice", access.Approver)},
		"a token and OIDC":  {o.token(o.Admin, "one", "alice", access.Approver), o.person("alice")},
		"two spellings":     {o.person("alice@example.com"), o.person("Alice@Example.COM")},
		"full width":        {o.person("alice"), o.person("ａｌｉｃｅ")},
		"a token she made":  {o.person("alice"), o.token(o.person("alice"), "helper", "helper", access.Approver)},
		"a token of that's": {o.person("alice"), o.token(o.token(o.person("alice"), "m", "m", access.Operator, access.Approver), "h", "h", access.Approver)},
	} {
		t.Run(name, func(t *testing.T) {
			p := o.propose(fmt.Sprintf("%q", name))
			o.must(o.approveAs(pair[0], p))
			_ = o.approveAs(pair[1], p) // refused, or kept and not counted
			o.refused(p, broker.CodeApproval, "1 of 2")
			o.must(second(o.WithdrawProposal(t.Context(), o.person("author"), ns, p.ID, "")))
		})
	}
}

// TestAuthorIsNoApprover has whoever had a hand in the version approve it.
func TestAuthorIsNoApprover(t *testing.T) {
	o := openOffice(t, twoForRoot)
	boss := o.person("boss")
	writer := o.token(boss, "writer", "writer", access.Author, access.Approver, access.Operator)
	info, err := o.PutPolicy(t.Context(), writer, ns, broker.PutPolicy{Source: []byte(o.document("root-key", "root/*", "two"))})
	o.must(err)
	// Another writes another, and then "late" the same again as a new version, and "proposer" proposes that.
	o.put(o.document("root-key", "root/*", "three"))
	info, err = o.PutPolicy(t.Context(), o.person("late"), ns, broker.PutPolicy{Source: []byte(o.document("root-key", "root/*", "two"))})
	o.must(err)
	version := info.Versions[len(info.Versions)-1].Version
	p, err := o.Propose(t.Context(), o.person("proposer"), ns, broker.Change{Type: broker.ChangePolicyActivate, Name: "root-key", Version: version}, "why")
	o.must(err)
	o.approve(p, "alice")
	for name, who := range map[string]access.Caller{
		"the author":                 writer,
		"the author by another way":  o.person("writer"),
		"in capitals":                o.person("WRITER"),
		"who wrote the same":         o.person("late"),
		"the proposer":               o.person("proposer"),
		"who made the author":        boss,
		"a token of the author's":    o.token(writer, "puppet", "puppet", access.Approver),
		"a token of the proposer's":  o.token(o.person("proposer"), "puppet", "puppet2", access.Approver),
		"nobody":                     {Roles: access.SetOf(access.Approver), Namespace: ns, Via: access.ViaOIDC},
		"a subject that is not seen": o.person("\u200d"),
		"a subject in two forms":     o.person("jose\u0301"),
	} {
		e := o.approveAs(who, p)
		if codeOf(e) != broker.CodeForbidden {
			t.Errorf("%s: %v", name, e)
		}
	}
	o.refused(p, broker.CodeApproval, "1 of 2")
	o.approve(p, "bob")
	o.must(o.activate(p))
}

// TestApproverElsewhere has approvals by who is no approver here, or is one no more.
func TestApproverElsewhere(t *testing.T) {
	o := openOffice(t, twoForRoot)
	p := o.propose("two")
	elsewhere := o.person("eve")
	elsewhere.Namespace = "other"
	author := o.person("eve")
	author.Roles = access.SetOf(access.Author, access.Auditor, access.Custodian, access.Operator)
	for name, who := range map[string]access.Caller{"of another namespace": elsewhere, "without the role": author, "nobody": {}} {
		if err := o.approveAs(who, p); codeOf(err) != broker.CodeForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Between the approval and the activation the token is revoked, or ends.
	revoked := o.token(o.Admin, "eve", "eve", access.Approver)
	short, _, err := o.Broker.Broker.CreateToken(t.Context(), o.Admin, access.Request{Name: "frank", Roles: access.SetOf(access.Approver), Namespace: ns, Lifetime: time.Hour})
	o.must(err)
	o.must(o.approveAs(revoked, p))
	o.must(o.approveAs(authenticated(t, o.Broker, short.Reveal()), p))
	o.must(o.RevokeToken(t.Context(), o.Admin, revoked.Token))
	o.refused(p, broker.CodeApproval, "1 of 2")
	o.approve(p, "alice")
	o.clock.add(2 * time.Hour)
	o.refused(p, broker.CodeApproval, "1 of 2")
	got, err := o.Proposal(t.Context(), o.Admin, ns, p.ID)
	o.must(err)
	if not := got.Approvals[0].Not; !strings.Contains(not, "revoked") || got.Approvals[2].Not != "" {
		t.Errorf("%+v", got.Approvals)
	}
	o.approve(p, "bob")
	o.must(o.activate(p))
}

// TestChangingTheThreshold changes the rules between approvals and activation.
func TestChangingTheThreshold(t *testing.T) {
	three := strings.ReplaceAll(twoForRoot, "approvals: 2", "approvals: 3")
	one := strings.ReplaceAll(twoForRoot, "approvals: 2", "approvals: 1")
	nothing := strings.NewReplacer("root/**", "nothing/**", `["root-*"]`, "[nothing]").Replace(one)
	put := func(o *office, source string) broker.Change {
		info, err := o.PutApprovalRules(t.Context(), o.person("author"), ns, broker.PutPolicy{Source: []byte(source)})
		o.must(err)
		return broker.Change{Type: broker.ChangeRulesActivate, Version: info.Versions[len(info.Versions)-1].Version}
	}
	t.Run("up", func(t *testing.T) {
		o := openOffice(t, twoForRoot)
		p := o.propose("two")
		o.approve(p, "alice", "bob")
		rules := o.proposeChange(put(o, three))
		o.approve(rules, "alice", "bob")
		o.must(o.activate(rules))
		o.refused(p, broker.CodeApproval, "2 of 3")
		o.approve(p, "carol")
		o.must(o.activate(p))
	})
	for name, change := range map[string]func(o *office) broker.Change{
		"down":    func(o *office) broker.Change { return put(o, one) },
		"nothing": func(o *office) broker.Change { return put(o, nothing) },
		"retire":  func(*office) broker.Change { return broker.Change{Type: broker.ChangeRulesRetire} },
	} {
		t.Run(name, func(t *testing.T) {
			o := openOffice(t, twoForRoot)
			p := o.propose("two")
			o.approve(p, "alice")
			rules := o.proposeChange(change(o))
			o.approve(rules, "alice")
			// With the one approval that is there, neither goes, in either order.
			o.refused(rules, broker.CodeApproval, "1 of 2")
			o.refused(p, broker.CodeApproval, "1 of 2")
			o.refused(rules, broker.CodeApproval, "1 of 2")
			// Only what the rules ask for lifts them; what counts afterwards is what is in force then.
			o.approve(rules, "bob")
			o.must(o.activate(rules))
			o.must(o.activate(p))
		})
	}
}

// TestRulesAreNotRolledBack: the rules of before are no version that one approver puts back, and neither is a policy that left its place under them.
func TestRulesAreNotRolledBack(t *testing.T) {
	o := openOffice(t, twoForRoot)
	wantCode(t, second(o.ActivateApprovalRules(t.Context(), o.person("mallory"), ns, 0)), broker.CodeApproval)
	p := o.propose("two")
	o.approve(p, "alice", "bob")
	o.must(o.activate(p))
	info, err := o.PutApprovalRules(t.Context(), o.person("author"), ns, broker.PutPolicy{Source: []byte(strings.ReplaceAll(twoForRoot, "approvals: 2", "approvals: 3"))})
	o.must(err)
	rules := o.proposeChange(broker.Change{Type: broker.ChangeRulesActivate, Version: info.Versions[1].Version})
	o.approve(rules, "alice", "bob")
	o.must(o.activate(rules))
	wantCode(t, second(o.ActivateApprovalRules(t.Context(), o.person("mallory"), ns, 1)), broker.CodeApproval)
	wantCode(t, second(o.RollBack(t.Context(), o.person("mallory"), ns, "root-key", 1, "why")), broker.CodeApproval)
	if o.active() != 2 {
		t.Error(o.active())
	}
}

func TestRollbackHasItsTime(t *testing.T) {
	o := openOffice(t, twoForRoot)
	mallory := o.person("mallory")
	back := func(version uint64) error {
		return second(o.RollBack(t.Context(), mallory, ns, "root-key", version, "why"))
	}
	wantCode(t, back(0), broker.CodeConflict) // nothing judged before
	never := o.put(o.document("root-key", "root/*", "never"))
	wantCode(t, back(never), broker.CodeApproval)
	p := o.propose("two")
	o.approve(p, "alice", "bob")
	o.must(o.activate(p))
	o.must(back(0))
	wantCode(t, second(o.RollBack(t.Context(), mallory, ns, "root-key", 1, "why")), broker.CodeConflict)
	wantCode(t, second(o.RollBack(t.Context(), mallory, ns, "root-key", p.Change.Version, "")), broker.CodeInvalid)

	// Who goes back and forth does not gain time by it.
	for range 30 {
		o.clock.add(time.Hour)
		_ = back(0)
	}
	for _, version := range []uint64{1, p.Change.Version} {
		if err := back(version); codeOf(err) != broker.CodeApproval && codeOf(err) != broker.CodeConflict {
			t.Errorf("version %d after a day: %v", version, err)
		}
	}
	// But what is put in place with approvals can be undone again.
	next := o.propose("three")
	o.approve(next, "alice", "bob")
	o.must(o.activate(next))
	o.must(back(0))

	// A clock that goes back opens nothing.
	o.clock.add(-10 * 24 * time.Hour)
	wantCode(t, back(next.Change.Version), broker.CodeApproval)
}

// TestRollbackUndoesARetirement, which is a change like others.
func TestRollbackUndoesARetirement(t *testing.T) {
	o := openOffice(t, twoForRoot)
	p := o.proposeChange(broker.Change{Type: broker.ChangePolicyRetire, Name: "root-key"})
	o.refused(p, broker.CodeApproval)
	o.approve(p, "alice", "bob")
	o.must(o.activate(p))
	if o.active() != 0 {
		t.Fatal(o.active())
	}
	o.must(second(o.RollBack(t.Context(), o.person("carol"), ns, "root-key", 0, "it was needed")))
	if o.active() != 1 {
		t.Error(o.active())
	}
}

// TestWhatHasChangedIsProposedAgain changes what a proposal starts from.
func TestWhatHasChangedIsProposedAgain(t *testing.T) {
	o := openOffice(t, twoForRoot)
	p, other := o.propose("two"), o.propose("three")
	for _, each := range []broker.Proposal{p, other} {
		o.approve(each, "alice", "bob")
	}
	o.put(o.document("root-key", "root/*", "a new draft changes nothing of it"))
	o.must(o.activate(p))
	o.refused(other, broker.CodeConflict, "has changed")
	// Back to the very version that it was proposed on: that is another state all the same.
	o.must(second(o.RollBack(t.Context(), o.person("carol"), ns, "root-key", 0, "back")))
	o.refused(other, broker.CodeConflict, "has changed")
	wantCode(t, o.approveAs(o.person("dave"), other), broker.CodeConflict)

	// And the rules, of which only one change can be made on what there is.
	var rules []broker.Proposal
	for _, n := range []string{"3", "4"} {
		info, err := o.PutApprovalRules(t.Context(), o.person("author"), ns, broker.PutPolicy{Source: []byte(strings.ReplaceAll(twoForRoot, "approvals: 2", "approvals: "+n))})
		o.must(err)
		rules = append(rules, o.proposeChange(broker.Change{Type: broker.ChangeRulesActivate, Version: info.Versions[len(info.Versions)-1].Version}))
	}
	o.approve(rules[0], "alice", "bob", "carol")
	o.approve(rules[1], "alice", "bob", "carol")
	o.must(o.activate(rules[0]))
	o.refused(rules[1], broker.CodeConflict, "has changed")
}

func TestLapsedAndWithdrawn(t *testing.T) {
	o := openOffice(t, strings.Replace(twoForRoot, "breakGlass: 2}", "breakGlass: 2, expires: 2d}", 1))
	p := o.propose("two")
	o.approve(p, "alice", "bob")
	o.clock.add(48 * time.Hour)
	o.refused(p, broker.CodeConflict, "lapsed")
	wantCode(t, o.approveAs(o.person("carol"), p), broker.CodeConflict)
	o.clock.add(-72 * time.Hour) // before it was made
	o.refused(p, broker.CodeConflict, "the clock went back")
	wantCode(t, o.approveAs(o.person("carol"), p), broker.CodeConflict)
	o.clock.add(24 * time.Hour)
	wantCode(t, second(o.WithdrawProposal(t.Context(), access.Caller{Subject: "eve", Name: "eve", Via: access.ViaOIDC, Roles: access.SetOf(access.Author), Namespace: ns}, ns, p.ID, "")), broker.CodeForbidden)
	o.must(second(o.WithdrawProposal(t.Context(), o.person("alice"), ns, p.ID, "no")))
	o.refused(p, broker.CodeConflict, "withdrawn")
	wantCode(t, second(o.WithdrawProposal(t.Context(), o.person("alice"), ns, p.ID, "no")), broker.CodeConflict)
}

func TestImmutableStays(t *testing.T) {
	o := openOffice(t, strings.Replace(twoForRoot, "approvals: 2, breakGlass", "immutable: true, approvals: 2, breakGlass", 1))
	version := o.put(o.document("root-key", "root/*", "two"))
	for name, err := range map[string]error{
		"propose":  second(o.Propose(t.Context(), o.person("author"), ns, broker.Change{Type: broker.ChangePolicyActivate, Name: "root-key", Version: version}, "why")),
		"retire":   second(o.Propose(t.Context(), o.person("author"), ns, broker.Change{Type: broker.ChangePolicyRetire, Name: "root-key"}, "why")),
		"activate": second(o.ActivatePolicy(t.Context(), o.person("author"), ns, "root-key", version)),
		"rollback": second(o.RollBack(t.Context(), o.person("author"), ns, "root-key", version, "why")),
	} {
		if codeOf(err) != broker.CodeApproval || !strings.Contains(err.Error(), "immutable") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A change of the rules lifts it, with the approvals of these rules.
	p := o.proposeChange(broker.Change{Type: broker.ChangeRulesRetire})
	o.refused(p, broker.CodeApproval)
	o.approve(p, "alice", "bob")
	o.must(o.activate(p))
	o.must(second(o.ActivatePolicy(t.Context(), o.person("author"), ns, "root-key", version)))
}

// TestBecomingImmutable has a rule come into force that says so, after the approvals.
func TestBecomingImmutable(t *testing.T) {
	o := openOffice(t, twoForRoot)
	p := o.propose("two")
	o.approve(p, "alice", "bob")
	info, err := o.PutApprovalRules(t.Context(), o.person("author"), ns, broker.PutPolicy{Source: []byte(strings.Replace(twoForRoot, "approvals: 2, breakGlass", "immutable: true, breakGlass", 1))})
	o.must(err)
	rules := o.proposeChange(broker.Change{Type: broker.ChangeRulesActivate, Version: info.Versions[1].Version})
	o.approve(rules, "alice", "bob")
	o.must(o.activate(rules))
	o.refused(p, broker.CodeApproval, "immutable")
	wantCode(t, second(o.ActivateProposal(t.Context(), o.person("x"), ns, p.ID, broker.Activation{BreakGlass: true, Reason: "why"})), broker.CodeApproval)
}

// TestBounds has somebody propose, approve and write without end.
func TestBounds(t *testing.T) {
	o := openOffice(t, twoForRoot)
	who := o.person("mallory")
	propose := func(who access.Caller, n int) error {
		return second(o.Propose(t.Context(), who, ns, broker.Change{
			Type: broker.ChangeReferencePut, Name: "root-image", Values: []reference.Value{{Value: fmt.Sprint("v", n)}},
		}, "why"))
	}
	for n := range broker.MaxOpenByOne {
		o.must(propose(who, n))
	}
	wantCode(t, propose(who, 99), broker.CodeConflict)
	wantCode(t, propose(o.person("Mallory"), 99), broker.CodeConflict)
	mine := o.propose("two")
	wantCode(t, second(o.Propose(t.Context(), o.person("author"), ns, broker.Change{Type: broker.ChangePolicyActivate, Name: "root-key", Version: mine.Change.Version}, "why")), broker.CodeConflict)
	for n := 0; ; n++ {
		if err := propose(o.person(fmt.Sprint("m", n)), n); err != nil {
			wantCode(t, err, broker.CodeConflict)
			if n != broker.MaxOpenProposals-broker.MaxOpenByOne-1 {
				t.Errorf("%d were open", n)
			}
			break
		}
	}
	big := make([]reference.Value, broker.MaxPage)
	for i := range big {
		big[i] = reference.Value{Value: fmt.Sprintf("%0400d", i)}
	}
	o.must(second(o.WithdrawProposal(t.Context(), o.person("author"), ns, mine.ID, "")))
	wantCode(t, second(o.Propose(t.Context(), o.person("author"), ns, broker.Change{Type: broker.ChangeReferencePut, Name: "root-image", Values: big}, "why")), broker.CodeInvalid)
	wantCode(t, second(o.Propose(t.Context(), o.person("author"), ns, broker.Change{Type: broker.ChangePolicyRetire, Name: "root-key"}, strings.Repeat("x", broker.MaxReason+1))), broker.CodeInvalid)
	wantCode(t, second(o.Propose(t.Context(), o.person("author"), ns, broker.Change{Type: broker.ChangePolicyRetire, Name: "root-key"}, " ")), broker.CodeInvalid)
	for _, c := range []broker.Change{
		{}, {Type: "x"}, {Type: broker.ChangePolicyActivate, Name: "root-key"}, {Type: broker.ChangePolicyRetire, Name: "root-key", Version: 1}, {Type: broker.ChangePolicyRetire, Name: "../x"},
		{Type: broker.ChangeRulesActivate}, {Type: broker.ChangeRulesRetire, Version: 1}, {Type: broker.ChangeRulesRetire, Name: "x"}, {Type: broker.ChangeReferencePut, Name: "s"},
		{Type: broker.ChangeReferencePut, Name: "s", Values: []reference.Value{{Value: "v"}}, Retire: []string{"w"}}, {Type: broker.ChangeReferencePut, Name: "S s", Values: []reference.Value{{Value: "v"}}},
		{Type: broker.ChangePolicyRetire, Name: "root-key", Values: []reference.Value{{Value: "v"}}},
	} {
		if err := second(o.Propose(t.Context(), o.person("author"), ns, c, "why")); codeOf(err) != broker.CodeInvalid {
			t.Errorf("%+v: %v", c, err)
		}
	}
	// They lapse, and make room.
	o.clock.add(8 * 24 * time.Hour)
	o.must(propose(who, 100))
	list, err := o.Proposals(t.Context(), o.Admin, ns, false)
	if err != nil || len(list) != 1 {
		t.Errorf("%d are open, %v", len(list), err)
	}
	// And each version that is proposed, or to which one can go back, outlives a flood of drafts.
	p := o.propose("kept")
	o.approve(p, "alice", "bob")
	for n := range broker.MaxPolicyVersions + 3 {
		o.must(second(o.PutPolicy(t.Context(), who, ns, broker.PutPolicy{Source: []byte(o.document("root-key", "root/*", fmt.Sprint("flood", n)))})))
	}
	o.must(o.activate(p))
	for n := range broker.MaxPolicyVersions + 3 {
		o.must(second(o.PutPolicy(t.Context(), who, ns, broker.PutPolicy{Source: []byte(o.document("root-key", "root/*", fmt.Sprint("again", n)))})))
	}
	o.must(second(o.RollBack(t.Context(), o.person("carol"), ns, "root-key", 0, "back")))
}

// TestClosedProposalsAreBounded makes and withdraws more than are kept.
func TestClosedProposalsAreBounded(t *testing.T) {
	o := openOffice(t, twoForRoot)
	for range broker.MaxClosedProposals + 5 {
		p := o.proposeChange(broker.Change{Type: broker.ChangePolicyRetire, Name: "root-key"})
		o.must(second(o.WithdrawProposal(t.Context(), o.person("author"), ns, p.ID, "")))
	}
	entries, err := o.Data.Store.List(t.Context(), ns+"/proposal/", "", 1000)
	if err != nil || len(entries) != broker.MaxClosedProposals {
		t.Errorf("%d are kept, %v", len(entries), err)
	}
}

func TestBreakGlass(t *testing.T) {
	seen := &glassCounter{}
	o := &office{t: t, clock: newClock()}
	o.Broker = brokertest.Start(t, brokertest.Config{Now: o.clock.now, Observer: seen})
	o.must(o.ApplyPolicyAs(o.Admin, o.document("root-key", "root/*", "one")))
	o.inForce(twoForRoot)
	p := o.propose("two")
	glass := func(who access.Caller) error {
		return second(o.ApproveProposal(t.Context(), who, ns, p.ID, p.Digest, true))
	}
	open := func(reason string) error {
		return second(o.ActivateProposal(t.Context(), o.person("author"), ns, p.ID, broker.Activation{BreakGlass: true, Reason: reason}))
	}
	wantCode(t, open(""), broker.CodeInvalid)
	wantCode(t, open("production stands still"), broker.CodeApproval)
	o.must(glass(o.person("author")))
	wantCode(t, open("production stands still"), broker.CodeApproval) // alone
	o.must(glass(o.token(o.person("author"), "puppet", "puppet", access.Approver)))
	wantCode(t, open("production stands still"), broker.CodeApproval)
	o.approve(p, "alice")
	o.refused(p, broker.CodeApproval, "1 of 2") // the author counts only there
	o.clock.add(61 * time.Minute)
	wantCode(t, open("production stands still"), broker.CodeApproval) // they are an hour old
	o.must(glass(o.person("author")))
	o.approve(p, "alice")
	o.must(open("production stands still"))
	if o.active() != p.Change.Version || seen.n != 1 {
		t.Error(o.active(), seen.n)
	}
	if logs := o.Logs(); !strings.Contains(logs, `"level":"ERROR"`) || !strings.Contains(logs, "glass was broken") {
		t.Error("it was not logged loudly")
	}
	var event broker.Event
	for _, e := range events(t, o.Broker) {
		if e.Type == broker.EventBreakGlass {
			event = e
		}
	}
	if event.Object != "root-key" || event.Version != p.Change.Version || event.Reason != "production stands still" || event.Proposal != p.ID || len(event.Approvals) != 3 {
		t.Errorf("%+v", event)
	}
	flagged := func() bool {
		list, err := o.Proposals(t.Context(), o.Admin, ns, false)
		o.must(err)
		info, _, err := o.Policy(t.Context(), o.Admin, ns, "root-key", 1)
		o.must(err)
		if (len(info.Broken) == 1) != (len(list) == 1 && list[0].Standing.Unacknowledged) {
			t.Errorf("%+v, %+v", info, list)
		}
		return len(info.Broken) == 1
	}
	if !flagged() {
		t.Error("it is not shown")
	}
	for name, who := range map[string]access.Caller{"the author": o.person("author"), "an approver": o.person("Alice"), "a custodian": {Name: "c", Roles: access.SetOf(access.Custodian), Namespace: ns}} {
		if err := second(o.AcknowledgeBreakGlass(t.Context(), who, ns, p.ID, "")); codeOf(err) != broker.CodeForbidden || !flagged() {
			t.Errorf("%s: %v", name, err)
		}
	}
	o.must(second(o.AcknowledgeBreakGlass(t.Context(), o.person("auditor"), ns, p.ID, "seen")))
	if flagged() {
		t.Error("it is shown still")
	}
	wantCode(t, second(o.AcknowledgeBreakGlass(t.Context(), o.person("auditor"), ns, p.ID, "seen")), broker.CodeNotFound)

	// What came in by break-glass is undone by one, and does not come back by one.
	o.must(second(o.RollBack(t.Context(), o.person("carol"), ns, "root-key", 0, "undo")))
	wantCode(t, second(o.RollBack(t.Context(), o.person("carol"), ns, "root-key", p.Change.Version, "again")), broker.CodeApproval)
}

type glassCounter struct {
	broker.Observer
	n int
}

func (c *glassCounter) BrokeGlass() { c.n++ }

// TestApprovalIsRenewed: whoever logs in again and approves again has one approval, of now; with a token of another maker nobody takes it away.
func TestApprovalIsRenewed(t *testing.T) {
	o := openOffice(t, twoForRoot)
	p := o.propose("two")
	alice := o.person("alice")
	o.must(o.approveAs(alice, p))
	o.clock.add(90 * time.Minute)
	alice.Token = "oidc:of the next login"
	o.must(o.approveAs(alice, p))
	now, err := o.Proposal(t.Context(), alice, ns, p.ID)
	o.must(err)
	if len(now.Approvals) != 1 || now.Approvals[0].Token != alice.Token || !now.Approvals[0].Time.Equal(o.clock.now().UTC()) {
		t.Fatalf("renewed: %+v", now.Approvals)
	}
	impostor := o.token(o.person("mallory"), "laptop", "alice", access.Approver)
	o.must(o.approveAs(impostor, p))
	now, err = o.Proposal(t.Context(), alice, ns, p.ID)
	o.must(err)
	if len(now.Approvals) != 2 || now.Approvals[0].Token != alice.Token {
		t.Errorf("another's token took an approval away: %+v", now.Approvals)
	}
	o.refused(p, broker.CodeApproval, "1 of 2")
	o.approve(p, "bob")
	o.must(o.activate(p))
}

// TestApproversOfTwoRules has a change that two rules cover, each with approvers of its own: whoever counts for one of them may approve, whichever rule is first.
func TestApproversOfTwoRules(t *testing.T) {
	o := openOffice(t, `apiVersion: vouchsafe/v1
kind: ApprovalRules
spec:
  rules:
    - {name: law, secrets: ["root/**"], approvals: 1, approvers: [lara, liam]}
    - {name: operations, secrets: ["root/**"], approvals: 1, approvers: [oscar, olga]}
  changes: {approvals: 2, breakGlass: 3}
`)
	p := o.propose("two")
	if e := wantCode(t, o.approveAs(o.person("alice"), p), broker.CodeForbidden); !strings.Contains(e.Message, "not among the approvers") {
		t.Errorf("of nobody's: %v", e)
	}
	o.approve(p, "oscar")
	o.refused(p, broker.CodeApproval, "0 of 1 by rule law")
	o.approve(p, "lara")
	o.must(o.activate(p))
}
