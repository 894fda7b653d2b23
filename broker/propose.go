package broker

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/approval"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

// Propose proposes a change, which changes nothing yet. Of the change, type, name, version, values and what is to retire are for the proposer to say. Authors
// and approvers may; the proposer counts as an author of the change. Those with a scope may of policies that lie in it.
func (b *Broker) Propose(ctx context.Context, who access.Caller, namespace string, change Change, reason string) (Proposal, error) {
	on := access.Whole()
	if change.Type.ofPolicy() {
		on = access.Some()
	}
	if err := authorizeOn(who, namespace, on, access.Author, access.Approver); err != nil {
		return Proposal{}, err
	}
	if err := checkReason(reason, true); err != nil {
		return Proposal{}, err
	}
	if err := approval.CheckSubject(who.Subject); err != nil {
		return Proposal{}, invalid("you cannot propose: %w", err)
	}
	change.Digest = ""
	now := b.now().UTC().Truncate(time.Second)
	for i := range change.Values {
		change.Values[i].State, change.Values[i].AddedBy, change.Values[i].AddedAt, change.Values[i].LastMatched = reference.Active, who.Name, now, time.Time{}
		change.Values[i].Origin = nil // which only a statement gives
	}
	for range alterAttempts {
		d, err := b.openDesk(ctx, namespace)
		if err != nil {
			return Proposal{}, asError(err)
		}
		if seen, err := b.sees(ctx, who, namespace, change.Type, change.Name); err != nil {
			return Proposal{}, asError(err)
		} else if !seen {
			return Proposal{}, absent(who, "policy %q", clip(change.Name))
		}
		id, err := b.newProposalID()
		if err != nil {
			return Proposal{}, asError(err)
		}
		p := Proposal{ID: id, Namespace: namespace, Change: change, Proposer: person(who), Reason: reason, Created: now, State: ProposalOpen, Approvals: []Approval{}}
		if err := b.complete(ctx, namespace, d, &p); err != nil {
			return Proposal{}, asError(err)
		}
		conflict, err := b.commitProposal(ctx, who, namespace, d, &p)
		if conflict {
			continue
		}
		if err != nil {
			return Proposal{}, err
		}
		return b.standing(ctx, namespace, d, p)
	}
	return Proposal{}, &Error{Code: CodeConflict, Message: "others change proposals all the time: try again"}
}

// complete fills in what a proposal's change starts from, and who its authors are, and checks that it could be made.
func (b *Broker) complete(ctx context.Context, namespace string, d *desk, p *Proposal) error {
	a, base, authors, err := b.planned(ctx, namespace, d, leave{proposal: p}, p.Proposer)
	if err != nil {
		return err
	}
	if a == nil {
		return &Error{Code: CodeConflict, Message: fmt.Sprintf("there is nothing to propose: %q is so already", p.Change.subject())}
	}
	p.Base, p.Authors = base, append(authors, p.Proposer)
	if rule := d.demand(a).Immutable(); rule != "" {
		return needsApproval("rule %s says that this is immutable: only a change of the approval rules lifts that", rule)
	}
	p.Digest, err = p.digestOf()
	return err
}

// commitProposal records a new proposal, within the limits of the desk. Proposals that can never be made any more make room.
func (b *Broker) commitProposal(ctx context.Context, who access.Caller, namespace string, d *desk, p *Proposal) (conflict bool, err error) {
	gone, err := b.sweepDesk(ctx, namespace, d)
	if err != nil {
		return false, asError(err)
	}
	mine := 0
	for _, e := range d.Open {
		if e.Type == p.Change.Type && e.Name == p.Change.Name && e.Version == p.Change.Version && e.Version != 0 {
			return false, &Error{Code: CodeConflict, Message: fmt.Sprintf("this is proposed already, as %s: withdraw that first", e.ID)}
		}
		if !approval.Distinct(approval.Person{Subject: e.By}, approval.Person{Subject: who.Subject}) {
			mine++
		}
	}
	switch {
	case mine >= MaxOpenByOne:
		return false, &Error{Code: CodeConflict, Message: fmt.Sprintf("%d proposals of yours are open, and at most %d may be: withdraw some", mine, MaxOpenByOne)}
	case len(d.Open) >= MaxOpenProposals:
		return false, &Error{Code: CodeConflict, Message: fmt.Sprintf(
			"%d proposals are open in the namespace, and no more may be: wait until some are carried out or withdrawn", MaxOpenProposals)}
	}
	d.Open = append(d.Open, deskEntry{ID: p.ID, Type: p.Change.Type, Name: p.Change.Name, Version: p.Change.Version, By: who.Subject, Created: p.Created})
	w, err := d.write()
	if err != nil {
		return false, asError(err)
	}
	record, err := write(proposalKey(namespace, p.ID), 0, p)
	if err != nil {
		return false, asError(err)
	}
	if len(record.Value) > MaxProposal {
		return false, invalid("the proposal has %d bytes, more than %d: propose fewer values", len(record.Value), MaxProposal)
	}
	garbage, err := b.removals(ctx, namespace, gone)
	if err != nil {
		return false, asError(err)
	}
	// The record first: what nothing leads to harms nobody.
	event := Event{Type: EventPropose, Object: p.Change.subject(), Version: p.Change.Version, Digest: p.Digest, Proposal: p.ID, Reason: p.Reason}
	err = b.commitAndTidy(ctx, who, namespace, event, []store.Write{record, w}, garbage)
	return codeIs(err, CodeConflict), err
}

// sweepDesk closes proposals that can never be made any more: they have lapsed, or what they start from has changed. It returns those that are kept no longer.
func (b *Broker) sweepDesk(ctx context.Context, namespace string, d *desk) (gone []deskEntry, err error) {
	for _, e := range slices.Clone(d.Open) {
		p, err := b.standingOf(ctx, namespace, d, e.ID)
		if err != nil && !codeIs(err, CodeNotFound) {
			return nil, err
		}
		if err != nil || p.State != ProposalOpen && p.State != ProposalApproved {
			gone = append(gone, d.close(e.ID)...)
		}
	}
	return gone, nil
}

// removals are the writes that remove proposals that are kept no longer.
func (b *Broker) removals(ctx context.Context, namespace string, gone []deskEntry) ([]store.Write, error) {
	var writes []store.Write
	for _, e := range gone {
		old, err := b.store.Get(ctx, proposalKey(namespace, e.ID))
		if err == nil {
			writes = append(writes, store.Write{Key: old.Key, Version: old.Version})
		} else if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
	}
	return writes, nil
}

// planned is the alteration that carries out a proposal, nil when there is nothing to change, with what it starts from now and the authors of what is activated. It
// writes nothing, changes nothing in the desk, and asks for no approvals. as is who carries it out.
func (b *Broker) planned(ctx context.Context, namespace string, d *desk, by leave, as Person) (*alteration, Base, []Person, error) {
	switch c := &by.proposal.Change; c.Type {
	case ChangePolicyActivate, ChangePolicyRetire:
		return b.plannedPolicy(ctx, namespace, d, by, as)
	case ChangeRulesActivate, ChangeRulesRetire:
		return b.plannedRules(ctx, namespace, d, by, as)
	case ChangeReferencePut, ChangeReferenceRetire:
		return b.plannedReferences(ctx, namespace, d, by.proposal)
	default:
		return nil, Base{}, nil, invalid("%q is no type of change", clip(string(c.Type)))
	}
}

func (b *Broker) plannedPolicy(ctx context.Context, namespace string, d *desk, by leave, as Person) (*alteration, Base, []Person, error) {
	c := &by.proposal.Change
	if len(c.Values)+len(c.Retire) > 0 || (c.Type == ChangePolicyRetire) != (c.Version == 0) {
		return nil, Base{}, nil, invalid("to activate a policy takes its name and a version, to retire it the name")
	}
	record, at, err := b.policyRecord(ctx, namespace, c.Name)
	if err != nil {
		return nil, Base{}, nil, err
	}
	base := baseOf(&record)
	if record.Active == c.Version {
		return nil, base, nil, nil
	}
	event := Event{Type: EventPolicyRetire, Object: c.Name, Version: record.Active}
	var authors []Person
	if v := record.find(c.Version); v != nil {
		source, err := b.policySource(ctx, namespace, record.Name, v)
		if err != nil {
			return nil, base, nil, err
		}
		if c.Digest == "" {
			c.Digest = v.Digest
		}
		if c.Digest != v.Digest {
			return nil, base, nil, damaged("version %d of policy %q is not what was proposed", v.Version, c.Name)
		}
		if base.Sets, err = b.setsOf(ctx, namespace, source.References()); err != nil {
			return nil, base, nil, err
		}
		event = Event{Type: EventPolicyActivate, Object: c.Name, Version: c.Version, Digest: v.Digest, Activated: true}
		authors = record.authorsOf(v.Digest)
	} else if c.Type == ChangePolicyActivate {
		return nil, base, nil, notFound("policy %q has no version %d", c.Name, c.Version)
	}
	event.Reason = by.proposal.Reason
	a, err := b.activation(namespace, d, &record, at, c.Version, event, by, as)
	if err != nil {
		return nil, base, nil, err
	}
	// On a store that is not atomic another change of these sets may be on its way, past the gate already: then one of the two comes too late.
	if !b.store.Atomic() {
		touched, err := b.touch(ctx, namespace, base.Sets)
		if err != nil {
			return nil, base, nil, err
		}
		a.writes = append(touched, a.writes...)
	}
	return a, base, authors, nil
}

func baseOf(record *policyRecord) Base {
	base := Base{Active: record.Active, Changes: record.Changes}
	if v := record.find(record.Active); v != nil {
		base.Digest = v.Digest
	}
	return base
}

// authorsOf returns who wrote a version with that digest, each once.
func (p *policyRecord) authorsOf(digest string) []Person {
	var authors []Person
	for i := range p.Versions {
		if a := p.Versions[i].author(); p.Versions[i].Digest == digest && !slices.ContainsFunc(authors, func(other Person) bool { return reflect.DeepEqual(a, other) }) {
			authors = append(authors, a)
		}
	}
	return authors
}

// policySource reads and parses the source of a version, and holds it against its digest.
func (b *Broker) policySource(ctx context.Context, namespace, name string, v *PolicyVersion) (*policy.Policy, error) {
	source, err := b.store.Get(ctx, policyVersionKey(namespace, name, v.Version))
	if err != nil {
		return nil, err
	}
	p, err := policy.Parse(name, source.Value)
	if err != nil || p.Digest() != v.Digest || p.Name() != name {
		return nil, damaged("policy %q version %d is not what was recorded", name, v.Version)
	}
	return p, nil
}

// setsOf returns the digests of what counts of sets of reference values.
func (b *Broker) setsOf(ctx context.Context, namespace string, names []string) (map[string]string, error) {
	var sets map[string]string
	for _, name := range names {
		set, _, err := b.referenceSet(ctx, namespace, name)
		if err != nil {
			return nil, err
		}
		if sets == nil {
			sets = map[string]string{}
		}
		sets[name] = counting(set)
	}
	return sets, nil
}

// touch returns writes that write sets again as they are.
func (b *Broker) touch(ctx context.Context, namespace string, sets map[string]string) ([]store.Write, error) {
	var writes []store.Write
	for name := range sets {
		set, at, err := b.referenceSet(ctx, namespace, name)
		if err != nil {
			return nil, err
		}
		if at == 0 {
			continue
		}
		text, err := reference.Encode(set)
		if err != nil {
			return nil, err
		}
		writes = append(writes, store.Write{Key: referenceKey(namespace, name), Version: at, Value: text})
	}
	return writes, nil
}

func (b *Broker) plannedReferences(ctx context.Context, namespace string, d *desk, p *Proposal) (*alteration, Base, []Person, error) {
	c := &p.Change
	put := c.Type == ChangeReferencePut
	if n := len(c.Values) + len(c.Retire); c.Version != 0 || n == 0 || n > MaxPage || put != (len(c.Values) > 0) || put != (len(c.Retire) == 0) {
		return nil, Base{}, nil, invalid("to put reference values takes a set and 1 to %d values, to retire them the same", MaxPage)
	}
	before, at, err := b.referenceSet(ctx, namespace, c.Name)
	if err != nil {
		return nil, Base{}, nil, err
	}
	base := Base{Sets: map[string]string{c.Name: counting(before)}}
	after, text, err := changed(before, at, put, func(set reference.Set) (reference.Set, error) {
		if put {
			return fold(set, c.Values, putByHand)
		}
		return fold(set, c.Retire, reference.Set.Retire)
	})
	if err != nil {
		return nil, base, nil, err
	}
	if counting(before) == counting(after) {
		return nil, base, nil, nil
	}
	if at == 0 {
		if err := b.roomForSets(ctx, namespace, 1); err != nil {
			return nil, base, nil, err
		}
	}
	event := Event{Type: EventReferencePut, Object: c.Name, Digest: digest(text), Reason: p.Reason}
	if !put {
		event.Type = EventReferenceRetire
	}
	a, err := b.recounting(ctx, namespace, d, event, store.Write{Key: referenceKey(namespace, c.Name), Version: at, Value: text})
	return a, base, nil, err
}
