package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy/approval"
	"github.com/vouchsafe/vouchsafe/store"
)

// standing returns a proposal with what it still lacks, by the rules in force now.
func (b *Broker) standing(ctx context.Context, namespace string, d *desk, p Proposal) (Proposal, error) {
	s := &Standing{Rules: []string{}, Tallies: []approval.Tally{}, Unacknowledged: slices.ContainsFunc(d.Broken, func(e deskEntry) bool { return e.ID == p.ID })}
	p.Standing = s
	if p.State != ProposalOpen {
		return p, nil
	}
	a, base, _, err := b.planned(ctx, namespace, d, leave{proposal: new(p)}, p.Proposer)
	var refused *Error
	switch {
	case errors.As(err, &refused) && (refused.Code == CodeNotFound || refused.Code == CodeInvalid || refused.Code == CodeConflict):
		p.State, s.Obstacle = ProposalStale, refused.Message
		return p, nil
	case err != nil:
		return p, asError(err)
	case a == nil || !reflect.DeepEqual(base, p.Base):
		p.State, s.Obstacle = ProposalStale, fmt.Sprintf("%q has changed since: propose it again", p.Change.subject())
		return p, nil
	}
	demand := d.demand(a)
	c, not, err := b.caseOf(ctx, namespace, &p, a.touches())
	if err != nil {
		return p, asError(err)
	}
	verdict, glass := demand.Judge(c), demand.Glass(c)
	s.Rules, s.Lapses, s.Tallies = demand.Rules(), p.Created.Add(demand.Expires()), append(s.Tallies, verdict.Tallies...)
	for _, t := range glass.Tallies {
		if t.Need > 0 {
			s.BreakGlass = append(s.BreakGlass, t)
		}
	}
	p.Approvals = slices.Clone(p.Approvals)
	for i := range p.Approvals {
		p.Approvals[i].Not = cmp.Or(not[i], notFor(verdict, i))
	}
	switch rule := demand.Immutable(); {
	case rule != "":
		s.Obstacle = "rule " + rule + " says that this is immutable"
	case demand.Open(c) != nil:
		p.State, s.Obstacle = ProposalLapsed, demand.Open(c).Error()
	case verdict.Met:
		p.State = ProposalApproved
	}
	return p, nil
}

// notFor says why an approval counts for none of the rules, "" if it does for one.
func notFor(v approval.Verdict, at int) string {
	why := ""
	for _, t := range v.Tallies {
		reason, refused := t.Not[at]
		if !refused {
			return ""
		}
		why = reason
	}
	return why
}

// standingOf reads a proposal, with what it still lacks.
func (b *Broker) standingOf(ctx context.Context, namespace string, d *desk, id string) (Proposal, error) {
	p, _, err := b.proposal(ctx, namespace, id)
	if err != nil {
		return Proposal{}, err
	}
	return b.standing(ctx, namespace, d, *p)
}

// demandOf is what the rules in force ask of a proposal, and what it touches now.
func (b *Broker) demandOf(ctx context.Context, namespace string, d *desk, p *Proposal) (approval.Demand, access.Object, error) {
	a, base, _, err := b.planned(ctx, namespace, d, leave{proposal: new(*p)}, p.Proposer)
	if err != nil {
		return approval.Demand{}, access.Whole(), err
	}
	if a == nil || !reflect.DeepEqual(base, p.Base) {
		return approval.Demand{}, access.Whole(), &Error{Code: CodeConflict, Message: fmt.Sprintf("%q has changed since this was proposed: propose it again", p.Change.subject())}
	}
	return d.demand(a), a.touches(), nil
}

// Proposal returns a proposal, with what it still lacks. Who may read policies may; to a caller with a scope it is there when the policy lies in that.
func (b *Broker) Proposal(ctx context.Context, who access.Caller, namespace, id string) (Proposal, error) {
	if err := authorizeOn(who, namespace, access.Some(), readers...); err != nil {
		return Proposal{}, err
	}
	d, err := b.openDesk(ctx, namespace)
	if err != nil {
		return Proposal{}, asError(err)
	}
	p, _, err := b.proposalFor(ctx, who, namespace, id)
	if err != nil {
		return Proposal{}, asError(err)
	}
	return b.standing(ctx, namespace, d, *p)
}

// Proposals returns the proposals that are open, and those made by break-glass that no auditor has acknowledged; with all, also those that are closed and
// still kept. There are at most a few hundred. Who may read policies may; a caller with a scope sees those of policies that lie in it.
func (b *Broker) Proposals(ctx context.Context, who access.Caller, namespace string, all bool) ([]Proposal, error) {
	if err := authorizeOn(who, namespace, access.Some(), readers...); err != nil {
		return nil, err
	}
	d, err := b.openDesk(ctx, namespace)
	if err != nil {
		return nil, asError(err)
	}
	list, err := b.proposals(ctx, namespace, d, all, func(e deskEntry) (bool, error) { return b.sees(ctx, who, namespace, e.Type, e.Name) })
	if err != nil {
		return nil, asError(err)
	}
	return list, nil
}

// proposals reads the proposals of a desk that wanted accepts, in the order of their time.
func (b *Broker) proposals(ctx context.Context, namespace string, d *desk, all bool, wanted func(deskEntry) (bool, error)) ([]Proposal, error) {
	entries := slices.Concat(d.Open, d.Broken)
	if all {
		entries = append(entries, d.Closed...)
	}
	list, seen := []Proposal{}, map[string]bool{}
	for _, e := range entries {
		if seen[e.ID] {
			continue
		}
		seen[e.ID] = true
		if want, err := wanted(e); err != nil {
			return nil, err
		} else if !want {
			continue
		}
		p, err := b.standingOf(ctx, namespace, d, e.ID)
		if codeIs(err, CodeNotFound) || errors.Is(err, store.ErrNotFound) {
			continue // kept no longer
		}
		if err != nil {
			return nil, err
		}
		if closed := p.State == ProposalMade || p.State == ProposalWithdrawn; !closed || all || p.Standing.Unacknowledged {
			list = append(list, p)
		}
	}
	slices.SortStableFunc(list, func(a, b Proposal) int { return a.Created.Compare(b.Created) })
	return list, nil
}

// overlay adds to policies what the desk knows of them: which versions are proposed, and where glass was broken.
func (b *Broker) overlay(ctx context.Context, namespace string, page []PolicyInfo) error {
	d, err := b.openDesk(ctx, namespace)
	if err != nil {
		return err
	}
	for i := range page {
		info := &page[i]
		for _, e := range d.Broken {
			if e.Name == info.Name && e.Type.ofPolicy() {
				info.Broken = append(info.Broken, e.ID)
			}
		}
		for _, e := range d.Open {
			if e.Name == info.Name && e.Type == ChangePolicyActivate {
				if err := b.overlayVersion(ctx, namespace, d, info.Versions, e); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// overlayVersion says of the version that a proposal is of that it is proposed, or approved.
func (b *Broker) overlayVersion(ctx context.Context, namespace string, d *desk, versions []PolicyVersion, e deskEntry) error {
	at := slices.IndexFunc(versions, func(v PolicyVersion) bool { return v.Version == e.Version })
	if at < 0 {
		return nil
	}
	p, err := b.standingOf(ctx, namespace, d, e.ID)
	if codeIs(err, CodeNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	switch v := &versions[at]; p.State {
	case ProposalOpen:
		v.State, v.Proposal = PolicyProposed, e.ID
	case ProposalApproved:
		v.State, v.Proposal = PolicyApproved, e.ID
	}
	return nil
}

// PolicyHistory is what was done to a policy, or to the approval rules.
type PolicyHistory struct {
	Name      string     `json:"name"`
	Steps     []Step     `json:"steps"`     // the oldest first; the audit log has those from before
	Proposals []Proposal `json:"proposals"` // of it, that are kept
}

// PolicyHistory returns what was done to a policy, by whom, when and why. Who may read the policy may.
func (b *Broker) PolicyHistory(ctx context.Context, who access.Caller, namespace, name string) (PolicyHistory, error) {
	record, _, err := b.policyFor(ctx, who, namespace, name, readers...)
	if err != nil {
		return PolicyHistory{}, err
	}
	d, err := b.openDesk(ctx, namespace)
	if err != nil {
		return PolicyHistory{}, asError(err)
	}
	return b.history(ctx, namespace, d, &record, func(e deskEntry) bool {
		return e.Name == name && e.Type.ofPolicy()
	})
}

func (b *Broker) history(ctx context.Context, namespace string, d *desk, record *policyRecord, of func(deskEntry) bool) (PolicyHistory, error) {
	h := PolicyHistory{Name: record.Name, Steps: slices.Clone(record.Steps)}
	var err error
	if h.Proposals, err = b.proposals(ctx, namespace, d, true, func(e deskEntry) (bool, error) { return of(e), nil }); err != nil {
		return PolicyHistory{}, asError(err)
	}
	for i := range h.Proposals {
		p := &h.Proposals[i]
		h.Steps = append(h.Steps, Step{Time: p.Created, Did: EventPropose, Version: p.Change.Version, By: p.Proposer, Reason: p.Reason, Proposal: p.ID})
		for _, a := range p.Approvals {
			h.Steps = append(h.Steps, Step{Time: a.Time, Did: EventApprove, Version: p.Change.Version, By: a.Person, Proposal: p.ID})
		}
		if p.State == ProposalWithdrawn && p.Closed != nil {
			h.Steps = append(h.Steps, Step{Time: p.Closed.Time, Did: EventWithdraw, Version: p.Change.Version, By: p.Closed.By, Reason: p.Closed.Reason, Proposal: p.ID})
		}
	}
	slices.SortStableFunc(h.Steps, func(a, b Step) int { return a.Time.Compare(b.Time) })
	return h, nil
}

// RollBack makes the version judge again that did before the active one, or before a retired policy's retirement; version says which, 0 for the last. One approver
// may, where the rules of approval allow it: see gateRollback.
func (b *Broker) RollBack(ctx context.Context, who access.Caller, namespace, name string, version uint64, reason string) (PolicyInfo, error) {
	if err := authorizeOn(who, namespace, access.Some(), access.Approver); err != nil {
		return PolicyInfo{}, err
	}
	if err := checkReason(reason, true); err != nil {
		return PolicyInfo{}, err
	}
	var record policyRecord
	var target PolicyVersion
	err := b.alter(ctx, who, namespace, leave{rollback: &target}, func(d *desk) (_ *alteration, err error) {
		var at uint64
		if record, at, err = b.policyFor(ctx, who, namespace, name, access.Approver); err != nil {
			return nil, err
		}
		v := record.before()
		if version != 0 {
			v = record.find(version)
		}
		switch {
		case v == nil && version != 0:
			return nil, notFound("policy %q has no version %d", name, version)
		case v == nil:
			return nil, &Error{Code: CodeConflict, Message: fmt.Sprintf("no other version of policy %q has judged yet: there is nothing to go back to", name)}
		case v.Version == record.Active:
			return nil, &Error{Code: CodeConflict, Message: fmt.Sprintf("version %d of policy %q judges already", v.Version, name)}
		}
		target = *v
		event := Event{Type: EventPolicyRollback, Object: name, Version: v.Version, Digest: v.Digest, Activated: true, Reason: reason}
		return b.activation(namespace, d, &record, at, v.Version, event, leave{rollback: &target}, person(who))
	})
	if err != nil {
		return PolicyInfo{}, err
	}
	return record.PolicyInfo, nil
}
