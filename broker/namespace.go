package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/store"
)

// MaxNamespaces is how many namespaces one store has, besides the default one: each that is asked keeps its rules compiled in memory.
const MaxNamespaces = 1000

// Quota bounds what one namespace takes of what all share. A zero member is no bound.
type Quota struct {
	Secrets  int   `json:"secrets,omitempty"`        // how many there may be
	Bytes    int64 `json:"bytes,omitempty"`          // of all values that are stored and not destroyed
	Policies int   `json:"policies,omitempty"`       // how many there may be, drafts and retired ones included
	Sets     int   `json:"reference_sets,omitempty"` // how many sets of reference values there may be

	// Decisions are how many attestations and releases are decided a minute, by each broker; more are told to come back. They are counted once the evidence is
	// verified: what strangers make up uses up nobody's quota.
	Decisions int `json:"decisions_per_minute,omitempty"`
}

func (q Quota) check() error {
	if q.Secrets < 0 || q.Bytes < 0 || q.Policies < 0 || q.Sets < 0 || q.Decisions < 0 {
		return invalid("a quota is negative: 0 is no bound")
	}
	return nil
}

// Namespace is a tenant: it has its own secrets, policies, reference values, enrolments, roles and view of the log, and a quota.
type Namespace struct {
	Name      string    `json:"name"`
	Created   time.Time `json:"created,omitzero"`
	CreatedBy string    `json:"created_by,omitempty"`
	Quota     Quota     `json:"quota"`
}

func namespaceKey(name string) string { return store.Key(store.SysNamespace, "namespace", name) }

// CreateNamespace declares a namespace, which is served from then on. Operators of all namespaces may.
func (b *Broker) CreateNamespace(ctx context.Context, who access.Caller, name string, quota Quota) (Namespace, error) {
	if err := authorizeEverywhere(who, access.Operator); err != nil {
		return Namespace{}, err
	}
	if err := errors.Join(CheckNamespace(name), quota.check()); err != nil {
		return Namespace{}, asError(err)
	}
	if name == store.DefaultNamespace {
		return Namespace{}, &Error{Code: CodeConflict, Message: fmt.Sprintf("the namespace %q is always there: set its quota", name)}
	}
	all, err := b.store.List(ctx, namespaceKey(""), "", MaxNamespaces)
	if err != nil {
		return Namespace{}, asError(err)
	}
	if len(all) >= MaxNamespaces {
		return Namespace{}, quotaExceeded("there are %d namespaces, the most that are possible", MaxNamespaces)
	}
	n := Namespace{Name: name, Created: b.now().UTC(), CreatedBy: who.Name, Quota: quota}
	w, err := write(namespaceKey(name), 0, n)
	if err != nil {
		return Namespace{}, asError(err)
	}
	if err := b.commit(ctx, who, store.SysNamespace, Event{Type: EventNamespaceCreate, Object: name, Digest: digest(w.Value)}, w); err != nil {
		return Namespace{}, err
	}
	b.quotas.forget(name)
	return n, nil
}

// SetQuota replaces the quota of a namespace. What is there already stays, also over it. Operators of all namespaces may.
func (b *Broker) SetQuota(ctx context.Context, who access.Caller, name string, quota Quota) (Namespace, error) {
	if err := authorizeEverywhere(who, access.Operator); err != nil {
		return Namespace{}, err
	}
	if err := errors.Join(CheckNamespace(name), quota.check()); err != nil {
		return Namespace{}, asError(err)
	}
	n, at, err := loadOrZero[Namespace](ctx, b.store, namespaceKey(name))
	switch {
	case err != nil:
		return Namespace{}, asError(err)
	case at == 0 && name != store.DefaultNamespace:
		return Namespace{}, noNamespace(name)
	}
	n.Name, n.Quota = name, quota
	w, err := write(namespaceKey(name), at, n)
	if err != nil {
		return Namespace{}, asError(err)
	}
	if err := b.commit(ctx, who, store.SysNamespace, Event{Type: EventNamespaceQuota, Object: name, Digest: digest(w.Value)}, w); err != nil {
		return Namespace{}, err
	}
	b.quotas.forget(name)
	return n, nil
}

// Namespaces returns a page of the namespaces whose names sort after the name "after"; the default one is among them once it has a quota. Operators and auditors of
// all namespaces may.
func (b *Broker) Namespaces(ctx context.Context, who access.Caller, after string, limit int) (page []Namespace, more bool, err error) {
	if err := authorizeEverywhere(who, access.Operator, access.Auditor); err != nil {
		return nil, false, err
	}
	root := namespaceKey("")
	names, more, err := b.pageOf(ctx, root, root, root, after, limit)
	if err != nil {
		return nil, false, err
	}
	for _, name := range names {
		n, _, err := load[Namespace](ctx, b.store, root+name)
		if err != nil {
			return nil, false, asError(err)
		}
		page = append(page, n)
	}
	return page, more, nil
}

// Serves returns nil when a namespace is the default one or was declared.
func (b *Broker) Serves(ctx context.Context, name string) error {
	if err := CheckNamespace(name); err != nil {
		return err
	}
	if name == store.DefaultNamespace {
		return nil
	}
	kept, err := b.quotas.of(ctx, name, b.now())
	if err != nil {
		return asError(err)
	}
	if !kept.declared {
		return noNamespace(name)
	}
	return nil
}

func noNamespace(name string) *Error {
	return notFound("there is no namespace %q: an operator of all namespaces may create it", clip(name))
}

func quotaExceeded(format string, args ...any) *Error {
	return &Error{Code: CodeQuota, Message: fmt.Sprintf(format, args...)}
}

// quotaFor is for how long a quota that was read is gone by, so that no release has to ask the store for it.
const quotaFor = time.Second

// quotaBook keeps the quotas of namespaces at hand.
type quotaBook struct {
	store store.Store

	mu   sync.Mutex
	kept map[string]*quotaAt
}

// quotaAt is a quota as it was read.
type quotaAt struct {
	Quota
	declared  bool
	read      time.Time
	decisions *rate.Limiter // nil: as many as come
}

func newQuotaBook(s store.Store) *quotaBook {
	return &quotaBook{store: s, kept: map[string]*quotaAt{}}
}

// of returns the quota of a namespace; that of one which was not declared has no bounds.
func (q *quotaBook) of(ctx context.Context, name string, now time.Time) (*quotaAt, error) {
	q.mu.Lock()
	old := q.kept[name]
	q.mu.Unlock()
	if old != nil && now.Sub(old.read) < quotaFor && !now.Before(old.read) {
		return old, nil
	}
	n, at, err := loadOrZero[Namespace](ctx, q.store, namespaceKey(name))
	if err != nil {
		return nil, err
	}
	read := &quotaAt{Quota: n.Quota, declared: at != 0, read: now}
	switch {
	case n.Quota.Decisions == 0:
	case old != nil && old.Decisions == n.Quota.Decisions && old.decisions != nil:
		read.decisions = old.decisions // with what was used of it
	default:
		read.decisions = rate.NewLimiter(rate.Limit(n.Quota.Decisions)/60, n.Quota.Decisions)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if at == 0 && name != store.DefaultNamespace {
		delete(q.kept, name) // strangers name what they like
		return read, nil
	}
	q.kept[name] = read
	return read, nil
}

func (q *quotaBook) forget(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if old := q.kept[name]; old != nil {
		expired := *old
		expired.read = time.Time{}
		q.kept[name] = &expired
	}
}

// admit counts a decision against the quota of a namespace.
func (b *Broker) admit(ctx context.Context, namespace string) error {
	quota, err := b.quotas.of(ctx, namespace, b.now())
	if err != nil {
		return asError(err)
	}
	if quota.decisions != nil && !quota.decisions.AllowN(b.now(), 1) {
		return &Error{
			Code: CodeOverloaded, Message: fmt.Sprintf("the namespace has used its %d decisions a minute", quota.Decisions),
			RetryAfter: max(time.Minute/time.Duration(quota.Decisions), retryOverloaded),
		}
	}
	return nil
}

// room refuses a new version of a secret for which a namespace's quota has no room. Writers at the same moment may each find the same room: by so many a quota can be
// exceeded.
func (b *Broker) room(ctx context.Context, namespace string, first bool, size int) error {
	quota, err := b.quotas.of(ctx, namespace, b.now())
	if err != nil {
		return asError(err)
	}
	if first {
		if err := b.roomFor(ctx, secretKey(namespace, ""), quota.Secrets, "secrets"); err != nil {
			return err
		}
	}
	if quota.Bytes == 0 || size == 0 {
		return nil
	}
	used := int64(0)
	err = each(ctx, b.store, secretKey(namespace, ""), func(key string) error {
		record, _, err := loadOrZero[secretRecord](ctx, b.store, key)
		for i := range record.Versions {
			if v := &record.Versions[i]; v.Destroyed == nil {
				used += int64(v.Size)
			}
		}
		return err
	})
	if err != nil {
		return asError(err)
	}
	if used+int64(size) > quota.Bytes {
		return quotaExceeded("the namespace may store %d bytes and has %d: destroy versions that nothing uses, or have its quota raised", quota.Bytes, used)
	}
	return nil
}

// roomForPolicy is room for a new policy.
func (b *Broker) roomForPolicy(ctx context.Context, namespace string) error {
	return b.roomForPolicies(ctx, namespace, 1)
}

// roomForPolicies is room for as many new policies as there are more.
func (b *Broker) roomForPolicies(ctx context.Context, namespace string, more int) error {
	quota, err := b.quotas.of(ctx, namespace, b.now())
	if err != nil {
		return asError(err)
	}
	return b.roomForMore(ctx, policyKey(namespace, ""), quota.Policies, more, "policies")
}

// roomForSets is room for as many new sets of reference values as there are more.
func (b *Broker) roomForSets(ctx context.Context, namespace string, more int) error {
	quota, err := b.quotas.of(ctx, namespace, b.now())
	if err != nil {
		return asError(err)
	}
	return b.roomForMore(ctx, referenceKey(namespace, ""), quota.Sets, more, "sets of reference values")
}

// roomForMore refuses as many records more below a folder as would make it have over most, 0 for no bound.
func (b *Broker) roomForMore(ctx context.Context, folder string, most, more int, what string) error {
	switch {
	case most == 0:
		return nil
	case more > most: // for roomFor 0 is no bound
		return quotaExceeded("the namespace may have %d %s: have its quota raised", most, what)
	}
	return b.roomFor(ctx, folder, most-more+1, what)
}

// roomFor refuses one record more below a folder than most, 0 for no bound.
func (b *Broker) roomFor(ctx context.Context, folder string, most int, what string) error {
	const page = 1000
	after, count := "", 0
	for most > 0 {
		entries, err := b.store.List(ctx, folder, after, page)
		if err != nil {
			return asError(err)
		}
		if count += len(entries); count >= most {
			return quotaExceeded("the namespace may have %d %s, and has them: have its quota raised", most, what)
		}
		if len(entries) < page {
			return nil
		}
		after = entries[len(entries)-1].Key
	}
	return nil
}
