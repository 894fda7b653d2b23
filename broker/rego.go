package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy/rego"
	"github.com/vouchsafe/vouchsafe/store"
)

// The kinds of Rego policies.
const (
	RegoResource    RegoKind = "resource"    // says whether a secret may be released
	RegoAttestation RegoKind = "attestation" // makes a trustworthiness vector of a token
)

// RegoKind is what a Rego policy is asked for.
type RegoKind string

// RegoResourceID is the id of the one resource policy of a namespace.
const RegoResourceID = "resource-policy"

const (
	// MaxRegoVersions is how many versions of a Rego policy are kept, with their sources, in one record. The oldest that is not active goes first.
	MaxRegoVersions = 10
	// MaxRegoPolicies is how many attestation policies a namespace has: one for each class of parts, and room.
	MaxRegoPolicies = 32
	// maxRegoID bounds an id in bytes.
	maxRegoID = 64
)

// RegoInfo is a Rego policy's versions.
type RegoInfo struct {
	Kind     RegoKind      `json:"kind"`
	ID       string        `json:"id"`     // "resource-policy", or such as default_cpu: "default_" and the class of the parts that it judges
	Active   uint64        `json:"active"` // the version that judges; 0 for none
	Versions []RegoVersion `json:"versions"`
}

// RegoVersion is one version of a Rego policy.
type RegoVersion struct {
	Version   uint64      `json:"version"`
	Digest    string      `json:"digest"` // "sha256:" and hex, of the source
	State     PolicyState `json:"state"`
	Syntax    rego.Syntax `json:"syntax"` // which version of the language it was read as
	Created   time.Time   `json:"created"`
	CreatedBy string      `json:"created_by"`
}

// regoRecord is RegoInfo as it is stored.
type regoRecord struct {
	RegoInfo
	Last    uint64            `json:"last"`
	Sources map[uint64][]byte `json:"sources"`
}

func (r *regoRecord) find(version uint64) *RegoVersion {
	for i := range r.Versions {
		if r.Versions[i].Version == version {
			return &r.Versions[i]
		}
	}
	return nil
}

// judgeBy makes v the version that judges, or none for 0.
func (r *regoRecord) judgeBy(v uint64) {
	for i := range r.Versions {
		switch {
		case r.Versions[i].Version == v:
			r.Versions[i].State = PolicyActive
		case r.Versions[i].Version == r.Active:
			r.Versions[i].State = PolicyRetired
		}
	}
	r.Active = v
}

// add appends a version and removes what is too many.
func (r *regoRecord) add(p *rego.Policy, source []byte, by string, at time.Time) *RegoVersion {
	for len(r.Versions) >= MaxRegoVersions {
		oldest := 0
		if r.Versions[0].Version == r.Active {
			oldest = 1
		}
		delete(r.Sources, r.Versions[oldest].Version)
		r.Versions = slices.Delete(r.Versions, oldest, oldest+1)
	}
	if r.Sources == nil {
		r.Sources = map[uint64][]byte{}
	}
	r.Last++
	r.Sources[r.Last] = source
	r.Versions = append(r.Versions, RegoVersion{Version: r.Last, Digest: p.Digest(), State: PolicyDraft, Syntax: p.Syntax(), Created: at, CreatedBy: by})
	return &r.Versions[len(r.Versions)-1]
}

func regoKey(namespace string, kind RegoKind, id string) string {
	return store.Key(namespace, "rego", string(kind), id)
}

// checkRego refuses a kind and id that cannot be one.
func checkRego(kind RegoKind, id string) error {
	switch {
	case kind == RegoResource && id != RegoResourceID:
		return invalid("the id of a resource policy is %q: a namespace has one", RegoResourceID)
	case kind == RegoResource:
		return nil
	case kind != RegoAttestation:
		return invalid("%q is no kind of Rego policy: resource or attestation", clip(string(kind)))
	}
	bad := id == "" || len(id) > maxRegoID || id[0] == '.' || strings.ContainsFunc(id, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.')
	})
	if bad {
		return invalid("the id %q of an attestation policy is not 1 to %d letters, digits, '_', '-' and '.'", clip(id), maxRegoID)
	}
	return nil
}

// query is what policies of a kind are asked for.
func (k RegoKind) query() rego.Query {
	if k == RegoResource {
		return rego.Allow
	}
	return rego.TrustClaims
}

// mayActivateRego says whether who may change which Rego judges, and by which reference values: the one place that decides it.
//
// A Rego policy judges every secret, and cannot be proposed. So it is as it is while rules of approval are in force that ask for approvals of anything.
//
// It returns the write of the desk as it was read, which goes before the change: one that other rules come before is not made.
func (b *Broker) mayActivateRego(ctx context.Context, who access.Caller, namespace string) (store.Write, error) {
	if err := authorizeIn(who, namespace, access.Approver); err != nil {
		return store.Write{}, err
	}
	d, err := b.openDesk(ctx, namespace)
	if err != nil {
		return store.Write{}, asError(err)
	}
	if d.rules == nil {
		return d.write()
	}
	rules, _ := d.rules.List()
	for _, rule := range rules {
		if rule.Approvals > 0 || rule.Immutable {
			return store.Write{}, needsApproval("approval rules are in force, and by rule %s nobody changes alone what it covers; Rego judges every secret and cannot be proposed: "+
				"lift the rule, by its own approvals, to change Rego", rule.Name)
		}
	}
	return d.write()
}

// PutRego adds a version of a Rego policy, and makes it judge unless draft is set. The same source again changes nothing but whether it judges. A source that
// does not compile is an *Error whose cause is a *rego.Problems. Authors may write drafts; making one judge needs what activating needs as well.
func (b *Broker) PutRego(ctx context.Context, who access.Caller, namespace string, kind RegoKind, id string, source []byte, draft bool) (RegoInfo, error) {
	if err := authorizeIn(who, namespace, access.Author); err != nil {
		return RegoInfo{}, err
	}
	if err := checkRego(kind, id); err != nil {
		return RegoInfo{}, err
	}
	if !draft { // before the work of compiling; the rules of approval are asked below, with what is written
		if err := authorizeIn(who, namespace, access.Approver); err != nil {
			return RegoInfo{}, err
		}
	}
	p, err := b.rules.compiler.Compile(ctx, id, source, kind.query())
	var problems *rego.Problems
	if errors.As(err, &problems) {
		return RegoInfo{}, &Error{Code: CodeInvalid, Message: err.Error(), Err: err}
	}
	if err != nil {
		return RegoInfo{}, asError(fmt.Errorf("%w: %w", store.ErrUnavailable, err))
	}
	var gate []store.Write
	if !draft {
		desk, err := b.mayActivateRego(ctx, who, namespace)
		if err != nil {
			return RegoInfo{}, err
		}
		gate = append(gate, desk)
	}
	record, at, err := loadOrZero[regoRecord](ctx, b.store, regoKey(namespace, kind, id))
	if err != nil {
		return RegoInfo{}, asError(err)
	}
	if at == 0 {
		if err := b.roomForRego(ctx, namespace, kind); err != nil {
			return RegoInfo{}, err
		}
	}
	record.Kind, record.ID = kind, id
	var v *RegoVersion
	if n := len(record.Versions); n > 0 && record.Versions[n-1].Digest == p.Digest() {
		v = &record.Versions[n-1]
		if draft || record.Active == v.Version {
			return record.RegoInfo, nil
		}
	} else {
		v = record.add(p, source, who.Name, b.now())
	}
	event := Event{Type: EventRegoPut, Object: string(kind) + "/" + id, Version: v.Version, Digest: p.Digest()}
	if !draft {
		event.Activated = true
		record.judgeBy(v.Version)
	}
	return b.commitRego(ctx, who, namespace, event, record, at, gate...)
}

func (b *Broker) roomForRego(ctx context.Context, namespace string, kind RegoKind) error {
	if kind == RegoResource {
		return nil
	}
	n := 0
	err := each(ctx, b.store, regoKey(namespace, RegoAttestation, ""), func(string) error { n++; return nil })
	if err != nil {
		return asError(err)
	}
	if n >= MaxRegoPolicies {
		return invalid("there are %d attestation policies already", n)
	}
	return nil
}

// ActivateRego makes a version of a Rego policy judge; 0 retires the policy. Without a resource policy, release policies that require one refuse; without an attestation
// policy, tokens have the vectors that the broker makes itself. Approvers may.
func (b *Broker) ActivateRego(ctx context.Context, who access.Caller, namespace string, kind RegoKind, id string, version uint64) (RegoInfo, error) {
	if err := authorizeIn(who, namespace, access.Approver); err != nil {
		return RegoInfo{}, err
	}
	record, at, err := b.regoRecord(ctx, namespace, kind, id)
	if err != nil {
		return RegoInfo{}, err
	}
	event := Event{Type: EventRegoRetire, Object: string(kind) + "/" + id, Version: record.Active}
	if version != 0 {
		v := record.find(version)
		if v == nil {
			return RegoInfo{}, notFound("the Rego policy %s has no version %d", id, version)
		}
		event = Event{Type: EventRegoActivate, Object: string(kind) + "/" + id, Version: version, Digest: v.Digest, Activated: true}
	}
	desk, err := b.mayActivateRego(ctx, who, namespace)
	if err != nil {
		return RegoInfo{}, err
	}
	if record.Active == version {
		return record.RegoInfo, nil
	}
	record.judgeBy(version)
	return b.commitRego(ctx, who, namespace, event, record, at, desk)
}

// commitRego writes a record, after what gates the change.
func (b *Broker) commitRego(ctx context.Context, who access.Caller, namespace string, event Event, record regoRecord, at uint64, gate ...store.Write) (RegoInfo, error) {
	w, err := write(regoKey(namespace, record.Kind, record.ID), at, record)
	if err != nil {
		return RegoInfo{}, asError(err)
	}
	done, err := b.changing(ctx, namespace)
	if err != nil {
		return RegoInfo{}, err
	}
	defer done()
	if err := b.commit(ctx, who, namespace, event, append(gate, w)...); err != nil {
		return RegoInfo{}, err
	}
	b.issues.lookAt(underNamespace(namespace))
	return record.RegoInfo, nil
}

func (b *Broker) regoRecord(ctx context.Context, namespace string, kind RegoKind, id string) (regoRecord, uint64, error) {
	if err := checkRego(kind, id); err != nil {
		return regoRecord{}, 0, err
	}
	record, at, err := load[regoRecord](ctx, b.store, regoKey(namespace, kind, id))
	if errors.Is(err, store.ErrNotFound) {
		return record, 0, notFound("there is no %s policy %q", kind, id)
	}
	if err != nil {
		return record, 0, asError(err)
	}
	return record, at, nil
}

// Rego returns a Rego policy's versions and the source of one of them, 0 for the active one or, where none is, the newest.
func (b *Broker) Rego(ctx context.Context, who access.Caller, namespace string, kind RegoKind, id string, version uint64) (RegoInfo, []byte, error) {
	if err := authorizeIn(who, namespace, readers...); err != nil {
		return RegoInfo{}, nil, err
	}
	record, _, err := b.regoRecord(ctx, namespace, kind, id)
	if err != nil {
		return RegoInfo{}, nil, err
	}
	if version == 0 {
		version = record.Active
	}
	if version == 0 {
		version = record.Last
	}
	source, ok := record.Sources[version]
	if !ok {
		return RegoInfo{}, nil, notFound("the Rego policy %s has no version %d", id, version)
	}
	return record.RegoInfo, source, nil
}

// RegoPolicies returns all Rego policies of a namespace, of which there are few: the resource policy first.
func (b *Broker) RegoPolicies(ctx context.Context, who access.Caller, namespace string) ([]RegoInfo, error) {
	if err := authorizeIn(who, namespace, readers...); err != nil {
		return nil, err
	}
	out := []RegoInfo{}
	for _, kind := range []RegoKind{RegoResource, RegoAttestation} {
		err := each(ctx, b.store, regoKey(namespace, kind, ""), func(key string) error {
			record, _, err := load[regoRecord](ctx, b.store, key)
			out = append(out, record.RegoInfo)
			return err
		})
		if err != nil {
			return nil, asError(err)
		}
	}
	return out, nil
}

// Limits of the reference values that Rego asks for. They are one record.
const (
	// MaxRegoReferences is how many a namespace has.
	MaxRegoReferences = 1000
	// MaxRegoReference bounds the JSON of one value, in bytes.
	MaxRegoReference = 64 << 10
	// maxRegoReferences bounds all of them, in bytes.
	maxRegoReferences = 1 << 20
)

// RegoReference is what query_reference_value gives for an id: any JSON value, where a set of [reference.Set] has texts.
type RegoReference struct {
	Value   json.RawMessage `json:"value"`
	Expires time.Time       `json:"expires,omitzero"` // is null from then on; zero: never
	AddedBy string          `json:"added_by"`
	AddedAt time.Time       `json:"added_at"`
}

func regoReferencesKey(namespace string) string { return store.Key(namespace, "rego-references") }

// PutRegoReferences sets the reference values of some ids, each in the place of the one before; one whose value is null is removed. They count at once, which needs an author's and an
// approver's roles.
func (b *Broker) PutRegoReferences(ctx context.Context, who access.Caller, namespace string, values map[string]RegoReference) error {
	if err := authorizeIn(who, namespace, access.Author); err != nil {
		return err
	}
	if len(values) == 0 || len(values) > MaxRegoReferences {
		return invalid("%d reference values; put 1 to %d at once", len(values), MaxRegoReferences)
	}
	record, at, err := loadOrZero[map[string]RegoReference](ctx, b.store, regoReferencesKey(namespace))
	if err != nil {
		return asError(err)
	}
	if record == nil {
		record = map[string]RegoReference{}
	}
	now := b.now().UTC().Truncate(time.Second)
	changed := false
	for id, v := range values {
		if id == "" || len(id) > store.MaxSegment || strings.ContainsFunc(id, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\uFFFD' }) {
			return invalid("the id %q of a reference value is empty, over %d bytes, or no text", clip(id), store.MaxSegment)
		}
		compact, err := compactJSON(v.Value)
		if err != nil || len(compact) > MaxRegoReference {
			return invalid("the reference value %q is not JSON of at most %d bytes", clip(id), MaxRegoReference)
		}
		old, there := record[id]
		switch {
		case string(compact) == "null":
			changed = changed || there
			delete(record, id)
		case !there || string(old.Value) != string(compact) || !old.Expires.Equal(v.Expires):
			changed = true
			record[id] = RegoReference{Value: compact, Expires: v.Expires.UTC(), AddedBy: who.Name, AddedAt: now}
		}
	}
	if !changed {
		return nil
	}
	desk, err := b.mayActivateRego(ctx, who, namespace)
	if err != nil {
		return err
	}
	w, err := write(regoReferencesKey(namespace), at, record)
	if err != nil {
		return asError(err)
	}
	if len(record) > MaxRegoReferences || len(w.Value) > maxRegoReferences {
		return invalid("the reference values would be %d in %d bytes, over %d or %d", len(record), len(w.Value), MaxRegoReferences, maxRegoReferences)
	}
	done, err := b.changing(ctx, namespace)
	if err != nil {
		return err
	}
	defer done()
	return b.commit(ctx, who, namespace, Event{Type: EventRegoReferences, Digest: digest(w.Value)}, desk, w)
}

// RegoReferences returns all reference values that Rego asks for, by id.
func (b *Broker) RegoReferences(ctx context.Context, who access.Caller, namespace string) (map[string]RegoReference, error) {
	if err := authorizeIn(who, namespace, readers...); err != nil {
		return nil, err
	}
	record, _, err := loadOrZero[map[string]RegoReference](ctx, b.store, regoReferencesKey(namespace))
	if err != nil {
		return nil, asError(err)
	}
	if record == nil {
		record = map[string]RegoReference{}
	}
	return record, nil
}
