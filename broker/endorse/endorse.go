// Package endorse shares collateral among the replicas of a broker over their store: it implements [collateral.Shared].
//
// An item is the record sys/collateral/item/NAME, whose segments are the name's; its value is the encoded item. Who may fetch it is the record
// sys/collateral/claim/NAME, whose value is a time in RFC 3339: until then, others wait for the item instead of asking for it. Both are written by
// compare-and-swap. Claims are advice, good for the time of a request: clocks that differ cost a request more, or one later, and nothing else.
//
// Nothing in it is secret, and nothing in it is trusted: who reads an item checks it like one from a vendor. Key sets, for which there is no such check, are
// not shared.
package endorse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/store"
)

// Where the records are.
const (
	itemPrefix  = store.SysNamespace + "/collateral/item/"
	claimPrefix = store.SysNamespace + "/collateral/claim/"
)

// attempts is how often a write that met another's is tried: replicas are few, and each write takes milliseconds.
const attempts = 8

// page is how many records are listed at a time.
const page = 500

// maxClaim bounds how far ahead a claim is believed: one that a clock of next year wrote must not keep an item from being fetched.
const maxClaim = 10 * time.Minute

// Shared is collateral in a store.
type Shared struct{ bound atomic.Pointer[store.Store] }

var _ collateral.Shared = (*Shared)(nil)

// New returns what is shared by all who have the store.
func New(s store.Store) *Shared {
	shared := Later()
	shared.Bind(s)
	return shared
}

// Later returns what is shared when a store is bound to it: collateral is opened before the store is. Until then it is as a store that cannot
// be reached, and nothing waits for it.
func Later() *Shared { return &Shared{} }

// Bind says which store it is.
func (s *Shared) Bind(to store.Store) { s.bound.Store(&to) }

// at returns the store.
func (s *Shared) at() (store.Store, error) {
	if bound := s.bound.Load(); bound != nil {
		return *bound, nil
	}
	return nil, fmt.Errorf("endorse: %w: the store is not open yet", store.ErrUnavailable)
}

// Get implements collateral.Shared.
func (s *Shared) Get(ctx context.Context, name string) ([]byte, error) {
	at, err := s.at()
	if err != nil {
		return nil, err
	}
	r, err := at.Get(ctx, itemPrefix+name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("endorse: %s: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("endorse: %w", err)
	}
	return r.Value, nil
}

// Put implements collateral.Shared.
func (s *Shared) Put(ctx context.Context, name string, encoded []byte, replaces func(held []byte) bool) error {
	at, err := s.at()
	if err != nil {
		return err
	}
	for range attempts {
		r, err := at.Get(ctx, itemPrefix+name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("endorse: %w", err)
		}
		if err == nil && !replaces(r.Value) {
			return nil
		}
		err = at.Apply(ctx, store.Write{Key: itemPrefix + name, Version: r.Version, Value: encoded})
		if err == nil {
			return s.Release(ctx, name)
		}
		if !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("endorse: %w", err)
		}
	}
	return fmt.Errorf("endorse: %s: %w", name, store.ErrConflict)
}

// Release implements collateral.Shared. A claim that another has taken meanwhile may go with it, which costs a request.
func (s *Shared) Release(ctx context.Context, name string) error {
	at, err := s.at()
	if err != nil {
		return err
	}
	r, err := at.Get(ctx, claimPrefix+name)
	if err == nil {
		err = at.Apply(ctx, store.Write{Key: claimPrefix + name, Version: r.Version})
	}
	if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
		return nil
	}
	return fmt.Errorf("endorse: %w", err)
}

// Claim implements collateral.Shared.
func (s *Shared) Claim(ctx context.Context, name string, now, until time.Time) (bool, error) {
	at, err := s.at()
	if err != nil {
		return false, err
	}
	r, err := at.Get(ctx, claimPrefix+name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, fmt.Errorf("endorse: %w", err)
	}
	if err == nil {
		held, err := time.Parse(time.RFC3339, string(r.Value))
		if err == nil && now.Before(held) && held.Before(now.Add(maxClaim)) {
			return false, nil
		}
	}
	err = at.Apply(ctx, store.Write{Key: claimPrefix + name, Version: r.Version, Value: []byte(until.UTC().Format(time.RFC3339))})
	if errors.Is(err, store.ErrConflict) {
		return false, nil // another was quicker
	}
	if err != nil {
		return false, fmt.Errorf("endorse: %w", err)
	}
	return true, nil
}

// List implements collateral.Shared.
func (s *Shared) List(ctx context.Context, limit int) ([]string, error) {
	at, err := s.at()
	if err != nil {
		return nil, err
	}
	var names []string
	after := ""
	for len(names) < limit {
		entries, err := at.List(ctx, itemPrefix, after, min(page, limit-len(names)))
		if err != nil {
			return nil, fmt.Errorf("endorse: %w", err)
		}
		for _, e := range entries {
			names = append(names, strings.TrimPrefix(e.Key, itemPrefix))
			after = e.Key
		}
		if len(entries) < page {
			break
		}
	}
	return names, nil
}

// Watch implements collateral.Shared.
func (s *Shared) Watch(ctx context.Context) (<-chan string, error) {
	at, err := s.at()
	if err != nil {
		return nil, err
	}
	events, err := at.Watch(ctx, itemPrefix)
	if err != nil {
		return nil, fmt.Errorf("endorse: %w", err)
	}
	names := make(chan string)
	go func() {
		defer close(names)
		for e := range events {
			if e.Key != "" && e.Version == 0 {
				continue // removed: what a replica has, it keeps
			}
			select {
			case names <- strings.TrimPrefix(e.Key, itemPrefix):
			case <-ctx.Done():
			}
		}
	}()
	return names, nil
}
