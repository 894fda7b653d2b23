package data

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/vault"
)

// sweptKey is the record that says when a broker last began to sweep the shared store: a time in RFC 3339. Who moves it on sweeps, so that one broker does, whatever
// their number.
const sweptKey = store.SysNamespace + "/swept"

// The times of sweeping. A sweep costs a request for each record.
const (
	sweepEvery = 24 * time.Hour
	sweepFirst = 10 * time.Minute // after a broker was opened, when those who wait for it have been served
	sweepLook  = time.Hour
)

// swept is a store that those who are stopped half-way leave something behind in.
type swept interface {
	Sweep(context.Context) (vault.SweepResult, error)
}

// sweeper has a shared store swept once a day.
type sweeper struct {
	store  store.Store // with the record
	swept  swept
	now    func() time.Time
	logger *slog.Logger

	failed bool // this broker's last sweep: it begins another before its time
}

// run looks once an hour whether it is time, until ctx ends.
func (s *sweeper) run(ctx context.Context) {
	timer := time.NewTimer(sweepFirst)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			s.logger.WarnContext(ctx, "what was left behind in the store could not be cleared away; it is tried again", "cause", err, "again_in", sweepLook)
		}
		timer.Reset(sweepLook)
	}
}

// look sweeps if it is time and no other broker does.
func (s *sweeper) look(ctx context.Context) error {
	mine, err := s.claim(ctx)
	if err != nil || !mine {
		return err
	}
	result, err := s.swept.Sweep(ctx)
	if s.failed = err != nil; s.failed {
		return err
	}
	if result != (vault.SweepResult{}) {
		s.logger.InfoContext(ctx, "what was left behind in the store is cleared away", "deletions", result.Tombstones, "parts", result.Parts)
	}
	return nil
}

// claim reports whether this broker is to sweep now. A record that cannot be read, or that a clock far ahead wrote, keeps nobody from it.
func (s *sweeper) claim(ctx context.Context) (bool, error) {
	now := s.now()
	r, err := s.store.Get(ctx, sweptKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, fmt.Errorf("reading when it was swept last: %w", err)
	}
	last, err := time.Parse(time.RFC3339, string(r.Value))
	if passed := now.Sub(last); err == nil && passed < sweepEvery && passed > -store.MaxSkew && !s.failed {
		return false, nil
	}
	err = s.store.Apply(ctx, store.Write{Key: sweptKey, Version: r.Version, Value: now.UTC().AppendFormat(nil, time.RFC3339)})
	if errors.Is(err, store.ErrConflict) {
		return false, nil // another broker was quicker
	}
	return err == nil, err
}
