package broker

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/store"
)

// maxIssued is how much that was issued is kept at once by one broker; more is asked for when some of it has ended. Each is under a kilobyte in
// memory, and one request to its source at its end.
const maxIssued = 10_000

// issueRecord is what the store knows of something that a source issued, or was about to. It is written before the source is asked, without a
// handle; again when the source has answered, with one; and deleted when what was issued has ended. A crash at any point leaves a record by which it
// is ended:
//
//	no handle    nobody knows whether it was issued: looked for at an exclusive place, else left to end by itself
//	a handle     and no lease or decision, so that nothing was released: ended
//	a handle     and a lease: ended with it
type issueRecord struct {
	Namespace string       `json:"namespace"`
	Secret    string       `json:"secret"`
	Version   uint64       `json:"version"`
	Lease     string       `json:"lease"` // the broker's
	Decision  string       `json:"decision"`
	Kind      string       `json:"kind"`
	Place     source.Place `json:"place"`
	Asked     time.Time    `json:"asked"`
	Policies  []string     `json:"policies"` // that allowed the release
	Handle    string       `json:"handle,omitempty"`
	Ends      time.Time    `json:"ends"`             // with the broker's lease
	Expires   time.Time    `json:"expires,omitzero"` // when the source ends it by itself
}

// issuedRoot is the folder of the records. It is one for all namespaces, because what ends them serves all.
const issuedRoot = store.SysNamespace + "/issued/"

func issuedKey(namespace, secret, lease string) string {
	return issuedRoot + store.Key(namespace, secret, lease)
}

// issue is an issueRecord on its way.
type issue struct {
	key     string
	at      uint64 // the record's version in the store; 0 where that is not known
	record  issueRecord
	unknown bool // the source did not answer, so that it may have been issued or not
	foreign bool // of another broker, or of this one before it was started again

	// Guarded by the book's mutex, once it is kept.
	reason   string // why it is to end; "" as long as it is not, but for its time
	attempts int
	next     time.Time

	ending  sync.Mutex // held by the one attempt to end it
	revoked bool       // and only the record is left to delete; guarded by ending
}

// answered takes what a source answered.
func (i *issue) answered(lease *source.Lease, err error) {
	if lease != nil {
		i.record.Handle = lease.Handle
		if lease.Duration > 0 {
			i.record.Expires = i.record.Asked.Add(lease.Duration)
		}
		if !i.record.Expires.IsZero() && i.record.Expires.Before(i.record.Ends) {
			i.record.Ends = i.record.Expires
		}
		return
	}
	i.unknown = err != nil && !source.Definite(err)
}

// issueBook keeps what sources issued until it has ended.
type issueBook struct {
	store   store.Store
	sources map[string]source.Source
	logger  *slog.Logger

	mu     sync.Mutex
	kept   map[string]*issue // by key
	asking int               // intents whose outcome is not known yet
	lost   int               // records of those whose outcome was never known, of all brokers, as far as was seen
	look   []string          // prefixes of records to look at again
	wake   chan struct{}
}

func newIssueBook(s store.Store, sources map[string]source.Source, logger *slog.Logger) *issueBook {
	return &issueBook{store: s, sources: sources, logger: logger, kept: map[string]*issue{}, wake: make(chan struct{}, 1)}
}

// issues reports whether any source issues.
func (k *issueBook) issues() bool {
	for _, s := range k.sources {
		if _, ok := s.(source.Issuer); ok {
			return true
		}
	}
	return false
}

// intend writes down what is about to be asked for.
func (k *issueBook) intend(ctx context.Context, q question, v *SecretVersion, place source.Place, now time.Time) (*issue, error) {
	k.mu.Lock()
	full := len(k.kept)+k.asking+k.lost >= maxIssued
	if !full {
		k.asking++
	}
	k.mu.Unlock()
	if full {
		return nil, &Error{Code: CodeOverloaded, Message: "too much that was issued has not ended yet", RetryAfter: retryUnavailable}
	}
	i := &issue{key: issuedKey(q.attested.namespace, q.want.Secret, q.lease()), at: 1, record: issueRecord{
		Namespace: q.attested.namespace, Secret: q.want.Secret, Version: v.Version, Lease: q.lease(), Decision: q.decision.ID,
		Kind: v.Source.Kind, Place: place, Asked: now, Ends: q.decision.Time.Add(q.judged.Terms.Lease),
	}}
	for _, p := range q.judged.Results {
		i.record.Policies = append(i.record.Policies, p.Policy)
	}
	w, err := write(i.key, 0, i.record)
	if err == nil {
		err = k.store.Apply(ctx, w)
	}
	if err != nil {
		k.settled(1)
		return nil, err
	}
	return i, nil
}

// answered writes down what was issued, before anything is done with it.
func (k *issueBook) answered(ctx context.Context, i *issue, lease *source.Lease, err error) error {
	i.answered(lease, err)
	if i.record.Handle == "" {
		return err
	}
	w, failed := write(i.key, i.at, i.record)
	if failed == nil {
		failed = k.store.Apply(ctx, w)
	}
	if err == nil {
		err = failed
	}
	return err
}

// settled says that the outcome of intents is known.
func (k *issueBook) settled(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asking -= n
}

// hold keeps what was released until it ends.
func (k *issueBook) hold(all []*issue) {
	k.settled(len(all))
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, i := range all {
		if i.revoked = i.record.Handle == ""; i.revoked {
			i.reason = "there is nothing to end"
		}
		k.kept[i.key] = i
	}
	if len(all) > 0 {
		k.wakeUp()
	}
}

// abandon gives up what was issued for a request that was not answered after all.
func (k *issueBook) abandon(all []*issue) {
	if len(all) == 0 {
		return
	}
	k.settled(len(all))
	k.mu.Lock()
	for _, i := range all {
		if i.unknown {
			k.lost++
			continue // its record says so, until it is old enough that no answer to the request is on its way
		}
		i.reason = "not released"
		i.revoked = i.record.Handle == ""
		k.kept[i.key] = i
	}
	k.mu.Unlock()
	k.wakeUp()
}

// lookAt has the records below a prefix looked at again, for what they depend on has changed.
func (k *issueBook) lookAt(prefix string) {
	if !k.issues() {
		return
	}
	const most = 64
	k.mu.Lock()
	if !slices.Contains(k.look, prefix) {
		k.look = append(k.look, prefix)
	}
	if len(k.look) > most {
		k.look = []string{issuedRoot}
	}
	k.mu.Unlock()
	k.wakeUp()
}

func (k *issueBook) wakeUp() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *issueBook) toLookAt() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	prefixes := k.look
	k.look = nil
	return prefixes
}

// due returns what is to be ended now, the oldest first.
func (k *issueBook) due(now time.Time) []*issue {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []*issue
	for _, i := range k.kept {
		ends := i.record.Ends
		if i.foreign {
			ends = ends.Add(foreignGrace)
		}
		if (i.reason != "" || !now.Before(ends)) && !now.Before(i.next) {
			if i.reason == "" {
				i.reason = "its lease ended"
			}
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b *issue) int { return a.record.Asked.Compare(b.record.Asked) })
	return all
}

// reasonOf says why something is to end.
func (k *issueBook) reasonOf(i *issue) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return i.reason
}

// postpone has the next attempt to end something made later, and returns how many there were.
func (k *issueBook) postpone(i *issue, now time.Time) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	i.next = now.Add(min(firstBackoff<<min(i.attempts, 16), lastBackoff))
	i.attempts++
	return i.attempts
}

// forget drops what has ended.
func (k *issueBook) forget(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.kept, key)
}

// found takes a record that was read. It returns false where there is no room for it.
func (k *issueBook) found(i *issue, reason string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if known := k.kept[i.key]; known != nil {
		if known.reason == "" && reason != "" {
			known.reason, known.next = reason, time.Time{}
		}
		return true
	}
	if len(k.kept) >= maxIssued {
		return false
	}
	i.foreign, i.reason = true, reason
	k.kept[i.key] = i
	return true
}

func (k *issueBook) knows(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kept[key] != nil
}

// handles returns the handles that are known, of all brokers, by the name of their place.
func (k *issueBook) handles(ctx context.Context) (map[string]map[string]bool, error) {
	all := map[string]map[string]bool{}
	add := func(r *issueRecord) {
		if all[r.Place.Name] == nil {
			all[r.Place.Name] = map[string]bool{}
		}
		all[r.Place.Name][r.Handle] = true
	}
	k.mu.Lock()
	for _, i := range k.kept {
		add(&i.record)
	}
	k.mu.Unlock()
	err := each(ctx, k.store, issuedRoot, func(key string) error {
		record, _, err := load[issueRecord](ctx, k.store, key)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err == nil {
			add(&record)
		}
		return err
	})
	return all, err
}

// foundLost says how many records there are of what nobody knows whether it was issued.
func (k *issueBook) foundLost(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lost = n
}

// Issued returns how much is kept that sources issued, and how much of it is being ended, for metrics.
func (b *Broker) Issued() (kept, ending int) {
	b.issues.mu.Lock()
	defer b.issues.mu.Unlock()
	for _, i := range b.issues.kept {
		if i.reason != "" {
			ending++
		}
	}
	return len(b.issues.kept), ending
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// underSecret is the folder of a secret's records.
func underSecret(namespace, secret string) string {
	return issuedRoot + store.Key(namespace, secret) + "/"
}

// underNamespace is the folder of a namespace's records.
func underNamespace(namespace string) string {
	return issuedRoot + strings.TrimSuffix(namespace, "/") + "/"
}
