package broker

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy/approval"
	"github.com/vouchsafe/vouchsafe/store"
)

func codeIs(err error, code Code) bool {
	var known *Error
	return errors.As(err, &known) && known.Code == code
}

// ApproveProposal approves a proposal, whose digest is named in full: what is approved is what was read. Approving again renews the approval, which counts
// once all the same. An approval that could count for no rule is refused and not kept: an author's among them, unless glass says that it is
// for break-glass, where an author is a person like others. Approvers may.
// One with a scope may of a policy that lies in it, and the approval counts as long as the policy does.
func (b *Broker) ApproveProposal(ctx context.Context, who access.Caller, namespace, id, digest string, glass bool) (Proposal, error) {
	if err := authorizeOn(who, namespace, access.Some(), access.Approver); err != nil {
		return Proposal{}, err
	}
	d, p, at, err := b.openProposal(ctx, who, namespace, id)
	if err != nil {
		return Proposal{}, asError(err)
	}
	if subtle.ConstantTimeCompare([]byte(digest), []byte(p.Digest)) != 1 {
		return Proposal{}, invalid("the digest is not that of proposal %s: read the proposal, and approve the digest that it shows, in full", id)
	}
	mine := Approval{Person: person(who), Digest: digest, Time: b.now().UTC()}
	if mine.Scope, err = b.scopeFor(ctx, who, namespace, &p.Change); err != nil {
		return Proposal{}, asError(err)
	}
	p.Approvals = append(slices.DeleteFunc(p.Approvals, func(a Approval) bool { return mine.renews(a) }), mine)
	if len(p.Approvals) > maxApprovals {
		return Proposal{}, &Error{Code: CodeConflict, Message: fmt.Sprintf("proposal %s has %d approvals, and no room for another", id, maxApprovals)}
	}
	if err := b.mayCount(ctx, namespace, d, p, len(p.Approvals)-1, glass); err != nil {
		return Proposal{}, asError(err)
	}
	w, err := write(proposalKey(namespace, id), at, p)
	if err != nil {
		return Proposal{}, asError(err)
	}
	event := Event{Type: EventApprove, Object: p.Change.subject(), Version: p.Change.Version, Digest: digest, Proposal: id}
	if err := b.commit(ctx, who, namespace, event, w); err != nil {
		return Proposal{}, err
	}
	return b.standing(ctx, namespace, d, *p)
}

// renews reports whether a takes the place of an earlier approval: of the same person, authenticated in the same way. Whoever logs in has another credential each
// time. Of tokens it must be the same one: anyone who may make tokens can make one of another's name, and would take that person's approval away with it.
func (a Approval) renews(earlier Approval) bool {
	return a.Subject == earlier.Subject && a.Via == earlier.Via && (a.Token == earlier.Token || a.Via != access.ViaToken)
}

// mayCount returns nil when the approval at a position counts for one of the rules that cover the proposal, or there are none.
func (b *Broker) mayCount(ctx context.Context, namespace string, d *desk, p *Proposal, at int, glass bool) error {
	demand, touches, err := b.demandOf(ctx, namespace, d, p)
	if err != nil {
		return err
	}
	c, not, err := b.caseOf(ctx, namespace, p, touches)
	if err != nil {
		return err
	}
	if err := demand.Open(c); err != nil {
		return &Error{Code: CodeConflict, Message: fmt.Sprintf("proposal %s is not open: %v", p.ID, err)}
	}
	v := demand.Judge(c)
	if glass {
		v = demand.Glass(c)
	}
	why := cmp.Or(not[at], notFor(v, at))
	if err := approval.CheckSubject(p.Approvals[at].Subject); why == "" && err != nil { // no rule has looked at it where none covers the proposal
		why = err.Error()
	}
	if why == "" {
		return nil
	}
	return &Error{Code: CodeForbidden, Message: "your approval would not count: " + why}
}

// openProposal reads a proposal that is open, with the desk, for a caller.
func (b *Broker) openProposal(ctx context.Context, who access.Caller, namespace, id string) (*desk, *Proposal, uint64, error) {
	d, err := b.openDesk(ctx, namespace)
	if err != nil {
		return nil, nil, 0, err
	}
	p, at, err := b.proposalFor(ctx, who, namespace, id)
	if err != nil {
		return nil, nil, 0, err
	}
	if p.State != ProposalOpen {
		return nil, nil, 0, &Error{Code: CodeConflict, Message: fmt.Sprintf("proposal %s is not open: it was %s", id, p.State)}
	}
	return d, p, at, nil
}

// WithdrawProposal ends a proposal that was not made. Its proposer may, and every approver.
func (b *Broker) WithdrawProposal(ctx context.Context, who access.Caller, namespace, id, reason string) (Proposal, error) {
	if err := authorizeOn(who, namespace, access.Some(), access.Author, access.Approver); err != nil {
		return Proposal{}, err
	}
	if err := checkReason(reason, false); err != nil {
		return Proposal{}, err
	}
	for range alterAttempts {
		d, p, at, err := b.openProposal(ctx, who, namespace, id)
		if err != nil {
			return Proposal{}, asError(err)
		}
		if p.Proposer.Subject != who.Subject {
			if err := authorizeOn(who, namespace, access.Some(), access.Approver); err != nil {
				return Proposal{}, err
			}
		}
		p.State = ProposalWithdrawn
		p.Closed = &Step{Time: b.now().UTC(), Did: EventWithdraw, By: person(who), Reason: reason}
		gone, err := b.removals(ctx, namespace, d.close(id))
		if err != nil {
			return Proposal{}, asError(err)
		}
		record, err := write(proposalKey(namespace, id), at, p)
		if err != nil {
			return Proposal{}, asError(err)
		}
		w, err := d.write()
		if err != nil {
			return Proposal{}, asError(err)
		}
		event := Event{Type: EventWithdraw, Object: p.Change.subject(), Version: p.Change.Version, Digest: p.Digest, Proposal: id, Reason: reason}
		err = b.commitAndTidy(ctx, who, namespace, event, []store.Write{record, w}, gone)
		if codeIs(err, CodeConflict) {
			continue
		}
		if err != nil {
			return Proposal{}, err
		}
		return *p, nil
	}
	return Proposal{}, &Error{Code: CodeConflict, Message: "others change proposals all the time: try again"}
}

// Activation says how a proposal is carried out.
type Activation struct {
	BreakGlass bool
	Reason     string // of break-glass, needed there
}

// ActivateProposal carries out a proposal that has the approvals which the rules in force now demand. What it starts from must be as it was when it
// was proposed. Approvers may.
func (b *Broker) ActivateProposal(ctx context.Context, who access.Caller, namespace, id string, how Activation) (Proposal, error) {
	if err := authorizeOn(who, namespace, access.Some(), access.Approver); err != nil {
		return Proposal{}, err
	}
	if err := checkReason(how.Reason, how.BreakGlass); err != nil {
		return Proposal{}, err
	}
	var p Proposal
	by := leave{proposal: &p, glass: how.BreakGlass}
	err := b.alter(ctx, who, namespace, by, func(d *desk) (*alteration, error) {
		fresh, at, err := b.proposalFor(ctx, who, namespace, id)
		if err != nil {
			return nil, err
		}
		if p = *fresh; p.State != ProposalOpen {
			return nil, &Error{Code: CodeConflict, Message: fmt.Sprintf("proposal %s is not open: it was %s", id, p.State)}
		}
		a, err := b.carryOut(ctx, namespace, d, by, person(who), at)
		if err != nil || a == nil {
			return nil, err
		}
		return a, b.closing(ctx, who, namespace, d, &p, at, a, how)
	})
	if err != nil {
		return Proposal{}, err
	}
	if how.BreakGlass {
		b.brokeGlass(ctx, who, namespace, &p, how.Reason)
	}
	return p, nil
}

// carryOut is the alteration that a proposal stands for, provided that it starts from what it was proposed on. It is nil for one that was carried out by somebody who
// was stopped before the proposal said so, which only a store that is not atomic allows: then it says so now.
func (b *Broker) carryOut(ctx context.Context, namespace string, d *desk, by leave, as Person, at uint64) (*alteration, error) {
	p := by.proposal
	a, base, _, err := b.planned(ctx, namespace, d, by, as)
	if err != nil {
		return nil, err
	}
	if a == nil {
		made, err := b.madeAlready(ctx, namespace, d, p)
		if err != nil {
			return nil, err
		}
		if made {
			p.State = ProposalMade
			w, err := write(proposalKey(namespace, p.ID), at, p)
			if err != nil {
				return nil, err
			}
			return nil, b.store.Apply(ctx, w)
		}
	}
	want, err := p.digestOf()
	if err != nil {
		return nil, err
	}
	if a == nil || !reflect.DeepEqual(base, p.Base) || want != p.Digest {
		return nil, &Error{Code: CodeConflict, Message: fmt.Sprintf("%q has changed since this was proposed: propose it again", p.Change.subject())}
	}
	return a, nil
}

// madeAlready reports whether the steps of what a proposal changes say that it was carried out.
func (b *Broker) madeAlready(ctx context.Context, namespace string, d *desk, p *Proposal) (bool, error) {
	steps := d.Rules.Steps
	switch p.Change.Type {
	case ChangePolicyActivate, ChangePolicyRetire:
		record, _, err := b.policyRecord(ctx, namespace, p.Change.Name)
		if err != nil {
			return false, err
		}
		steps = record.Steps
	}
	return slices.ContainsFunc(steps, func(s Step) bool { return s.Proposal == p.ID }), nil
}

// closing adds to an alteration what closes its proposal, and what tells of it.
func (b *Broker) closing(ctx context.Context, who access.Caller, namespace string, d *desk, p *Proposal, at uint64, a *alteration, how Activation) error {
	p.State = ProposalMade
	p.Closed = &Step{Time: b.now().UTC(), Did: a.event.Type, Version: p.Change.Version, By: person(who), Reason: how.Reason, Approved: p.approvers()}
	a.event.Proposal, a.event.Approvals = p.ID, p.approvers()
	if how.BreakGlass {
		if len(d.Broken) >= MaxUnacknowledged {
			return &Error{Code: CodeConflict, Message: fmt.Sprintf("glass was broken %d times, and no auditor has acknowledged any of them", MaxUnacknowledged)}
		}
		p.Closed.Did = EventBreakGlass
		a.event.Type, a.event.Reason = EventBreakGlass, how.Reason
		c := &p.Change
		d.Broken = slices.DeleteFunc(d.Broken, func(e deskEntry) bool { return e.ID == p.ID })
		d.Broken = append(d.Broken, deskEntry{ID: p.ID, Type: c.Type, Name: c.Name, Version: c.Version, By: p.Proposer.Subject, Created: b.now().UTC()})
	}
	record, err := write(proposalKey(namespace, p.ID), at, p)
	if err != nil {
		return err
	}
	a.writes = append(a.writes, record)
	// Where the desk is written before the change is made, it goes on leading to the proposal, until the next one that is proposed sweeps it away.
	if b.store.Atomic() {
		gone, err := b.removals(ctx, namespace, d.close(p.ID))
		if err != nil {
			return err
		}
		a.garbage = append(a.garbage, gone...)
	}
	return nil
}

// approvers returns the subjects of a proposal's approvals, each once.
func (p *Proposal) approvers() []string {
	var subjects []string
	for _, a := range p.Approvals {
		if !slices.Contains(subjects, a.Subject) {
			subjects = append(subjects, a.Subject)
		}
	}
	return subjects
}

// GlassObserver may be implemented by an Observer that wants to know of break-glass, too.
type GlassObserver interface {
	BrokeGlass()
}

// brokeGlass says loudly what happened.
func (b *Broker) brokeGlass(ctx context.Context, who access.Caller, namespace string, p *Proposal, reason string) {
	if o, ok := b.observer.(GlassObserver); ok {
		o.BrokeGlass()
	}
	b.logger.ErrorContext(ctx, "glass was broken: a change of what judges was made without the approvals that it would have needed",
		"namespace", namespace, "change", p.Change.Type, "object", p.Change.subject(), "version", p.Change.Version, "proposal", p.ID,
		"approvals", p.approvers(), "actor", who.Subject, "via", who.Via, "remote", who.Remote, "reason", reason)
}

// AcknowledgeBreakGlass says that an auditor knows of it. Auditors may who had no hand in it.
func (b *Broker) AcknowledgeBreakGlass(ctx context.Context, who access.Caller, namespace, id, reason string) (Proposal, error) {
	if err := authorizeOn(who, namespace, access.Some(), access.Auditor); err != nil {
		return Proposal{}, err
	}
	if err := checkReason(reason, false); err != nil {
		return Proposal{}, err
	}
	for range alterAttempts {
		d, err := b.openDesk(ctx, namespace)
		if err != nil {
			return Proposal{}, asError(err)
		}
		at := slices.IndexFunc(d.Broken, func(e deskEntry) bool { return e.ID == id })
		seen := at >= 0
		if seen {
			if seen, err = b.sees(ctx, who, namespace, d.Broken[at].Type, d.Broken[at].Name); err != nil {
				return Proposal{}, asError(err)
			}
		}
		if !seen {
			return Proposal{}, absent(who, "break-glass %q that waits to be acknowledged", clip(id))
		}
		p, _, err := b.proposal(ctx, namespace, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) && !codeIs(err, CodeNotFound) {
			return Proposal{}, asError(err)
		}
		if p == nil {
			e := d.Broken[at] // it is kept no longer, but who proposed it is known
			p = &Proposal{ID: id, Change: Change{Type: e.Type, Name: e.Name, Version: e.Version}, Proposer: Person{Subject: e.By}}
		}
		hands := slices.Concat(p.Authors, []Person{p.Proposer})
		if p.Closed != nil {
			hands = append(hands, p.Closed.By)
		}
		for _, a := range p.Approvals {
			hands = append(hands, a.Person)
		}
		me := person(who)
		for _, hand := range hands {
			if hand.Subject != "" && !approval.Distinct(me.counted(), hand.counted()) {
				return Proposal{}, &Error{Code: CodeForbidden, Message: "you had a hand in it: another auditor must acknowledge it"}
			}
		}
		d.Broken = slices.Delete(d.Broken, at, at+1)
		w, err := d.write()
		if err != nil {
			return Proposal{}, asError(err)
		}
		event := Event{Type: EventAcknowledge, Object: p.Change.subject(), Version: p.Change.Version, Proposal: id, Reason: reason}
		if err := b.commit(ctx, who, namespace, event, w); err != nil {
			if codeIs(err, CodeConflict) {
				continue
			}
			return Proposal{}, err
		}
		return *p, nil
	}
	return Proposal{}, &Error{Code: CodeConflict, Message: "others change proposals all the time: try again"}
}
