package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/store"
)

// The times of what ends what sources issued.
const (
	tendEvery  = time.Second     // looks for what is due
	sweepEvery = 5 * time.Minute // reads all records, for those of brokers that are gone
	// orphanAge is how old a record without a release must be before nobody can be about to release it: Vault ends requests after 90 seconds,
	// and this broker long before. What a search for it may find besides is another release's, issued up to sourceTimeout + 2 store.MaxSkew after
	// it, and must have had its handle recorded when handles were read, at most knownFor ago; 25 seconds are left for that.
	orphanAge = 3 * time.Minute
	// foreignGrace is what the broker that issued something has before another ends it.
	foreignGrace = 30 * time.Second
	// revokeTimeout bounds one attempt to end something.
	revokeTimeout = 15 * time.Second
	// A failed attempt is repeated after firstBackoff, and then after twice as long each time up to lastBackoff, until the source has ended it.
	firstBackoff = 500 * time.Millisecond
	lastBackoff  = time.Minute
	// revokers is how much is ended at once.
	revokers = 8
)

// TendLeases ends what sources issued when its time has come, until ctx ends. A broker whose sources issue needs it running, once.
func (b *Broker) TendLeases(ctx context.Context) error {
	if !b.issues.issues() {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(tendEvery)
	defer ticker.Stop()
	var swept time.Time
	for {
		now := b.now()
		prefixes := b.issues.toLookAt()
		if now.Sub(swept) >= sweepEvery || now.Before(swept) {
			prefixes, swept = []string{issuedRoot}, now
		}
		for _, prefix := range prefixes {
			if err := b.sweep(ctx, prefix); err != nil && ctx.Err() == nil {
				b.logger.WarnContext(ctx, "what sources issued cannot be looked through now", "cause", err)
				swept = now.Add(-sweepEvery + 10*time.Second) // all of it then
				break
			}
		}
		b.endDue(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-b.issues.wake:
		}
	}
}

// sweep looks at the records below a prefix, and has those ended whose reason to be is gone. The reasons are not marked in the records when they
// arise, but found in what they follow from, so that no crash between the one and the other can lose one. One of which that cannot be found keeps none of the
// others from being ended: the error is that of the first.
func (b *Broker) sweep(ctx context.Context, prefix string) error {
	var (
		first error
		lost  int
		known knownHandles
	)
	err := each(ctx, b.store, prefix, func(key string) error {
		record, at, err := load[issueRecord](ctx, b.store, key)
		switch {
		case errors.Is(err, store.ErrNotFound): // ended since it was listed
			return nil
		case errors.Is(err, store.ErrCorrupt):
		case err != nil:
			return err
		default:
			if record.Handle == "" && !b.issues.knows(key) {
				lost++
			}
			err = b.look(ctx, &issue{key: key, at: at, record: record}, &known)
		}
		if err != nil && first == nil {
			first = fmt.Errorf("%s: %w", key, err)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if prefix == issuedRoot {
		b.issues.foundLost(lost - known.ended)
	}
	return first
}

// knownHandles are those of all records, read once for many searches. What a search finds had its record by then: see orphanAge.
type knownHandles struct {
	read    time.Time
	byPlace map[string]map[string]bool
	err     error

	ended int // records that the searches were for and that are deleted
}

// knownFor is how long they are gone by.
const knownFor = 20 * time.Second

func (h *knownHandles) at(ctx context.Context, b *Broker, place string) (map[string]bool, error) {
	if now := b.now(); h.read.IsZero() || now.Sub(h.read) > knownFor || now.Before(h.read) {
		h.read = now
		h.byPlace, h.err = b.issues.handles(ctx)
	}
	return h.byPlace[place], h.err
}

// look looks at one record, and keeps or ends what it is of.
func (b *Broker) look(ctx context.Context, i *issue, known *knownHandles) error {
	if i.record.Handle == "" {
		if b.now().Sub(i.record.Asked) < orphanAge || b.issues.knows(i.key) {
			return nil
		}
		return b.endOrphan(ctx, i, known)
	}
	reason, err := b.reasonToEnd(ctx, i)
	// Also where that is not known it ends in its time.
	if !b.issues.found(i, reason) && err == nil {
		err = fmt.Errorf("%d issued are kept already", maxIssued)
	}
	return err
}

// reasonToEnd says why something that was issued is to end now, "" if it is not.
func (b *Broker) reasonToEnd(ctx context.Context, i *issue) (string, error) {
	r := &i.record
	old := b.now().Sub(r.Asked) >= orphanAge
	lease, _, err := load[Lease](ctx, b.store, leaseKey(r.Namespace, r.Secret, r.Lease))
	switch {
	case errors.Is(err, store.ErrNotFound):
		if old {
			return "not released", nil
		}
		return "", nil
	case err != nil:
		return "", err
	case lease.Revoked != nil:
		return "its lease was revoked", nil
	}
	if old && !b.issues.knows(i.key) {
		// The lease alone is not the release: a store that is not atomic may have stopped between the two.
		if _, err := b.store.Get(ctx, decisionKey(r.Namespace, r.Decision)); errors.Is(err, store.ErrNotFound) {
			return "not released", nil
		} else if err != nil {
			return "", err
		}
	}
	secret, _, err := loadOrZero[secretRecord](ctx, b.store, secretKey(r.Namespace, r.Secret))
	if err != nil {
		return "", err
	}
	if v := secret.find(r.Version); v == nil || v.Destroyed != nil {
		return "its secret was destroyed", nil
	}
	rules, err := b.rules.of(ctx, r.Namespace)
	if err != nil {
		return "", err
	}
	guards := map[string]bool{}
	for _, active := range rules.policies.Matching(r.Secret) {
		guards[active.Policy.Name()] = true
	}
	for _, name := range r.Policies {
		if !guards[name] {
			return "a policy that allowed it was retired", nil
		}
	}
	return "", nil
}

// endDue ends what is due.
func (b *Broker) endDue(ctx context.Context) {
	places := make(chan struct{}, revokers)
	var wait sync.WaitGroup
	for _, i := range b.issues.due(b.now()) {
		places <- struct{}{}
		wait.Go(func() {
			defer func() { <-places }()
			_ = b.end(ctx, i) // which is logged, and tried again
		})
	}
	wait.Wait()
}

// end ends one of those that are kept, and deletes its record.
func (b *Broker) end(ctx context.Context, i *issue) error {
	i.ending.Lock() // an administrator may be at it, too
	defer i.ending.Unlock()
	reason := b.issues.reasonOf(i)
	result := "revoked"
	err := func() error {
		ctx, cancel := context.WithTimeout(ctx, revokeTimeout)
		defer cancel()
		stored, at, err := load[issueRecord](ctx, b.store, i.key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			if i.foreign {
				result = "" // another broker has ended it
				return nil
			}
			at = 0
		case err != nil && i.foreign:
			return err
		}
		unread := err
		switch {
		case i.revoked:
		case !i.record.Expires.IsZero() && b.now().After(i.record.Expires):
			result = "expired"
		default:
			if err := b.revoke(ctx, &i.record); err != nil {
				if unread == nil && stored.Handle == "" { // of a release that was not recorded
					if w, err := write(i.key, at, i.record); err == nil {
						_ = b.store.Apply(ctx, w) // so that another process could; it does no harm that it may fail
					}
				}
				return err
			}
		}
		i.revoked = true
		if unread != nil && !errors.Is(unread, store.ErrNotFound) {
			return unread
		}
		if at == 0 {
			return nil
		}
		err = b.store.Apply(ctx, store.Write{Key: i.key, Version: at})
		if errors.Is(err, store.ErrConflict) { // another broker was quicker, or it is found by the next sweep
			err = nil
		}
		return err
	}()
	if err == nil {
		b.issues.forget(i.key)
		if i.record.Handle != "" && result != "" {
			b.ended(i.record.Kind, result)
			b.logger.InfoContext(ctx, "what a source issued has ended", "kind", i.record.Kind, "lease", i.record.Lease, "secret", i.record.Secret,
				"namespace", i.record.Namespace, "reason", reason, "result", result)
		}
		return nil
	}
	attempts := b.issues.postpone(i, b.now())
	if ctx.Err() == nil {
		b.ended(i.record.Kind, "failed")
		b.logger.WarnContext(ctx, "what a source issued could not be ended, and will be tried again", "kind", i.record.Kind, "lease", i.record.Lease,
			"secret", i.record.Secret, "namespace", i.record.Namespace, "reason", reason, "attempts", attempts, "cause", err)
	}
	return err
}

func (b *Broker) revoke(ctx context.Context, r *issueRecord) error {
	issuer, ok := b.issues.sources[r.Kind].(source.Issuer)
	if !ok {
		return &source.Failure{Err: source.ErrUnavailable, Detail: fmt.Sprintf("this broker has no source of kind %q", r.Kind)}
	}
	return issuer.Revoke(ctx, r.Handle)
}

func (b *Broker) ended(kind, result string) {
	if o, ok := b.observer.(SourceObserver); ok {
		o.Ended(kind, result)
	}
}

// endOrphan ends what may have been issued before a crash, or to a request whose answer was lost. At a place that others use too, nobody can say whose
// a lease is, and ending another's would be worse than leaving one that nobody holds to end by itself: that is said, and counted.
func (b *Broker) endOrphan(ctx context.Context, i *issue, all *knownHandles) error {
	r := &i.record
	issuer, ok := b.issues.sources[r.Kind].(source.Issuer)
	if ok && r.Place.Exclusive {
		known, err := all.at(ctx, b, r.Place.Name)
		if err != nil {
			return err
		}
		handles, err := issuer.Issued(ctx, r.Place, r.Asked.Add(-store.MaxSkew), r.Asked.Add(sourceTimeout+store.MaxSkew))
		if err != nil {
			b.logger.WarnContext(ctx, "what a source may have issued before a crash cannot be looked for", "kind", r.Kind, "place", r.Place.Name, "cause", err)
			if !errors.Is(err, source.ErrForbidden) && !errors.Is(err, source.ErrRejected) {
				return nil // the next sweep tries again
			}
		}
		for _, handle := range handles {
			if known[handle] {
				continue
			}
			if err := issuer.Revoke(ctx, handle); err != nil {
				return err
			}
			b.ended(r.Kind, "revoked")
			b.logger.InfoContext(ctx, "what a source issued has ended", "kind", r.Kind, "lease", r.Lease, "secret", r.Secret,
				"namespace", r.Namespace, "reason", "not released", "result", "revoked")
		}
		ok = err == nil
	} else {
		ok = false
	}
	if !ok {
		b.ended(r.Kind, "unknown")
		b.logger.WarnContext(ctx, "a source may have issued something that nobody has: it ends by itself", "kind", r.Kind, "place", r.Place.Name,
			"asked", r.Asked, "secret", r.Secret, "namespace", r.Namespace, "decision", r.Decision)
	}
	err := b.store.Apply(ctx, store.Write{Key: i.key, Version: i.at})
	if errors.Is(err, store.ErrConflict) {
		err = nil
	}
	if err == nil {
		all.ended++
	}
	return err
}
