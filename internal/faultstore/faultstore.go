// Package faultstore makes a real store fail as stores do, for tests: not at all, before anything is written, after everything
// was, or as if it were not there.
package faultstore

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/vouchsafe/vouchsafe/store"
)

// Fault is how a call fails.
type Fault int

// The faults.
const (
	None   Fault = iota
	Before       // nothing is written or read, and it fails
	After        // everything is written, and it fails: whoever called cannot know
)

// Store is a store that fails on demand. It is safe for concurrent use.
type Store struct {
	store.Store

	mu    sync.Mutex
	apply func() Fault
	read  string
}

// New returns a Store that does not fail yet.
func New(s store.Store) *Store { return &Store{Store: s} }

// FailApply has every Apply from now on fail as next says; nil ends that.
func (s *Store) FailApply(next func() Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apply = next
}

// FailReads has every Get of a key with the prefix, and every List below it, fail from now on; "" ends that.
func (s *Store) FailReads(prefix string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = prefix
}

func injected(what string) error {
	return fmt.Errorf("%w: %s failed because a test wants it to", store.ErrUnavailable, what)
}

// Apply implements store.Store.
func (s *Store) Apply(ctx context.Context, writes ...store.Write) error {
	s.mu.Lock()
	fault := None
	if s.apply != nil {
		fault = s.apply()
	}
	s.mu.Unlock()
	if fault == Before {
		return injected("Apply")
	}
	if err := s.Store.Apply(ctx, writes...); err != nil {
		return err
	}
	if fault == After {
		return injected("Apply")
	}
	return nil
}

func (s *Store) reading(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read != "" && strings.HasPrefix(key, s.read) {
		return injected("reading " + key)
	}
	return nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := s.reading(key); err != nil {
		return store.Record{}, err
	}
	return s.Store.Get(ctx, key)
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	if err := s.reading(prefix); err != nil {
		return nil, err
	}
	return s.Store.List(ctx, prefix, after, limit)
}
