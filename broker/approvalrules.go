package broker

import (
	"context"
	"errors"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy/approval"
	"github.com/vouchsafe/vouchsafe/store"
)

// rulesName is what the rules of approval are called in the log and in messages. No policy can have it: it has a blank.
const rulesName = "approval rules"

// PutApprovalRules adds a draft of the rules of approval, which changes nothing yet. The same source as the newest version's changes nothing. Authors may.
func (b *Broker) PutApprovalRules(ctx context.Context, who access.Caller, namespace string, put PutPolicy) (PolicyInfo, error) {
	if err := authorizeIn(who, namespace, access.Author); err != nil {
		return PolicyInfo{}, err
	}
	if err := checkReason(put.Reason, false); err != nil {
		return PolicyInfo{}, err
	}
	r, err := approval.Parse(put.Filename, put.Source)
	if err != nil {
		return PolicyInfo{}, &Error{Code: CodeInvalid, Message: err.Error(), Err: err}
	}
	for range alterAttempts {
		d, err := b.openDesk(ctx, namespace)
		if err != nil {
			return PolicyInfo{}, asError(err)
		}
		if d.Rules.last(r.Digest()) != nil {
			return d.Rules.PolicyInfo, nil
		}
		key := func(version uint64) string { return rulesVersionKey(namespace, version) }
		writes, garbage, err := b.addVersion(ctx, d, ChangeRulesActivate, &d.Rules, key, r.Source(), MaxRulesVersions, PolicyVersion{
			Digest: r.Digest(), Secrets: []string{}, Reason: put.Reason, CreatedBy: who.Name, Author: new(person(who)),
		})
		if err != nil {
			return PolicyInfo{}, asError(err)
		}
		w, err := d.write()
		if err != nil {
			return PolicyInfo{}, asError(err)
		}
		event := Event{Type: EventRulesDraft, Object: rulesName, Version: d.Rules.Last, Digest: r.Digest(), Reason: put.Reason}
		err = b.commitAndTidy(ctx, who, namespace, event, append(writes, w), garbage)
		if codeIs(err, CodeConflict) {
			continue
		}
		if err != nil {
			return PolicyInfo{}, err
		}
		return d.Rules.PolicyInfo, nil
	}
	return PolicyInfo{}, &Error{Code: CodeConflict, Message: "others change proposals all the time: try again"}
}

// ActivateApprovalRules puts a version of the rules in force, 0 none, where there are none: one approver may. Where there are some, every change of them is proposed.
func (b *Broker) ActivateApprovalRules(ctx context.Context, who access.Caller, namespace string, version uint64) (PolicyInfo, error) {
	if err := authorizeIn(who, namespace, access.Approver); err != nil {
		return PolicyInfo{}, err
	}
	var info PolicyInfo
	err := b.alter(ctx, who, namespace, leave{}, func(d *desk) (*alteration, error) {
		a, err := b.rulesActivation(ctx, namespace, d, version, leave{}, person(who), "")
		if info = d.Rules.PolicyInfo; a != nil {
			info = a.inForce.PolicyInfo
		}
		return a, err
	})
	if err != nil {
		return PolicyInfo{}, err
	}
	return info, nil
}

// rulesActivation is the alteration that puts a version of the rules in force, nil when it is.
func (b *Broker) rulesActivation(ctx context.Context, namespace string, d *desk, version uint64, by leave, as Person, reason string) (*alteration, error) {
	if d.Rules.Active == version {
		return nil, nil
	}
	a := &alteration{event: Event{Type: EventRulesRetire, Object: rulesName, Version: d.Rules.Active, Reason: reason}}
	if version != 0 {
		next, err := b.rulesVersion(ctx, namespace, &d.Rules, version)
		if err != nil {
			return nil, err
		}
		a.event = Event{Type: EventRulesActivate, Object: rulesName, Version: version, Digest: next.Digest(), Activated: true, Reason: reason}
	}
	step := Step{Time: b.now(), Did: a.event.Type, Version: a.event.Version, By: as, Reason: reason}
	if by.proposal != nil {
		step.Proposal, step.Approved = by.proposal.ID, by.proposal.approvers()
	}
	a.inForce = d.Rules.clone()
	a.inForce.activate(version, d.rules.Digest(), by, step)
	return a, nil
}

func (b *Broker) plannedRules(ctx context.Context, namespace string, d *desk, by leave, as Person) (*alteration, Base, []Person, error) {
	c := &by.proposal.Change
	if c.Name != "" || len(c.Values)+len(c.Retire) > 0 || (c.Type == ChangeRulesRetire) != (c.Version == 0) {
		return nil, Base{}, nil, invalid("to put approval rules in force takes a version, to retire them nothing")
	}
	base := baseOf(&d.Rules)
	var authors []Person
	if v := d.Rules.find(c.Version); v != nil {
		if c.Digest == "" {
			c.Digest = v.Digest
		}
		if c.Digest != v.Digest {
			return nil, base, nil, damaged("version %d of the approval rules is not what was proposed", v.Version)
		}
		authors = d.Rules.authorsOf(v.Digest)
	}
	a, err := b.rulesActivation(ctx, namespace, d, c.Version, by, as, by.proposal.Reason)
	return a, base, authors, err
}

// ApprovalRules returns the versions of the rules of approval and the source of one of them, 0 for the one in force or, where none is, the newest. Who may read
// policies may.
func (b *Broker) ApprovalRules(ctx context.Context, who access.Caller, namespace string, version uint64) (PolicyInfo, []byte, error) {
	if err := authorizeIn(who, namespace, readers...); err != nil {
		return PolicyInfo{}, nil, err
	}
	d, err := b.openDesk(ctx, namespace)
	if err != nil {
		return PolicyInfo{}, nil, asError(err)
	}
	if version == 0 {
		version = d.Rules.Active
	}
	if version == 0 && len(d.Rules.Versions) > 0 {
		version = d.Rules.Versions[len(d.Rules.Versions)-1].Version
	}
	if version == 0 {
		return PolicyInfo{}, nil, notFound("there are no approval rules: one approver makes any change")
	}
	source, err := b.store.Get(ctx, rulesVersionKey(namespace, version))
	if errors.Is(err, store.ErrNotFound) {
		return PolicyInfo{}, nil, notFound("there is no version %d of the approval rules", version)
	}
	if err != nil {
		return PolicyInfo{}, nil, asError(err)
	}
	for _, e := range d.Open {
		if e.Type == ChangeRulesActivate {
			if err := b.overlayVersion(ctx, namespace, d, d.Rules.Versions, e); err != nil {
				return PolicyInfo{}, nil, asError(err)
			}
		}
	}
	for _, e := range d.Broken {
		if e.Type == ChangeRulesActivate || e.Type == ChangeRulesRetire {
			d.Rules.Broken = append(d.Rules.Broken, e.ID)
		}
	}
	return d.Rules.PolicyInfo, source.Value, nil
}

// ApprovalRulesHistory returns what was done to the rules of approval. Who may read policies may.
func (b *Broker) ApprovalRulesHistory(ctx context.Context, who access.Caller, namespace string) (PolicyHistory, error) {
	if err := authorizeIn(who, namespace, readers...); err != nil {
		return PolicyHistory{}, err
	}
	d, err := b.openDesk(ctx, namespace)
	if err != nil {
		return PolicyHistory{}, asError(err)
	}
	return b.history(ctx, namespace, d, &d.Rules, func(e deskEntry) bool { return e.Type == ChangeRulesActivate || e.Type == ChangeRulesRetire })
}
