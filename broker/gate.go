package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy/approval"
	"github.com/vouchsafe/vouchsafe/store"
)

// This file is the one way by which what judges requests changes: which version of a policy is active, which reference values count, which rules of approval are in
// force. [Broker.alter] makes every such change, and gate, which only alter calls, decides whether it may be made. TestGateIsTheOneWay holds the code to that.
//
// What the gate goes by is in the desk's record, NS/desk, which every change that passes the gate writes again, with compare-and-swap, before anything else: so no
// change is made by rules that another change has just replaced, and of two changes at the same time one is judged again by what the other left.

// alteration is one change of what judges, ready to be made.
type alteration struct {
	touched approval.Touched
	guards  []string      // the patterns of every kept version of the policies that are changed; none where it is the namespace's
	inForce *policyRecord // where the rules of approval are changed: what the desk is to say of them
	event   Event
	writes  []store.Write // in an order of which each prefix harms nobody
	garbage []store.Write // what nothing leads to afterwards
}

// leave is by what right a change is asked for. The zero leave is one approver's.
type leave struct {
	proposal *Proposal      // whose approvals count
	glass    bool           // by break-glass
	rollback *PolicyVersion // to a version that was active before
}

// CodeApproval says that a change needs approvals that it does not have.
const CodeApproval Code = "approval_required"

func needsApproval(format string, args ...any) *Error {
	return &Error{Code: CodeApproval, Message: fmt.Sprintf(format, args...)}
}

// gate returns nil when a change may be made now, by that leave and by who asks for it.
func (b *Broker) gate(ctx context.Context, who access.Caller, namespace string, d *desk, a *alteration, by leave) error {
	demand := d.demand(a)
	if rule := demand.Immutable(); rule != "" {
		return needsApproval("rule %s says that this is immutable: only a change of the approval rules lifts that", rule)
	}
	switch {
	case by.proposal != nil:
		if err := b.gateProposal(ctx, namespace, demand, a.touches(), by); err != nil {
			return err
		}
	case by.rollback != nil && !demand.Free():
		if err := gateRollback(d.rules, demand, by.rollback, b.now()); err != nil {
			return err
		}
	case !demand.Free():
		return needsApproval("%q may not be changed alone (%s): propose the change", a.event.Object, demand)
	}
	return authorizeOn(who, namespace, a.touches(), access.Approver)
}

// touches is what an approver's roles must hold for: the paths that the policies guard, in every version that is kept, or the whole namespace where values or
// rules change.
func (a *alteration) touches() access.Object {
	if a.inForce != nil || len(a.touched.References) > 0 {
		return access.Whole()
	}
	return access.Paths(a.guards...)
}

// gateProposal returns nil when a proposal has the approvals that are demanded now, whatever was demanded when it was made.
func (b *Broker) gateProposal(ctx context.Context, namespace string, demand approval.Demand, touches access.Object, by leave) error {
	p := by.proposal
	c, _, err := b.caseOf(ctx, namespace, p, touches)
	if err != nil {
		return err
	}
	if err := demand.Open(c); err != nil {
		return &Error{Code: CodeConflict, Message: fmt.Sprintf("proposal %s is not open: %v", p.ID, err)}
	}
	if !by.glass {
		if v := demand.Judge(c); !v.Met {
			return needsApproval("proposal %s has %s", p.ID, v)
		}
		return nil
	}
	if v := demand.Glass(c); !v.Met {
		if v.String() == "" {
			return needsApproval("no rule that covers %q says how many may break glass for it", p.Change.subject())
		}
		return needsApproval("to break glass, proposal %s has %s, of the last %v", p.ID, v, approval.GlassAge)
	}
	return nil
}

// gateRollback returns nil when a version that was active may be so again by one approver: it left its place not long ago, by the rules that are in force
// now, and had not come there by break-glass. A version that left under other rules, or none, has not met these.
func gateRollback(rules *approval.Rules, demand approval.Demand, v *PolicyVersion, now time.Time) error {
	since := now.Sub(v.Left)
	switch {
	case v.Left.IsZero():
		return needsApproval("version %d was never active: propose it", v.Version)
	case demand.Rollback() == 0:
		return needsApproval("a rule says that nothing is rolled back by one approver alone: propose version %d", v.Version)
	case v.LeftUnder != rules.Digest():
		return needsApproval("version %d stopped judging under other approval rules than are in force now: propose it", v.Version)
	case v.Glass:
		return needsApproval("version %d was made active by break-glass: propose it", v.Version)
	case since < -approval.Skew || since > demand.Rollback():
		return needsApproval("version %d stopped judging at %s, and may be put back by one approver for %v: propose it",
			v.Version, v.Left.Format(time.RFC3339), demand.Rollback())
	}
	return nil
}

// alterAttempts is how often a change is judged again because another was quicker. In one process they wait for each other.
const alterAttempts = 16

// alter makes one change of what judges requests. plan says what is to be changed, as things are in the desk that it is given; it is called again when they
// have changed meanwhile. A nil alteration means that there is nothing to do.
func (b *Broker) alter(ctx context.Context, who access.Caller, namespace string, by leave, plan func(*desk) (*alteration, error)) error {
	n := b.rules.namespace(namespace)
	select {
	case n.altering <- struct{}{}:
		defer func() { <-n.altering }()
	case <-ctx.Done():
		return asError(ctx.Err())
	}
	done := func() {}
	defer func() { done() }()
	marked := false
	var err error
	for range alterAttempts {
		var d *desk
		if d, err = b.openDesk(ctx, namespace); err != nil {
			return asError(err)
		}
		a, err2 := plan(d)
		if err2 != nil {
			return asError(err2)
		}
		if a == nil {
			return nil
		}
		if err := b.gate(ctx, who, namespace, d, a, by); err != nil {
			return asError(err)
		}
		if !marked {
			if done, err = b.changing(ctx, namespace); err != nil {
				done = func() {}
				return err
			}
			marked = true
		}
		if a.inForce != nil {
			d.Rules = *a.inForce
		}
		first, err2 := d.write()
		if err2 != nil {
			return asError(err2)
		}
		err = b.commitAndTidy(ctx, who, namespace, a.event, append([]store.Write{first}, a.writes...), a.garbage)
		var conflict *store.ConflictError
		if err == nil || !errors.As(err, &conflict) || conflict.Key != d.key && by.proposal == nil {
			break
		}
	}
	if err != nil {
		return asError(err)
	}
	b.issues.lookAt(underNamespace(namespace)) // what a source issued may have lost its reason
	return nil
}
