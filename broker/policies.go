package broker

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/store"
)

// MaxPolicyVersions is how many versions of a policy are kept. The source of the oldest one that is not active goes first; decisions
// name it by digest for ever.
const MaxPolicyVersions = 200

// PolicyState is where a version of a policy is in its life.
type PolicyState string

// The states of a policy's version.
const (
	PolicyDraft   PolicyState = "draft"   // changes nothing yet
	PolicyActive  PolicyState = "active"  // judges
	PolicyRetired PolicyState = "retired" // judged once
)

// PolicyInfo is a policy's versions.
type PolicyInfo struct {
	Name     string          `json:"name"`
	Active   uint64          `json:"active"` // the version that judges; 0 for none
	Versions []PolicyVersion `json:"versions"`
}

// PolicyVersion is one version of a policy.
type PolicyVersion struct {
	Version   uint64          `json:"version"`
	Digest    string          `json:"digest"` // "sha256:" and hex, of the source
	State     PolicyState     `json:"state"`
	Secrets   []string        `json:"secrets"` // the patterns it guards
	Waivers   []policy.Waiver `json:"waivers,omitempty"`
	Created   time.Time       `json:"created"`
	CreatedBy string          `json:"created_by"`
}

// policyRecord is PolicyInfo as it is stored.
type policyRecord struct {
	PolicyInfo
	Last uint64 `json:"last"`
}

func (p *policyRecord) find(version uint64) *PolicyVersion {
	for i := range p.Versions {
		if p.Versions[i].Version == version {
			return &p.Versions[i]
		}
	}
	return nil
}

// activate makes v the version that judges.
func (p *policyRecord) activate(v uint64) {
	if old := p.find(p.Active); old != nil {
		old.State = PolicyRetired
	}
	p.Active = v
	if now := p.find(v); now != nil {
		now.State = PolicyActive
	}
}

func policyKey(namespace, name string) string { return store.Key(namespace, "policy", name) }

func policyVersionKey(namespace, name string, version uint64) string {
	return store.Key(namespace, "policy-version", name, strconv.FormatUint(version, 10))
}

// ApplyPolicy adds a version of the policy that source states, and makes it judge unless draft is set. The same source again changes
// nothing but which version is active. A source that has problems is an *Error whose cause is a *policy.Problems. Authors may write drafts; making one
// judge needs an approver's role as well.
func (b *Broker) ApplyPolicy(ctx context.Context, who access.Caller, namespace, filename string, source []byte, draft bool) (PolicyInfo, error) {
	may := func(on access.Object) error {
		if err := authorizeOn(who, namespace, on, access.Author); err != nil || draft {
			return err
		}
		return authorizeOn(who, namespace, on, access.Approver)
	}
	if err := may(access.Some()); err != nil {
		return PolicyInfo{}, err
	}
	p, err := policy.Parse(filename, source)
	if err != nil {
		return PolicyInfo{}, &Error{Code: CodeInvalid, Message: err.Error(), Err: err}
	}
	record, at, err := loadOrZero[policyRecord](ctx, b.store, policyKey(namespace, p.Name()))
	if err != nil {
		return PolicyInfo{}, asError(err)
	}
	record.Name = p.Name()
	if err := may(access.Paths(append(record.patterns(), p.Secrets()...)...)); err != nil {
		return PolicyInfo{}, err
	}
	if at == 0 {
		if err := b.roomForPolicy(ctx, namespace); err != nil {
			return PolicyInfo{}, err
		}
	}
	var writes, garbage []store.Write
	v := record.last(p.Digest())
	if v == nil {
		if writes, garbage, err = b.addPolicyVersion(ctx, &record, namespace, p, who.Name); err != nil {
			return PolicyInfo{}, asError(err)
		}
		v = &record.Versions[len(record.Versions)-1]
	} else if draft || record.Active == v.Version {
		return record.PolicyInfo, nil
	}
	event := Event{Type: EventPolicyDraft, Object: p.Name(), Version: v.Version, Digest: p.Digest()}
	if !draft {
		event.Type, event.Activated = EventPolicyApply, true
		record.activate(v.Version)
	}
	return b.commitPolicy(ctx, who, namespace, event, record, at, writes, garbage)
}

// last returns the newest version when it has the given digest.
func (p *policyRecord) last(digest string) *PolicyVersion {
	if n := len(p.Versions); n > 0 && p.Versions[n-1].Digest == digest {
		return &p.Versions[n-1]
	}
	return nil
}

// addPolicyVersion appends a draft version to the record and returns the writes that keep its source, and those that remove the oldest one's. On a store
// that is not atomic it passes over numbers whose sources are there already, and removes them, as nextVersion does for secrets.
func (b *Broker) addPolicyVersion(ctx context.Context, record *policyRecord, namespace string, p *policy.Policy, by string) (writes, garbage []store.Write, err error) {
	record.Last++
	for !b.store.Atomic() {
		old, err := b.store.Get(ctx, policyVersionKey(namespace, p.Name(), record.Last))
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		garbage = append(garbage, store.Write{Key: old.Key, Version: old.Version})
		if len(garbage) > MaxPolicyVersions {
			return nil, nil, damaged("policy %q has %d sources that nothing leads to", p.Name(), len(garbage))
		}
		record.Last++
	}
	writes = []store.Write{{Key: policyVersionKey(namespace, p.Name(), record.Last), Value: p.Source()}}
	if len(record.Versions) >= MaxPolicyVersions {
		oldest := 0
		if record.Versions[0].Version == record.Active {
			oldest = 1
		}
		key := policyVersionKey(namespace, p.Name(), record.Versions[oldest].Version)
		old, err := b.store.Get(ctx, key)
		if err != nil {
			return nil, nil, err
		}
		garbage = append(garbage, store.Write{Key: key, Version: old.Version})
		record.Versions = append(record.Versions[:oldest], record.Versions[oldest+1:]...)
	}
	record.Versions = append(record.Versions, PolicyVersion{
		Version: record.Last, Digest: p.Digest(), State: PolicyDraft, Secrets: p.Secrets(), Waivers: p.Waivers(),
		Created: b.now(), CreatedBy: by,
	})
	return writes, garbage, nil
}

// ActivatePolicy makes a version judge; 0 retires the policy, so that what only it guards is denied. Approvers may.
func (b *Broker) ActivatePolicy(ctx context.Context, who access.Caller, namespace, name string, version uint64) (PolicyInfo, error) {
	if err := authorizeOn(who, namespace, access.Some(), access.Approver); err != nil {
		return PolicyInfo{}, err
	}
	record, at, err := b.policyRecord(ctx, namespace, name)
	if err != nil {
		return PolicyInfo{}, err
	}
	if err := authorizeOn(who, namespace, access.Paths(record.patterns()...), access.Approver); err != nil {
		return PolicyInfo{}, err
	}
	event := Event{Type: EventPolicyRetire, Object: name, Version: record.Active}
	if version != 0 {
		v := record.find(version)
		if v == nil {
			return PolicyInfo{}, notFound("policy %q has no version %d", name, version)
		}
		event = Event{Type: EventPolicyActivate, Object: name, Version: version, Digest: v.Digest, Activated: true}
	}
	if record.Active == version {
		return record.PolicyInfo, nil
	}
	record.activate(version)
	return b.commitPolicy(ctx, who, namespace, event, record, at, nil, nil)
}

// commitPolicy writes a policy's record. The rules are marked changed before and after: before, so that a change whose outcome is unknown
// is read again, and after, so that whoever read them in between does so too.
func (b *Broker) commitPolicy(ctx context.Context, who access.Caller, namespace string, event Event, record policyRecord, at uint64, writes, garbage []store.Write) (PolicyInfo, error) {
	metadata, err := write(policyKey(namespace, record.Name), at, record)
	if err != nil {
		return PolicyInfo{}, asError(err)
	}
	done, err := b.changing(ctx, namespace)
	if err != nil {
		return PolicyInfo{}, err
	}
	defer done()
	if err := b.commitAndTidy(ctx, who, namespace, event, append(writes, metadata), garbage); err != nil {
		return PolicyInfo{}, err
	}
	b.issues.lookAt(underNamespace(namespace))
	return record.PolicyInfo, nil
}

// readers are the roles that may read policies and reference values: everyone who works with them.
var readers = []access.Role{access.Author, access.Approver, access.Auditor, access.Custodian}

// Policy returns a policy's versions and the source of one of them, 0 for the active one or, where none is, the newest.
func (b *Broker) Policy(ctx context.Context, who access.Caller, namespace, name string, version uint64) (PolicyInfo, []byte, error) {
	if err := authorizeOn(who, namespace, access.Some(), readers...); err != nil {
		return PolicyInfo{}, nil, err
	}
	record, _, err := b.policyRecord(ctx, namespace, name)
	if err != nil {
		return PolicyInfo{}, nil, err
	}
	if err := authorizeOn(who, namespace, access.Paths(record.patterns()...), readers...); err != nil {
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
	return record.PolicyInfo, source.Value, nil
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
