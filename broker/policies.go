package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/approval"
	"github.com/vouchsafe/vouchsafe/store"
)

// MaxPolicyVersions is how many versions of a policy are kept. The source of the oldest one that is not active goes first; decisions
// name it by digest for ever.
const MaxPolicyVersions = 200

// PolicyState is where a version of a policy is in its life.
type PolicyState string

// The states of a policy's version.
const (
	PolicyDraft    PolicyState = "draft"    // changes nothing yet
	PolicyProposed PolicyState = "proposed" // a draft of which a proposal is open
	PolicyApproved PolicyState = "approved" // and that proposal has what the rules of approval demand
	PolicyActive   PolicyState = "active"   // judges
	PolicyRetired  PolicyState = "retired"  // judged once
)

// PolicyInfo is a policy's versions.
type PolicyInfo struct {
	Name     string          `json:"name"`
	Active   uint64          `json:"active"` // the version that judges; 0 for none
	Versions []PolicyVersion `json:"versions"`

	// Broken are the proposals that were made by break-glass and that no auditor has acknowledged.
	Broken []string `json:"broken,omitempty"`
}

// PolicyVersion is one version of a policy, or of the rules of approval.
type PolicyVersion struct {
	Version   uint64          `json:"version"`
	Digest    string          `json:"digest"` // "sha256:" and hex, of the source
	State     PolicyState     `json:"state"`
	Secrets   []string        `json:"secrets"` // the patterns it guards
	Waivers   []policy.Waiver `json:"waivers,omitempty"`
	Created   time.Time       `json:"created"`
	CreatedBy string          `json:"created_by"`
	Author    *Person         `json:"author,omitempty"` // absent of versions from before there were approvals
	Reason    string          `json:"reason,omitempty"`
	Proposal  string          `json:"proposal,omitempty"` // the open one of this version; only in answers

	Left      time.Time `json:"left,omitzero"`        // when it last ceased to judge, but by a rollback
	LeftUnder string    `json:"left_under,omitempty"` // digest of the rules of approval then
	Glass     bool      `json:"glass,omitempty"`      // it came to judge by break-glass
}

// author returns who wrote the version.
func (v *PolicyVersion) author() Person {
	if v.Author == nil {
		return Person{Subject: v.CreatedBy, Name: v.CreatedBy}
	}
	return *v.Author
}

// maxSteps is how many steps are kept with a policy; the audit log has all.
const maxSteps = 100

// policyRecord is PolicyInfo as it is stored.
type policyRecord struct {
	PolicyInfo
	Last    uint64 `json:"last"`
	Changes uint64 `json:"changes,omitempty"` // how often Active was set
	Steps   []Step `json:"steps,omitempty"`   // the last ones, the oldest first
}

func (p *policyRecord) find(version uint64) *PolicyVersion {
	for i := range p.Versions {
		if p.Versions[i].Version == version {
			return &p.Versions[i]
		}
	}
	return nil
}

// activate makes v the version that judges. A rollback leaves the times as they were: who goes back and forth would otherwise extend the time in which they may.
func (p *policyRecord) activate(v uint64, under string, by leave, step Step) {
	if old := p.find(p.Active); old != nil {
		old.State = PolicyRetired
		if by.rollback == nil || old.Left.IsZero() {
			old.Left, old.LeftUnder = step.Time, under
		}
	}
	p.Active = v
	p.Changes++
	if now := p.find(v); now != nil {
		now.State = PolicyActive
		if by.rollback == nil {
			now.Left, now.LeftUnder, now.Glass = time.Time{}, "", by.glass
		}
	}
	p.step(step)
}

// clone returns a copy that shares nothing that activate changes.
func (p *policyRecord) clone() *policyRecord {
	c := *p
	c.Versions, c.Steps = slices.Clone(p.Versions), slices.Clone(p.Steps)
	return &c
}

func (p *policyRecord) step(s Step) {
	p.Steps = append(p.Steps, s)
	p.Steps = p.Steps[max(0, len(p.Steps)-maxSteps):]
}

func policyKey(namespace, name string) string { return store.Key(namespace, "policy", name) }

func policyVersionKey(namespace, name string, version uint64) string {
	return store.Key(namespace, "policy-version", name, strconv.FormatUint(version, 10))
}

// ApplyPolicy adds a version of the policy that source states, and makes it judge unless draft is set, which is what [Broker.PutPolicy] does. The same source again
// changes nothing but which version is active. A source that has problems is an *Error whose cause is a *policy.Problems. Authors may write drafts; making one
// judge needs an approver's role as well, and where the rules of approval cover the policy it is refused with CodeApproval, and nothing is written.
func (b *Broker) ApplyPolicy(ctx context.Context, who access.Caller, namespace, filename string, source []byte, draft bool) (PolicyInfo, error) {
	if draft {
		return b.PutPolicy(ctx, who, namespace, PutPolicy{Filename: filename, Source: source})
	}
	if err := authorizeOn(who, namespace, access.Some(), access.Author); err != nil {
		return PolicyInfo{}, err
	}
	p, err := parsePolicy(filename, source)
	if err != nil {
		return PolicyInfo{}, err
	}
	var record policyRecord
	err = b.alter(ctx, who, namespace, leave{}, func(d *desk) (*alteration, error) {
		var at uint64
		if record, at, err = loadOrZero[policyRecord](ctx, b.store, policyKey(namespace, p.Name())); err != nil {
			return nil, err
		}
		record.Name = p.Name()
		if err := authorizePolicy(who, namespace, &record, p, access.Author); err != nil {
			return nil, err
		}
		if at == 0 {
			if err := b.roomForPolicy(ctx, namespace); err != nil {
				return nil, err
			}
		}
		v := record.last(p.Digest())
		var writes, garbage []store.Write
		if v == nil {
			if writes, garbage, err = b.addPolicyVersion(ctx, d, namespace, &record, p, who, ""); err != nil {
				return nil, err
			}
			v = &record.Versions[len(record.Versions)-1]
		} else if record.Active == v.Version {
			if covered := (&alteration{touched: approval.Touched{Policies: []approval.Policy{{Name: record.Name, Secrets: v.Secrets}}}}); !d.demand(covered).Free() {
				return nil, nil // it would have been proposed
			}
			return nil, authorizePolicy(who, namespace, &record, p, access.Approver)
		}
		event := Event{Type: EventPolicyApply, Object: p.Name(), Version: v.Version, Digest: p.Digest(), Activated: true}
		a, err := b.activation(namespace, d, &record, at, v.Version, event, leave{}, person(who))
		if err != nil {
			return nil, err
		}
		a.writes, a.garbage = append(writes, a.writes...), append(garbage, a.garbage...)
		return a, nil
	})
	if err != nil {
		return PolicyInfo{}, err
	}
	return record.PolicyInfo, nil
}

func parsePolicy(filename string, source []byte) (*policy.Policy, error) {
	p, err := policy.Parse(filename, source)
	if err != nil {
		return nil, &Error{Code: CodeInvalid, Message: err.Error(), Err: err}
	}
	return p, nil
}

// PutPolicy is a draft of a policy.
type PutPolicy struct {
	Filename string // for messages only
	Source   []byte
	Reason   string // why it was written; may be empty
}

// PutPolicy adds a draft of the policy that a source states, which judges nothing. The same source as the newest version's changes nothing. Authors may.
func (b *Broker) PutPolicy(ctx context.Context, who access.Caller, namespace string, put PutPolicy) (PolicyInfo, error) {
	if err := authorizeOn(who, namespace, access.Some(), access.Author); err != nil {
		return PolicyInfo{}, err
	}
	if err := checkReason(put.Reason, false); err != nil {
		return PolicyInfo{}, err
	}
	p, err := parsePolicy(put.Filename, put.Source)
	if err != nil {
		return PolicyInfo{}, err
	}
	d, err := b.openDesk(ctx, namespace)
	if err != nil {
		return PolicyInfo{}, asError(err)
	}
	record, at, err := loadOrZero[policyRecord](ctx, b.store, policyKey(namespace, p.Name()))
	if err != nil {
		return PolicyInfo{}, asError(err)
	}
	record.Name = p.Name()
	if err := authorizePolicy(who, namespace, &record, p, access.Author); err != nil {
		return PolicyInfo{}, err
	}
	if at == 0 {
		if err := b.roomForPolicy(ctx, namespace); err != nil {
			return PolicyInfo{}, err
		}
	}
	if record.last(p.Digest()) != nil {
		return record.PolicyInfo, nil
	}
	writes, garbage, err := b.addPolicyVersion(ctx, d, namespace, &record, p, who, put.Reason)
	if err != nil {
		return PolicyInfo{}, asError(err)
	}
	metadata, err := write(policyKey(namespace, record.Name), at, record)
	if err != nil {
		return PolicyInfo{}, asError(err)
	}
	event := Event{Type: EventPolicyDraft, Object: p.Name(), Version: record.Last, Digest: p.Digest(), Reason: put.Reason}
	if err := b.commitAndTidy(ctx, who, namespace, event, append(writes, metadata), garbage); err != nil {
		return PolicyInfo{}, err
	}
	return record.PolicyInfo, nil
}

// last returns the newest version when it has the given digest.
func (p *policyRecord) last(digest string) *PolicyVersion {
	if n := len(p.Versions); n > 0 && p.Versions[n-1].Digest == digest {
		return &p.Versions[n-1]
	}
	return nil
}

// addPolicyVersion appends a draft version to the record and returns the writes that keep its source, and those that remove what must make room.
func (b *Broker) addPolicyVersion(ctx context.Context, d *desk, namespace string, record *policyRecord, p *policy.Policy, who access.Caller, reason string) (writes, garbage []store.Write, err error) {
	key := func(version uint64) string { return policyVersionKey(namespace, p.Name(), version) }
	return b.addVersion(ctx, d, ChangePolicyActivate, record, key, p.Source(), MaxPolicyVersions, PolicyVersion{
		Digest: p.Digest(), Secrets: p.Secrets(), Waivers: p.Waivers(), Reason: reason, CreatedBy: who.Name, Author: new(person(who)),
	})
}

// addVersion appends a draft version to the record of a policy or of the approval rules, and returns the writes that keep its source, and those that remove the oldest
// one's when there are most already. What is active stays, what is proposed, and what may be rolled back to: a flood of drafts must not take that away. On a store
// that is not atomic it passes over numbers whose sources are there already, and removes them, as nextVersion does for secrets.
func (b *Broker) addVersion(ctx context.Context, d *desk, change ChangeType, record *policyRecord, key func(uint64) string, source []byte, most int, v PolicyVersion) (writes, garbage []store.Write, err error) {
	record.Last++
	for !b.store.Atomic() {
		old, err := b.store.Get(ctx, key(record.Last))
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		garbage = append(garbage, store.Write{Key: old.Key, Version: old.Version})
		if len(garbage) > most {
			return nil, nil, damaged("%q has %d sources that nothing leads to", record.Name, len(garbage))
		}
		record.Last++
	}
	writes = []store.Write{{Key: key(record.Last), Value: source}}
	if len(record.Versions) >= most {
		oldest := record.oldest(d, change)
		if oldest < 0 {
			return nil, nil, &Error{Code: CodeConflict, Message: fmt.Sprintf("%d versions of %q are proposed: withdraw some", most, record.Name)}
		}
		old, err := b.store.Get(ctx, key(record.Versions[oldest].Version))
		if err != nil {
			return nil, nil, err
		}
		garbage = append(garbage, store.Write{Key: old.Key, Version: old.Version})
		record.Versions = append(record.Versions[:oldest], record.Versions[oldest+1:]...)
	}
	v.Version, v.State, v.Created = record.Last, PolicyDraft, b.now()
	record.Versions = append(record.Versions, v)
	record.step(Step{Time: v.Created, Did: EventPolicyDraft, Version: v.Version, By: *v.Author, Reason: v.Reason})
	return writes, garbage, nil
}

// oldest returns the position of the version that may go first, -1 if none may.
func (p *policyRecord) oldest(d *desk, change ChangeType) int {
	before := p.before()
	return slices.IndexFunc(p.Versions, func(v PolicyVersion) bool {
		return v.Version != p.Active && (before == nil || v.Version != before.Version) && !slices.ContainsFunc(d.Open, func(e deskEntry) bool {
			return e.Type == change && (e.Name == "" || e.Name == p.Name) && e.Version == v.Version
		})
	})
}

// before returns the version that judged last, other than the active one; nil if there was none.
func (p *policyRecord) before() *PolicyVersion {
	var before *PolicyVersion
	for i := range p.Versions {
		if v := &p.Versions[i]; v.Version != p.Active && !v.Left.IsZero() && (before == nil || v.Left.After(before.Left)) {
			before = v
		}
	}
	return before
}

// activation is the alteration that makes a version judge, or with 0 none.
func (b *Broker) activation(namespace string, d *desk, record *policyRecord, at, version uint64, event Event, by leave, as Person) (*alteration, error) {
	a := &alteration{event: event, guards: record.patterns()}
	// As it judges now and as it shall: neither moving patterns away from a rule nor moving them under it gets round it.
	for _, v := range []*PolicyVersion{record.find(record.Active), record.find(version)} {
		if v != nil {
			a.touched.Policies = append(a.touched.Policies, approval.Policy{Name: record.Name, Secrets: v.Secrets})
		}
	}
	step := Step{Time: b.now(), Did: event.Type, Version: event.Version, By: as, Reason: event.Reason}
	if by.proposal != nil {
		step.Proposal, step.Approved = by.proposal.ID, by.proposal.approvers()
	}
	record.activate(version, d.rules.Digest(), by, step)
	w, err := write(policyKey(namespace, record.Name), at, record)
	a.writes = []store.Write{w}
	return a, err
}

// ActivatePolicy makes a version judge; 0 retires the policy, so that what only it guards is denied. Approvers may, where the rules of approval do not
// cover the policy; where they do, [Broker.ActivateProposal] is the way.
func (b *Broker) ActivatePolicy(ctx context.Context, who access.Caller, namespace, name string, version uint64) (PolicyInfo, error) {
	if err := authorizeOn(who, namespace, access.Some(), access.Approver); err != nil {
		return PolicyInfo{}, err
	}
	var record policyRecord
	err := b.alter(ctx, who, namespace, leave{}, func(d *desk) (_ *alteration, err error) {
		var at uint64
		if record, at, err = b.policyFor(ctx, who, namespace, name, access.Approver); err != nil {
			return nil, err
		}
		event := Event{Type: EventPolicyRetire, Object: name, Version: record.Active}
		if version != 0 {
			v := record.find(version)
			if v == nil {
				return nil, notFound("policy %q has no version %d", name, version)
			}
			event = Event{Type: EventPolicyActivate, Object: name, Version: version, Digest: v.Digest, Activated: true}
		}
		if record.Active == version {
			return nil, nil
		}
		return b.activation(namespace, d, &record, at, version, event, leave{}, person(who))
	})
	if err != nil {
		return PolicyInfo{}, err
	}
	return record.PolicyInfo, nil
}

// readers are the roles that may read policies and reference values: everyone who works with them.
var readers = []access.Role{access.Author, access.Approver, access.Auditor, access.Custodian}

// Policy returns a policy's versions and the source of one of them, 0 for the active one or, where none is, the newest.
func (b *Broker) Policy(ctx context.Context, who access.Caller, namespace, name string, version uint64) (PolicyInfo, []byte, error) {
	record, _, err := b.policyFor(ctx, who, namespace, name, readers...)
	if err != nil {
		return PolicyInfo{}, nil, err
	}
	if version == 0 {
		version = record.Active
	}
	if version == 0 && len(record.Versions) > 0 {
		version = record.Versions[len(record.Versions)-1].Version
	}
	source, err := b.store.Get(ctx, policyVersionKey(namespace, name, version))
	if errors.Is(err, store.ErrNotFound) {
		return PolicyInfo{}, nil, notFound("policy %q has no version %d", name, version)
	}
	if err != nil {
		return PolicyInfo{}, nil, asError(err)
	}
	page := []PolicyInfo{record.PolicyInfo}
	if err := b.overlay(ctx, namespace, page); err != nil {
		return PolicyInfo{}, nil, asError(err)
	}
	return page[0], source.Value, nil
}

// Policies returns a page of policies whose names sort after the name "after".
func (b *Broker) Policies(ctx context.Context, who access.Caller, namespace, after string, limit int) (page []PolicyInfo, more bool, err error) {
	if err := authorizeOn(who, namespace, access.Some(), readers...); err != nil {
		return nil, false, err
	}
	root := policyKey(namespace, "")
	var failed error
	records := map[string]PolicyInfo{}
	names, more, err := b.pageOfKept(ctx, root, root, root, after, limit, func(name string) bool {
		record, _, err := load[policyRecord](ctx, b.store, root+name)
		if err != nil {
			failed = errors.Join(failed, err)
			return true
		}
		records[name] = record.PolicyInfo
		return authorizeOn(who, namespace, access.Paths(record.patterns()...), readers...) == nil
	})
	if err == nil && failed != nil {
		err = asError(failed)
	}
	if err != nil {
		return nil, false, err
	}
	for _, name := range names {
		page = append(page, records[name])
	}
	if err := b.overlay(ctx, namespace, page); err != nil {
		return nil, false, asError(err)
	}
	return page, more, nil
}

func (b *Broker) policyRecord(ctx context.Context, namespace, name string) (policyRecord, uint64, error) {
	if err := policy.CheckPath(name); err != nil {
		return policyRecord{}, 0, invalid("policy %q: %w", clip(name), err)
	}
	record, at, err := load[policyRecord](ctx, b.store, policyKey(namespace, name))
	if errors.Is(err, store.ErrNotFound) {
		return record, 0, notFound("there is no policy %q", name)
	}
	if err != nil {
		return record, 0, asError(err)
	}
	return record, at, nil
}
