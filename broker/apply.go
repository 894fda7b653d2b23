package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/broker/access"
)

// Several documents are applied together: policies, sets of reference values and the rules of approval, as somebody keeps them in files. What they state is held against what
// judges now, and what differs is changed in one commit, through the gate like every change. See applyplan.go for what is changed and applyorder.go for in which order,
// where the store makes one write after the other.

// MaxApplied is how many changes are applied at once: more would not fit into one entry of the audit log.
const MaxApplied = 200

// Document is one file.
type Document struct {
	Filename string // for messages only
	Source   []byte
}

// Apply says what is to be applied.
type Apply struct {
	Documents []Document
	Prune     bool   // also retire the policies and the reference values that no document states
	Propose   bool   // propose what needs approvals, instead of applying nothing
	DryRun    bool   // only say what would be done
	Base      string // what it was planned on, as an earlier answer says; "" for whatever is there
	Reason    string // for the log, and for those who approve; needed to propose
}

// ApplyAction is what applying a document does.
type ApplyAction string

// The actions.
const (
	ApplyCreate    ApplyAction = "create" // nothing of this name judges yet
	ApplyChange    ApplyAction = "change"
	ApplyRetire    ApplyAction = "retire" // no document states it
	ApplyUnchanged ApplyAction = "unchanged"
)

// ApplyResult is what was done, or would be.
type ApplyResult struct {
	Base    string            `json:"base"`    // digest of what judged before, as far as the documents say anything of it
	Made    bool              `json:"made"`    // something was changed
	Changes []AppliedDocument `json:"changes"` // in the order in which they are made
}

// AppliedDocument is one document, or one thing that none states.
type AppliedDocument struct {
	Kind     string      `json:"kind"`
	Name     string      `json:"name,omitempty"` // none of the rules of approval
	Filename string      `json:"filename,omitempty"`
	Action   ApplyAction `json:"action"`
	Before   string      `json:"before,omitempty"` // the document that states what judges now
	After    string      `json:"after,omitempty"`
	Needs    string      `json:"needs,omitempty"`    // why it cannot be applied by who asked, alone
	Made     bool        `json:"made,omitempty"`     // it was changed
	Proposal string      `json:"proposal,omitempty"` // id of the proposal of it
	Refused  string      `json:"refused,omitempty"`  // why it could not be proposed either
}

// Apply makes what judges as documents state it: all of it in one commit with one entry in the audit log, or nothing. What is so already is left alone, so that the same
// documents again change nothing. A document that has problems is an *Error whose cause is a *policy.Problems. Authors may who are approvers, too.
//
// Where approvals are needed, nothing is applied, with CodeApproval; with Propose, the rest is applied and what needs them is proposed, and so is what an author who is
// no approver applies. What must not come before a change that waits for approvals waits with it. Where a store is not atomic, changes that could release in the meantime what neither the old state nor the
// new one releases are refused with CodeConflict. So is a Base that is not so any more. Whoever may read policies may ask for a DryRun.
func (b *Broker) Apply(ctx context.Context, who access.Caller, namespace string, in Apply) (ApplyResult, error) {
	roles := []access.Role{access.Author}
	if in.DryRun {
		roles = readers
	}
	if err := authorizeIn(who, namespace, roles...); err != nil {
		return ApplyResult{}, err
	}
	if err := checkReason(in.Reason, in.Propose && !in.DryRun); err != nil {
		return ApplyResult{}, err
	}
	stated, err := parseDocuments(in.Documents)
	if err != nil {
		return ApplyResult{}, err
	}
	stated.prune = in.Prune
	d, err := b.openDesk(ctx, namespace)
	if err != nil {
		return ApplyResult{}, asError(err)
	}
	plan, err := b.planApply(ctx, who, namespace, d, stated, in.Reason)
	if err != nil {
		return ApplyResult{}, asError(err)
	}
	switch {
	case in.Base != "" && in.Base != plan.base:
		return plan.result(), staleBase()
	case in.DryRun:
		return plan.result(), nil
	case len(plan.waiting()) > 0 && !in.Propose:
		return plan.result(), plan.refusal()
	}
	if err := b.applyNow(ctx, who, namespace, stated, plan, in); err != nil {
		return ApplyResult{}, asError(err)
	}
	for _, item := range plan.now() {
		item.Made = true
	}
	b.proposeWaiting(ctx, who, namespace, stated, plan, in.Reason)
	return plan.result(), nil
}

func staleBase() *Error {
	return &Error{Code: CodeConflict, Message: "what judges has changed since this was planned, and nothing was applied: look at the difference again"}
}

// refusal says what cannot be applied.
func (p *applyPlan) refusal() *Error {
	var lines []string
	for _, item := range p.waiting() {
		lines = append(lines, fmt.Sprintf("%s: %s", item.title(), item.Needs))
	}
	return needsApproval("nothing was applied, because this may not be changed alone; with --propose it is proposed, and the rest applied:\n%s", strings.Join(lines, "\n"))
}

// applyNow makes the part of a plan that waits for nobody, if nothing has changed since it was made.
func (b *Broker) applyNow(ctx context.Context, who access.Caller, namespace string, stated *statedDocuments, plan *applyPlan, in Apply) error {
	if len(plan.now()) == 0 {
		return nil
	}
	if stated.rules != nil && plan.item(approvalKind, "").isNow() {
		// A draft changes nothing, and then it is there to be put in force with the rest.
		if _, err := b.PutApprovalRules(ctx, who, namespace, PutPolicy{Filename: stated.files[documentID{approvalKind, ""}], Source: stated.rules.Source(), Reason: in.Reason}); err != nil {
			return err
		}
	}
	if !plan.recounts() {
		return b.applyHarmless(ctx, who, namespace, plan, in.Reason)
	}
	return b.alter(ctx, who, namespace, leave{}, func(d *desk) (*alteration, error) {
		fresh, err := b.planApply(ctx, who, namespace, d, stated, in.Reason)
		if err != nil {
			return nil, err
		}
		kept := !slices.ContainsFunc(fresh.now(), func(i *applyItem) bool { return i.judges == nil })
		if fresh.base != plan.base || fresh.waitingText() != plan.waitingText() || !kept {
			return nil, staleBase()
		}
		if !b.store.Atomic() {
			if err := fresh.inOrder(); err != nil {
				return nil, err
			}
		}
		return fresh.together(in.Reason), nil
	})
}

// applyHarmless commits changes by which nobody is judged otherwise, as changeReferences does: authors may make them.
func (b *Broker) applyHarmless(ctx context.Context, who access.Caller, namespace string, plan *applyPlan, reason string) error {
	a := plan.together(reason)
	done, err := b.changing(ctx, namespace)
	if err != nil {
		return err
	}
	defer done()
	return b.commit(ctx, who, namespace, a.event, a.writes...)
}

// together makes one alteration of all that waits for nobody. What it touches is what any of them touches, so that the gate asks of it what it would ask of each.
func (p *applyPlan) together(reason string) *alteration {
	all := &alteration{event: Event{Type: EventApply, Reason: reason}}
	var lines [][]byte
	for _, item := range p.now() {
		a := item.judges
		all.touched.Policies = append(all.touched.Policies, a.touched.Policies...)
		all.touched.References = append(all.touched.References, a.touched.References...)
		all.guards = append(all.guards, a.guards...)
		if a.inForce != nil {
			all.inForce = a.inForce
		}
		all.writes, all.garbage = append(all.writes, a.writes...), append(all.garbage, a.garbage...)
		change := EventChange{Type: a.event.Type, Object: a.event.Object, Version: a.event.Version, Digest: a.event.Digest, Activated: a.event.Activated}
		all.event.Changes = append(all.event.Changes, change)
		lines = append(lines, []byte(fmt.Sprintf("%s %s %d %s\n", change.Type, change.Object, change.Version, change.Digest)))
	}
	all.event.Object = fmt.Sprintf("%d documents", len(all.event.Changes))
	all.event.Digest = digest(lines...)
	return all
}

// proposeWaiting proposes what waits for approvals, and says in the plan what came of it.
func (b *Broker) proposeWaiting(ctx context.Context, who access.Caller, namespace string, stated *statedDocuments, plan *applyPlan, reason string) {
	for _, item := range plan.waiting() {
		id, err := b.proposeItem(ctx, who, namespace, stated, item, reason)
		if err != nil {
			item.Refused = asError(err).Message
		}
		item.Proposal = id
	}
}

// proposeItem proposes one change, unless it is proposed already, and returns the proposal's id.
func (b *Broker) proposeItem(ctx context.Context, who access.Caller, namespace string, stated *statedDocuments, item *applyItem, reason string) (string, error) {
	change := item.change
	put := PutPolicy{Filename: item.Filename, Reason: reason}
	switch change.Type {
	case ChangePolicyActivate:
		put.Source = stated.policies[item.Name].Source()
		info, err := b.PutPolicy(ctx, who, namespace, put)
		if err != nil {
			return "", err
		}
		change.Version = info.Versions[len(info.Versions)-1].Version
	case ChangeRulesActivate:
		put.Source = stated.rules.Source()
		info, err := b.PutApprovalRules(ctx, who, namespace, put)
		if err != nil {
			return "", err
		}
		change.Version = info.Versions[len(info.Versions)-1].Version
	}
	if id, err := b.proposedAlready(ctx, namespace, &change); id != "" || err != nil {
		return id, err
	}
	p, err := b.Propose(ctx, who, namespace, change, reason)
	return p.ID, err
}

// proposedAlready returns the id of an open proposal of a change that could still be made, "" if there is none.
func (b *Broker) proposedAlready(ctx context.Context, namespace string, change *Change) (string, error) {
	d, err := b.openDesk(ctx, namespace)
	if err != nil {
		return "", err
	}
	for _, e := range d.Open {
		if e.Type != change.Type || e.Name != change.Name || e.Version != change.Version {
			continue
		}
		p, err := b.standingOf(ctx, namespace, d, e.ID)
		if err != nil && !codeIs(err, CodeNotFound) {
			return "", err
		}
		if err == nil && (p.State == ProposalOpen || p.State == ProposalApproved) && sameValues(&p.Change, change) {
			return p.ID, nil
		}
	}
	return "", nil
}
