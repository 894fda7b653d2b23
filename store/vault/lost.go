package vault

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// This file notices that the store is gone from its place while it is open. A mount that was disabled and enabled again is an engine that works and has nothing in
// it: every read would say that there is no such record, and every create would begin another store. So what is not there is believed only while the header is.

// Times of looking for the header.
const (
	// presentFor is how long one look at the header counts: in it a record of a lost store may be said not to be there.
	presentFor = time.Second
	// lookAgain is how often a store that was lost looks whether it is back.
	lookAgain = time.Second
	// lookFor bounds one such look.
	lookFor = 10 * time.Second
)

// LostError says that the store which was opened is gone from its place. Until it is back, which needs no restart, every call fails with it and nothing is written. It
// wraps store.ErrLost, store.ErrUnavailable, and [ErrNoStore] where nothing is at the place or [ErrNotStore] where another store is.
type LostError struct {
	Path    string
	Store   string // its id
	Created time.Time
	Err     error // ErrNoStore or ErrNotStore
}

func (e *LostError) Error() string {
	found := "nothing is there, as in a mount that was disabled and enabled again"
	if errors.Is(e.Err, ErrNotStore) {
		found = "another store is there"
	}
	return fmt.Sprintf("store %s, %s of %s, is lost: %s; nothing is released until its data is restored there: disable what is there now, and bring back the mount "+
		"or a snapshot of Vault; never run \"vouchsafe init\" in its place", e.Path, e.Store, e.Created.Format(time.RFC3339), found)
}

// Unwrap returns the kinds of error that this is.
func (e *LostError) Unwrap() []error { return []error{store.ErrLost, store.ErrUnavailable, e.Err} }

// presence is what is known of whether the store is at its place.
type presence struct {
	turn chan struct{} // held by who looks
	seen time.Time     // before the last look that found it was begun; for who has the turn
	lost atomic.Pointer[LostError]
}

// Lost returns the [LostError] of a store that is gone from its place as far as is known, else nil. Vault is not asked.
func (s *Store) Lost() error {
	if lost := s.presence.lost.Load(); lost != nil {
		return lost
	}
	return nil
}

// present is asked before it is believed that something is not there, which was looked for from a time on. It returns a LostError where the store itself is not there.
func (s *Store) present(ctx context.Context, since time.Time) error {
	select {
	case s.presence.turn <- struct{}{}:
		defer func() { <-s.presence.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := s.Lost(); err != nil {
		return err
	}
	began := s.now()
	if !s.presence.seen.Before(since) && !s.presence.seen.After(began) {
		return nil
	}
	if err := s.look(ctx); err != nil {
		return err
	}
	s.presence.seen = began
	return nil
}

// lately is since when the header must have been seen for a single record that is not there.
func (s *Store) lately() time.Time { return s.now().Add(-presentFor) }

// look reads the header, and takes note of it where it is gone, or back. An error wraps store.ErrUnavailable.
func (s *Store) look(ctx context.Context) error {
	lost := &LostError{Path: s.Path(), Store: s.header.Store, Created: s.header.Created}
	switch h, err := s.readHeader(ctx); {
	case errors.Is(err, errAbsent), errors.Is(err, errGutted):
		lost.Err = ErrNoStore
	case err != nil:
		return fmt.Errorf("the store's header: %w", err)
	case h != s.header:
		lost.Err = ErrNotStore
	default:
		if s.presence.lost.Swap(nil) != nil {
			s.config.Logger.Warn("the store is back at its place: the broker goes on with it", "store", s.Path(), "id", s.header.Store)
		}
		return nil
	}
	if s.presence.lost.Swap(lost) == nil {
		s.config.Logger.Error("the store is lost", "cause", lost)
		s.awaitReturn()
	}
	return lost
}

// awaitReturn looks for a store that was lost until it is back or closed.
func (s *Store) awaitReturn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.calls.Go(func() {
		ticker := time.NewTicker(lookAgain)
		defer ticker.Stop()
		for s.Lost() != nil {
			select {
			case <-ticker.C:
			case <-s.closing.Done():
				return
			}
			ctx, cancel := context.WithTimeout(s.closing, lookFor)
			_ = s.look(ctx)
			cancel()
		}
	})
}
