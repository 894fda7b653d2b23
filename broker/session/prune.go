package session

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// Limits of pruning.
const (
	// pruneEvery is after how many records of its own a broker removes old ones, and pruneBatch how many it then removes at
	// most. The second is larger, so that the records of brokers which are gone disappear too.
	pruneEvery = 32
	pruneBatch = 128

	// prunePage is how many records are listed at a time. A store may have to ask for each of them, so a page should not have
	// many more than are old.
	prunePage = 32

	// pruneAfter is how long past its expiry a record is kept: until no broker whose clock is [store.MaxSkew] behind takes it for
	// good, with as much again because the clocks are read at different moments. See "The clock" in the package documentation.
	pruneAfter = 2 * store.MaxSkew

	// pruneQuiet bounds how long nothing is listed where all that was seen is too young.
	pruneQuiet = time.Minute

	// pruneFor bounds how long one pass takes in the background.
	pruneFor = time.Minute
)

// pruner removes records whose keys are prefix/<expiry, seconds in 8 hex digits>/… when they have expired.
type pruner struct {
	store  store.Store
	prefix string // ends with "/"

	mu      sync.Mutex
	records int
	running bool
	floor   time.Time // records that expired before were perhaps removed, by this broker
	quiet   time.Time // of what was seen, nothing is old enough before
}

// added counts a record, and every so often removes old ones: at once on a store that does so in one write, beside the request on another.
func (p *pruner) added(ctx context.Context, now time.Time) {
	p.mu.Lock()
	p.records++
	due := p.records%pruneEvery == 0 && !p.running && !now.Before(p.quiet)
	p.running = p.running || due
	p.mu.Unlock()
	if !due {
		return
	}
	run := func(ctx context.Context) {
		// What is not removed now is removed later.
		_, _ = p.prune(ctx, now)
		p.mu.Lock()
		p.running = false
		p.mu.Unlock()
	}
	if p.store.Atomic() {
		run(ctx)
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pruneFor)
		defer cancel()
		run(ctx)
	}()
}

// removed returns before which expiry records were perhaps removed.
func (p *pruner) removed() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.floor
}

// prune removes up to pruneBatch records that expired long enough before now, and returns how many it removed.
func (p *pruner) prune(ctx context.Context, now time.Time) (int, error) {
	// A clock here that is ahead must not take away what others still hold for good. Vault has just taken a record, so its time is known.
	if shared, ok := sharedTime(p.store); ok && shared.Before(now) {
		now = shared
	}
	before := now.Add(-pruneAfter)
	writes, err := p.old(ctx, before)
	if err != nil {
		return 0, fmt.Errorf("session: listing records: %w", err)
	}
	if len(writes) == 0 {
		return 0, nil
	}
	p.mu.Lock()
	if before.After(p.floor) {
		p.floor = before
	}
	p.mu.Unlock()
	if p.store.Atomic() {
		err := p.store.Apply(ctx, writes...)
		if errors.Is(err, store.ErrConflict) {
			return 0, nil // another broker removes the same
		}
		if err != nil {
			return 0, fmt.Errorf("session: removing records: %w", err)
		}
		return len(writes), nil
	}
	removed := 0
	for _, w := range writes {
		err := p.store.Apply(ctx, w)
		if err == nil {
			removed++
		} else if !errors.Is(err, store.ErrConflict) {
			return removed, fmt.Errorf("session: removing records: %w", err)
		}
	}
	return removed, nil
}

// old returns the deletions of up to pruneBatch records that expired before, the oldest first. Of the first that did not it remembers when it will be old
// enough, at most pruneQuiet ahead: until then nothing is listed, and what others write meanwhile is found with it.
func (p *pruner) old(ctx context.Context, before time.Time) ([]store.Write, error) {
	var writes []store.Write
	after := ""
	for len(writes) < pruneBatch {
		page := prunePage
		if after == "" {
			page = 1 // mostly it is too young
		}
		entries, err := p.store.List(ctx, p.prefix, after, page)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			expires, ok := p.expiry(e.Key)
			if !ok || !expires.Before(before) {
				p.mu.Lock()
				p.quiet = before.Add(min(expires.Sub(before), pruneQuiet) + pruneAfter)
				p.mu.Unlock()
				return writes, nil
			}
			writes = append(writes, store.Write{Key: e.Key, Version: e.Version})
			after = e.Key
		}
		if len(entries) < page {
			break
		}
	}
	return writes[:min(len(writes), pruneBatch)], nil
}

// sharedTime is the time by a clock that all brokers over a store see, where there is one.
func sharedTime(s store.Store) (time.Time, bool) {
	if clocked, ok := s.(store.Clocked); ok {
		return clocked.Clock()
	}
	return time.Time{}, false
}

func (p *pruner) expiry(key string) (time.Time, bool) {
	text, _, ok := strings.Cut(strings.TrimPrefix(key, p.prefix), "/")
	seconds, err := strconv.ParseUint(text, 16, 32)
	if !ok || err != nil {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}
