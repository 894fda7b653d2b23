package broker_test

import (
	"fmt"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
)

// withDesk adds the changes of the release desk to those that a broker is stopped in.
func withDesk(all map[string]change) map[string]change {
	proposed := map[string]string{} // ids by the policy
	// two applies one version of a policy and keeps a draft of another.
	two := func(t *testing.T, b *brokertest.Broker, name string) {
		mustDo(t, second(b.Broker.ApplyPolicy(t.Context(), b.Admin, ns, "p", policyOf(name, "p/"+name, "one"), false)))
		mustDo(t, second(b.Broker.ApplyPolicy(t.Context(), b.Admin, ns, "p", policyOf(name, "p/"+name, "two"), true)))
	}
	propose := func(t *testing.T, b *brokertest.Broker, name string) error {
		p, err := b.Propose(t.Context(), b.Admin, ns, broker.Change{Type: broker.ChangePolicyActivate, Name: name, Version: 2}, "why")
		proposed[name] = p.ID
		return err
	}
	// unless takes a conflict for success when the policy's active version is what it should be.
	unless := func(t *testing.T, b *brokertest.Broker, name string, version uint64, err error) error {
		if codeOf(err) != broker.CodeConflict {
			return err
		}
		if info, _, err := b.Policy(t.Context(), b.Admin, ns, name, 1); err != nil || info.Active != version {
			return fmt.Errorf("version %d is active, %w", info.Active, err)
		}
		return nil
	}
	all["put approval rules"] = change{event: broker.EventRulesDraft, do: func(t *testing.T, b *brokertest.Broker, n int) error {
		return second(b.PutApprovalRules(t.Context(), b.Admin, ns, broker.PutPolicy{Source: []byte(twoForRoot + named("# ", n) + "\n")}))
	}}
	all["propose"] = change{event: broker.EventPropose,
		prepare: func(t *testing.T, b *brokertest.Broker, n int) { two(t, b, named("prop", n)) },
		do: func(t *testing.T, b *brokertest.Broker, n int) error {
			return unless(t, b, named("prop", n), 1, propose(t, b, named("prop", n)))
		}}
	all["approve"] = change{event: broker.EventApprove,
		prepare: func(t *testing.T, b *brokertest.Broker, n int) {
			two(t, b, named("appr", n))
			mustDo(t, propose(t, b, named("appr", n)))
		},
		do: func(t *testing.T, b *brokertest.Broker, n int) error {
			p, err := b.Proposal(t.Context(), b.Admin, ns, proposed[named("appr", n)])
			if err == nil {
				_, err = b.ApproveProposal(t.Context(), b.Admin, ns, p.ID, p.Digest, false)
			}
			return err
		}}
	all["activate proposal"] = change{event: broker.EventPolicyActivate,
		prepare: func(t *testing.T, b *brokertest.Broker, n int) {
			two(t, b, named("make", n))
			mustDo(t, propose(t, b, named("make", n)))
		},
		do: func(t *testing.T, b *brokertest.Broker, n int) error {
			name := named("make", n)
			_, err := b.ActivateProposal(t.Context(), b.Admin, ns, proposed[name], broker.Activation{})
			if err = unless(t, b, name, 2, err); err != nil {
				return err
			}
			if p, err := b.Proposal(t.Context(), b.Admin, ns, proposed[name]); err != nil || p.State != broker.ProposalMade {
				return fmt.Errorf("the proposal is %s, %w", p.State, err)
			}
			return nil
		}}
	all["withdraw"] = change{event: broker.EventWithdraw,
		prepare: func(t *testing.T, b *brokertest.Broker, n int) {
			two(t, b, named("draw", n))
			mustDo(t, propose(t, b, named("draw", n)))
		},
		do: func(t *testing.T, b *brokertest.Broker, n int) error {
			return unless(t, b, named("draw", n), 1, second(b.WithdrawProposal(t.Context(), b.Admin, ns, proposed[named("draw", n)], "")))
		}}
	all["roll back"] = change{event: broker.EventPolicyRollback,
		prepare: func(t *testing.T, b *brokertest.Broker, n int) {
			two(t, b, named("back", n))
			mustDo(t, second(b.ActivatePolicy(t.Context(), b.Admin, ns, named("back", n), 2)))
		},
		do: func(t *testing.T, b *brokertest.Broker, n int) error {
			return unless(t, b, named("back", n), 1, second(b.RollBack(t.Context(), b.Admin, ns, named("back", n), 1, "why")))
		}}
	return all
}
