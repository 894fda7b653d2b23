package broker

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
)

// When evidence last matched a reference value is kept in memory as secrets are released, and written in the background to NS/reference-use/SET. It is no part of the set:
// writing it changes no rules, and meets no administrator's change. It is exact to usePrecision, so that a value costs at most one write in that time however often
// it is matched; a broker that is killed forgets at most flushEvery of it.
const (
	usePrecision = time.Hour
	flushEvery   = time.Minute
	// flushLast is how long the last write may take when the broker ends.
	flushLast = 5 * time.Second
	// maxUses bounds the values of which one set's record tells, by the size of a record: the latest stay.
	maxUses = 2000
)

// ReferenceUse is when evidence last matched a value, and by what.
type ReferenceUse struct {
	Value    string    `json:"value"`
	Last     time.Time `json:"last"`     // exact to an hour
	Secret   string    `json:"secret"`   // one that was released then
	Decision string    `json:"decision"` // by which
}

// ReferenceUses is who uses a set.
type ReferenceUses struct {
	Name     string          `json:"name"`
	Policies []ReferenceUser `json:"policies"` // active policies that name it, by name
	Values   []ReferenceUse  `json:"values"`   // those that evidence matched, by value
}

// ReferenceUser is an active policy that names a set.
type ReferenceUser struct {
	Policy  string   `json:"policy"`
	Version uint64   `json:"version"`
	Secrets []string `json:"secrets"` // the patterns it guards
}

// useRecord is what is stored of one set.
type useRecord struct {
	Values []ReferenceUse `json:"values"`
}

func useKey(namespace, set string) string { return store.Key(namespace, "reference-use", set) }

// useBook is what is known of uses and not, or not only, stored.
type useBook struct {
	mu   sync.Mutex
	sets map[setOf]map[string]ReferenceUse // by value
	new  map[setOf]bool                    // sets of which something is not stored yet
}

type setOf struct{ namespace, name string }

func newUseBook() *useBook {
	return &useBook{sets: map[setOf]map[string]ReferenceUse{}, new: map[setOf]bool{}}
}

// note remembers which values a decision that is recorded released secrets by.
func (u *useBook) note(d *Decision) {
	last := d.Time.UTC().Truncate(usePrecision)
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range d.Secrets {
		if s.Outcome != OutcomeReleased {
			continue
		}
		for _, m := range s.Matched {
			set := setOf{d.Namespace, m.Set}
			values := u.sets[set]
			if values == nil {
				values = map[string]ReferenceUse{}
				u.sets[set] = values
			}
			old, known := values[m.Value]
			if known && !old.Last.Before(last) || !known && len(values) >= reference.MaxValues {
				continue
			}
			values[m.Value] = ReferenceUse{m.Value, last, s.Secret, d.ID}
			u.new[set] = true
		}
	}
}

// take returns what is known of a set, and considers it stored.
func (u *useBook) take(set setOf) map[string]ReferenceUse {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.new, set)
	return maps.Clone(u.sets[set])
}

// unsaved returns the sets of which something is not stored.
func (u *useBook) unsaved() []setOf {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.new))
}

func (u *useBook) again(set setOf) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.new[set] = true
}

// TendReferences writes down which reference values were matched, until ctx ends. A broker of which that is to be known needs it running, once.
func (b *Broker) TendReferences(ctx context.Context) error {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushLast)
			defer cancel()
			b.flushUses(last)
			return nil
		case <-ticker.C:
			b.flushUses(ctx)
		}
	}
}

// flushUses writes what is not stored. What cannot be written, or meets another broker's write, is tried again the next time.
func (b *Broker) flushUses(ctx context.Context) {
	for _, set := range b.uses.unsaved() {
		known := b.uses.take(set)
		record, at, err := loadOrZero[useRecord](ctx, b.store, useKey(set.namespace, set.name))
		if err == nil {
			var w store.Write
			if w, err = write(useKey(set.namespace, set.name), at, useRecord{merge(record.Values, known)}); err == nil {
				err = b.store.Apply(ctx, w)
			}
		}
		if err == nil {
			continue
		}
		b.uses.again(set)
		if !errors.Is(err, store.ErrConflict) && ctx.Err() == nil {
			b.logger.WarnContext(ctx, "which reference values were matched cannot be written down now", "namespace", set.namespace, "set", set.name, "cause", err)
		}
	}
}

// merge returns the later use of each value, by value: of more than maxUses the latest.
func merge(stored []ReferenceUse, known map[string]ReferenceUse) []ReferenceUse {
	all := make(map[string]ReferenceUse, len(stored)+len(known))
	for _, use := range stored {
		all[use.Value] = use
	}
	for value, use := range known {
		if all[value].Last.Before(use.Last) {
			all[value] = use
		}
	}
	out := slices.SortedFunc(maps.Values(all), func(a, b ReferenceUse) int { return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Value, b.Value)) })
	out = append([]ReferenceUse{}, out[:min(len(out), maxUses)]...) // a list in JSON, also when it is empty
	slices.SortFunc(out, func(a, b ReferenceUse) int { return cmp.Compare(a.Value, b.Value) })
	return out
}

// ReferenceUses says which active policies name a set, and when evidence last matched its values. Whoever may read the set may; of policies and secrets that are not
// below the paths of a scoped caller it does not tell.
func (b *Broker) ReferenceUses(ctx context.Context, who access.Caller, namespace, name string) (ReferenceUses, error) {
	if _, err := b.References(ctx, who, namespace, name); err != nil {
		return ReferenceUses{}, err
	}
	out := ReferenceUses{Name: name, Policies: []ReferenceUser{}}
	rules, err := b.rules.of(ctx, namespace)
	if err != nil {
		return out, asError(err)
	}
	for _, user := range rules.policies.Users(name) {
		if authorizeOn(who, namespace, access.Paths(user.Policy.Secrets()...), readers...) == nil {
			out.Policies = append(out.Policies, ReferenceUser{user.Policy.Name(), user.Version, user.Policy.Secrets()})
		}
	}
	record, _, err := loadOrZero[useRecord](ctx, b.store, useKey(namespace, name))
	if err != nil {
		return out, asError(err)
	}
	b.uses.mu.Lock()
	known := maps.Clone(b.uses.sets[setOf{namespace, name}])
	b.uses.mu.Unlock()
	out.Values = merge(record.Values, known)
	for i := range out.Values {
		if v := &out.Values[i]; !who.Scope.Covers(v.Secret) { // it matched for somebody else's secret
			v.Secret, v.Decision = "", ""
		}
	}
	return out, nil
}

// ReferenceRelease is a secret that was released by a reference value and is still held.
type ReferenceRelease struct {
	Value    string    `json:"value"`
	Secret   string    `json:"secret"`
	Version  uint64    `json:"version"`
	Decision string    `json:"decision"`
	Lease    string    `json:"lease"`
	Remote   string    `json:"remote,omitempty"` // address of who holds it
	Issued   time.Time `json:"issued"`
	Expires  time.Time `json:"expires"`
}

// searchSince is how far back ReferenceReleases looks, at least: some policies may have been replaced by others, with shorter leases.
const searchSince = 7 * 24 * time.Hour

// ReferenceReleases searches the decisions, of the longest lease that an active policy gives by the set and at least of a week, for secrets that values of a set, all of them when none is given, let pass, and whose leases have neither ended nor been revoked. It reads a bounded
// number of decisions after the id "after": next is the id after which to go on, "" when there are no more. Approvers, who retire values, and auditors may.
func (b *Broker) ReferenceReleases(ctx context.Context, who access.Caller, namespace, name string, values []string, after string) (page []ReferenceRelease, next string, err error) {
	if err := authorizeIn(who, namespace, access.Approver, access.Auditor); err != nil {
		return nil, "", err
	}
	if len(values) > MaxPage {
		return nil, "", invalid("%d reference values; ask for at most %d at once", len(values), MaxPage)
	}
	wanted := make(map[string]bool, len(values))
	for _, v := range values {
		wanted[reference.Normalise(v)] = true
	}
	rules, err := b.rules.of(ctx, namespace)
	if err != nil {
		return nil, "", asError(err)
	}
	since := searchSince
	for _, user := range rules.policies.Users(name) {
		since = max(since, user.Policy.Release().Lease)
	}
	root, now := decisionKey(namespace, ""), b.now()
	after = max(after, FirstDecision(now.Add(-since)))
	for range maxSearched / MaxPage {
		ids, more, err := b.pageOf(ctx, root, root, root, after, MaxPage)
		if err != nil {
			return nil, "", err
		}
		for _, id := range ids {
			e, _, err := b.readDecision(ctx, root+id)
			if err != nil {
				return nil, "", asError(err)
			}
			found, err := b.heldBy(ctx, &e.Decision, name, wanted, now)
			if err != nil {
				return nil, "", asError(err)
			}
			page, after = append(page, found...), id
		}
		if !more {
			return page, "", nil
		}
		if len(page) >= MaxPage {
			break
		}
	}
	return page, after, nil
}

// heldBy returns what of a decision is still held and was let pass by wanted values of a set.
func (b *Broker) heldBy(ctx context.Context, d *Decision, set string, wanted map[string]bool, now time.Time) ([]ReferenceRelease, error) {
	var out []ReferenceRelease
	for _, s := range d.Secrets {
		if s.Outcome != OutcomeReleased || s.Lease == nil || !now.Before(s.Lease.Expires) {
			continue
		}
		for _, m := range s.Matched {
			if m.Set != set || len(wanted) > 0 && !wanted[m.Value] {
				continue
			}
			lease, _, err := load[Lease](ctx, b.store, leaseKey(d.Namespace, s.Secret, s.Lease.ID))
			if errors.Is(err, store.ErrNotFound) {
				break
			}
			if err != nil {
				return nil, err
			}
			if lease.Revoked != nil || !now.Before(lease.Expires) {
				break
			}
			out = append(out, ReferenceRelease{m.Value, s.Secret, s.Version, d.ID, lease.ID, d.Remote, lease.Issued, lease.Expires})
		}
	}
	return out, nil
}
