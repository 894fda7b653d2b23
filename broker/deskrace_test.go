package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// TestActivateRaces carries out approved proposals beside everything else that touches the desk, at two brokers of the store at once. Whatever wins, only a version
// that was approved ever judges, and each proposal is made at most once.
func TestActivateRaces(t *testing.T) {
	o := openOffice(t, twoForRoot)
	ctx := t.Context()
	other, err := broker.New(ctx, configOf(t, o.Broker))
	o.must(err)
	brokers := []*broker.Broker{o.Broker.Broker, other}
	interrupted := func(err error, what string) { // where a change is several writes, another may come between
		if o.Data.Store.Atomic() || codeOf(err) != broker.CodeUnavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
	for round := range 12 {
		var approved []broker.Proposal
		for i := range 2 {
			p := o.propose(fmt.Sprintf("good%dx%d", round, i))
			o.approve(p, "alice", "bob")
			approved = append(approved, p)
		}
		before := o.active()
		var made atomic.Int64
		var wg sync.WaitGroup
		for n, b := range brokers {
			for _, p := range approved {
				wg.Go(func() {
					_, err := b.ActivateProposal(ctx, o.person("anyone"), ns, p.ID, broker.Activation{})
					switch codeOf(err) {
					case "":
						made.Add(1)
					case broker.CodeConflict:
					default:
						interrupted(err, "activate")
					}
				})
			}
			wg.Go(func() { // a new draft, proposed and never approved
				info, err := b.PutPolicy(ctx, o.person("mallory"), ns, broker.PutPolicy{Source: []byte(o.document("root-key", "root/*", fmt.Sprintf("evil%dx%d", round, n)))})
				if err != nil {
					if codeOf(err) != broker.CodeConflict {
						interrupted(err, "put")
					}
					return
				}
				version := info.Versions[len(info.Versions)-1].Version
				p, err := b.Propose(ctx, o.person("mallory"), ns, broker.Change{Type: broker.ChangePolicyActivate, Name: "root-key", Version: version}, "why")
				if err == nil {
					_, err = b.ActivateProposal(ctx, o.person("mallory"), ns, p.ID, broker.Activation{})
					if err == nil {
						t.Error("a proposal without approvals was made")
					}
					_, _ = b.WithdrawProposal(ctx, o.person("mallory"), ns, p.ID, "")
				}
				if err := second(b.ActivatePolicy(ctx, o.person("mallory"), ns, "root-key", version)); err == nil {
					t.Error("a draft was activated")
				}
			})
			wg.Go(func() {
				if err := second(b.ActivatePolicy(ctx, o.person("mallory"), ns, "root-key", 0)); err == nil {
					t.Error("retired by one")
				}
				if err := second(b.PutReferences(ctx, o.person("mallory"), ns, "root-image", []reference.Value{{Value: "evil"}})); err == nil {
					t.Error("reference put by one")
				}
			})
		}
		wg.Wait()
		for _, p := range approved { // what was interrupted can be done again
			if made.Load() == 0 && !o.Data.Store.Atomic() && o.activate(p) == nil {
				made.Add(1)
			}
		}
		if made.Load() != 1 {
			t.Errorf("round %d: of two proposals on one state, %d were made", round, made.Load())
		}
		active := o.active()
		if active == before || active != approved[0].Change.Version && active != approved[1].Change.Version {
			t.Fatalf("round %d: version %d judges", round, active)
		}
		for _, p := range approved {
			_, _ = o.WithdrawProposal(ctx, o.person("author"), ns, p.ID, "")
		}
	}
}

// TestRulesRace puts stricter rules in force beside a change that the rules of before allow one person. Whoever is told that the stricter ones are in force may rely on it.
func TestRulesRace(t *testing.T) {
	o := openOffice(t, twoForRoot)
	ctx := t.Context()
	other, err := broker.New(ctx, configOf(t, o.Broker))
	o.must(err)
	if !o.Data.Store.Atomic() {
		t.Skip("where a change is several writes, one that was judged before may end after: see gate.go")
	}
	covered := func(name string) string {
		return strings.Replace(twoForRoot, `policies: ["root-*"]`, `policies: ["root-*", `+name+`]`, 1)
	}
	for round := range 10 {
		name := fmt.Sprintf("free%d", round)
		info, err := o.PutApprovalRules(ctx, o.person("author"), ns, broker.PutPolicy{Source: []byte(covered(name))})
		o.must(err)
		p := o.proposeChange(broker.Change{Type: broker.ChangeRulesActivate, Version: info.Versions[len(info.Versions)-1].Version})
		o.approve(p, "alice", "bob")
		var inForce atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			o.must(o.activate(p))
			inForce.Store(true)
		})
		for n, b := range []*broker.Broker{o.Broker.Broker, other} {
			wg.Go(func() {
				for i := range 20 {
					late := inForce.Load()
					_, err := b.ApplyPolicy(ctx, o.person("mallory"), ns, "p", []byte(o.document(name, name+"/*", fmt.Sprintf("v%dx%d", n, i))), false)
					if err == nil && late {
						t.Error("a change was made by rules that were not in force any more")
					}
				}
			})
		}
		wg.Wait()
		wantCode(t, o.ApplyPolicyAs(o.person("mallory"), o.document(name, name+"/*", "late")), broker.CodeApproval)
	}
}
