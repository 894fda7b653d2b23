package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// The engine can write a tombstone on the condition that a record has a version, but removes a name whatever is there. So a request to remove one must never
// arrive when the name has been used again: who deletes sends it soon or not at all, Vault ends every request after 90 seconds, and others leave a
// tombstone alone until both have passed.
const (
	dropWithin   = 20 * time.Second // from before the tombstone is written until the name's removal is sent
	settled      = 2 * time.Minute  // dropWithin and the 90 seconds of Vault (max_request_duration), and some more
	createWithin = 2 * time.Second  // how long a create waits for the deleter to be done
)

// patience is how long one create waits for others' deletions.
type patience struct {
	s     *Store
	until time.Time
	pause time.Duration
}

func newPatience(s *Store) *patience {
	return &patience{s: s, until: time.Now().Add(createWithin), pause: 10 * time.Millisecond}
}

// wait waits a while, longer each time, and returns false if it has been long enough.
func (p *patience) wait(ctx context.Context) bool {
	if time.Now().After(p.until) {
		return false
	}
	timer := time.NewTimer(p.pause)
	defer timer.Stop()
	p.pause = min(2*p.pause, 200*time.Millisecond)
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-p.s.closing.Done():
	}
	return false
}

// finish removes the name of a record whose tombstone was just written by this call, which began at started. The record is deleted whether or not that
// succeeds.
func (s *Store) finish(ctx context.Context, path string, started time.Time) error {
	left := dropWithin - s.now().Sub(started)
	if left <= 0 || left > dropWithin {
		return fmt.Errorf("%w: writing the tombstone took too long for removing the name", store.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, left) // however long the connection lets it wait before it is sent
	defer cancel()
	return s.drop(ctx, path)
}

// makeRoom is called for a create that the engine refused. It returns when there is a record, or when nothing is left of the one that was deleted, at most
// so far as other deleters let it: an error wraps store.ErrUnavailable.
func (s *Store) makeRoom(ctx context.Context, path string, at status, p *patience) (status, error) {
	for again := false; ; again = true {
		if again {
			var err error
			if at, err = s.stat(ctx, path); err != nil {
				return status{}, err
			}
		}
		if at.version == 0 {
			// Gone by now, or deleted by hand, which only the versions show.
			var err error
			if at, err = s.statHistory(ctx, path); err != nil || at.version == 0 {
				return at, err
			}
		}
		if !at.deleted {
			return at, nil
		}
		if s.now().Sub(at.created) >= s.settled {
			return status{}, s.takeOver(ctx, path, at)
		}
		if !p.wait(ctx) {
			return status{}, fmt.Errorf("%w: it was deleted a moment ago, and its name can be used again %v later", store.ErrUnavailable, s.settled)
		}
	}
}

// takeOver removes what another has left of a record that was deleted long ago. Whoever replaces the tombstone by another is the one who removes the name; and
// the tombstones' dates tell how old the first was by the clock of Vault, whatever the time is here.
func (s *Store) takeOver(ctx context.Context, path string, at status) error {
	started := s.now()
	renewed, err := s.put(ctx, path, at.version, tombstone)
	if errors.Is(err, errCAS) {
		return nil // somebody else was first; the caller looks again
	}
	if err != nil {
		return err
	}
	if renewed.created.Sub(at.created) < s.settled {
		return fmt.Errorf("%w: a deletion was taken for an old one: the clock here is ahead of Vault's", store.ErrUnavailable)
	}
	return s.finish(ctx, path, started)
}
