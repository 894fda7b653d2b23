package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// Where several brokers share a store, each must learn that another changed the rules. The record NS/rules-revision is written before and after every
// change of policies and reference values, so its version tells that there was one, and its content that one is under way:
//
//	{"pending":{"<id of the change>":"<when it began>"}}
//
// A broker goes by the rules it has compiled for the staleness of the store, then reads that record. It reads the rules again when the version is another, and
// for as long as a change is under way, or was when they were read: a change lies between two writes of the record, so rules that were read
// between two changes, long enough after the first, are those of now. Once in rulesAnyway they are read in any case, so that whoever was stopped between
// the two for so long that nobody waits for him does no more harm than that.

const (
	// rulesAnyway is how long rules are gone by at most without being read again.
	rulesAnyway = time.Minute
	// pendingFor is how long a change may be under way: far longer than any store takes.
	pendingFor = 10 * time.Minute
	// maxPending is how many changes of one namespace may be under way at once.
	maxPending = 64
)

// rulesRevision is the record. Its version is the revision.
type rulesRevision struct {
	Pending map[string]time.Time `json:"pending,omitempty"`
}

func rulesRevisionKey(namespace string) string { return store.Key(namespace, "rules-revision") }

// changing says, before a change of the rules, that one is about to be made, and returns what says afterwards that it was made or not.
func (b *Broker) changing(ctx context.Context, namespace string) (done func(), err error) {
	if b.shared == nil {
		b.rules.change(namespace)
		return func() { b.rules.change(namespace) }, nil
	}
	id, err := b.newID()
	if err != nil {
		return nil, asError(err)
	}
	if err := b.revise(ctx, namespace, func(r *rulesRevision) { r.Pending[id] = b.now().UTC() }); err != nil {
		return nil, asError(err)
	}
	b.rules.change(namespace)
	return func() {
		b.rules.change(namespace)
		// Whoever asked may be gone; the others should not have to read the rules again and again.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reviseFor)
		defer cancel()
		if err := b.revise(ctx, namespace, func(r *rulesRevision) { delete(r.Pending, id) }); err != nil {
			b.logger.WarnContext(ctx, "the other brokers could not be told that a change of the rules is over: they read them again until the next", "cause", err)
		}
	}, nil
}

// reviseFor bounds how long the second write of the revision takes.
const reviseFor = 10 * time.Second

// revise changes the record of a namespace's revision.
func (b *Broker) revise(ctx context.Context, namespace string, edit func(*rulesRevision)) error {
	const attempts = 16
	for range attempts {
		r, version, err := loadOrZero[rulesRevision](ctx, b.store, rulesRevisionKey(namespace))
		if err != nil {
			return err
		}
		if r.Pending == nil {
			r.Pending = map[string]time.Time{}
		}
		for id, since := range r.Pending {
			if b.now().Sub(since) > pendingFor {
				delete(r.Pending, id)
			}
		}
		edit(&r)
		if len(r.Pending) > maxPending {
			return &Error{Code: CodeOverloaded, Message: "too many changes of the rules are under way", RetryAfter: retryUnavailable}
		}
		w, err := write(rulesRevisionKey(namespace), version, r)
		if err != nil {
			return err
		}
		if err = b.store.Apply(ctx, w); !errors.Is(err, store.ErrConflict) {
			return err
		}
		// What was read may be as old as the store allows.
		select {
		case <-time.After(b.shared.Staleness/4 + time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%w: others change the rules of %q all the time", store.ErrUnavailable, namespace)
}

// sharedRules is how a ruleBook of a broker that shares its store knows that others changed the rules.
type sharedRules struct {
	staleness time.Duration
	now       func() time.Time
}

// revisionAt is the revision that rules were read under. The zero value is of rules that were not.
type revisionAt struct {
	version uint64
	seen    time.Time // when this version was first seen
	checked time.Time // when it was last seen
	read    time.Time // when the rules were read
	settled bool      // what was read is what the version stands for
}

// trusted reports whether rules may be gone by without asking the store.
func (s *sharedRules) trusted(at *rulesAt) bool {
	return s == nil || s.now().Sub(at.revision.checked) < s.staleness
}

// look reads the revision, and says whether rules that were read under an earlier one may be kept.
func (s *sharedRules) look(ctx context.Context, from store.Store, namespace string, before *rulesAt) (now revisionAt, keep bool, err error) {
	begun := s.now()
	r, version, err := loadOrZero[rulesRevision](ctx, from, rulesRevisionKey(namespace))
	if err != nil {
		return now, false, err
	}
	now = revisionAt{version: version, seen: begun, checked: begun, read: begun}
	pending := false
	for _, since := range r.Pending {
		pending = pending || begun.Sub(since) <= pendingFor
	}
	if before != nil && before.revision.version == version {
		now.seen = before.revision.seen
		if before.revision.settled && !pending && begun.Sub(before.revision.read) < rulesAnyway {
			now.read, now.settled = before.revision.read, true
			return now, true, nil
		}
	}
	// What is read now may be as old as the store allows: it is what the version stands for when that was seen long enough ago.
	now.settled = !pending && begun.Sub(now.seen) >= s.staleness
	return now, false, nil
}
