package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/store"
)

// probeSize is how much a probe of the store writes, in bytes: more than the records of a few releases that are committed together, so that
// a probe that succeeds means that they would. A store on a full disk has some space of its own to reuse, and takes what is smaller.
const probeSize = 128 << 10

// probeKey is the record that probes read and write.
var probeKey = store.Key(store.SysNamespace, "probe")

// probe watches whether the store takes writes. The store is written to for its sake only while it does not: then no release
// succeeds that would show that it does again, all the more when nobody sends any because the broker is not ready.
type probe struct {
	mu     sync.Mutex
	failed error // of the last write, if the store did not take it
}

// wrote tells the probe of a write's error, nil for success.
func (p *probe) wrote(err error) {
	switch {
	case err == nil || errors.Is(err, store.ErrUnavailable) || errors.Is(err, audit.ErrDamaged):
	default:
		return // the caller's own fault, or gave up: says nothing about the store
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = err
}

// try returns nil when the store takes writes as far as is known, or does again.
func (p *probe) try(ctx context.Context, s store.Store) error {
	p.mu.Lock()
	defer p.mu.Unlock() // one at a time: whoever asks meanwhile gets this answer
	if p.failed == nil {
		return nil
	}
	if errors.Is(p.failed, audit.ErrDamaged) {
		return p.failed
	}
	record, err := s.Get(ctx, probeKey)
	if err == nil || errors.Is(err, store.ErrNotFound) {
		err = s.Apply(ctx, store.Write{Key: probeKey, Version: record.Version, Value: make([]byte, probeSize)})
	}
	if err != nil {
		return fmt.Errorf("%w; and tried again: %w", p.failed, err)
	}
	p.failed = nil
	return nil
}

// Ready returns an error when the broker could not release: its store or rules cannot be read, its log is not what it was, or the store did
// not take the last write and still takes none.
func (b *Broker) Ready(ctx context.Context) error {
	// Rules and the latest entries of the log are in memory: they alone would not show that the store is gone.
	if _, err := b.store.Get(ctx, probeKey); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if b.shared != nil && b.shared.Check != nil {
		if err := b.shared.Check(ctx); err != nil {
			return err
		}
	}
	if _, err := b.rules.of(ctx, store.DefaultNamespace); err != nil {
		return err
	}
	if err := b.logs.Check(); err != nil {
		return err
	}
	log := b.logs.Own()
	if size := log.Size(); size > 0 {
		if _, err := log.Entry(ctx, size-1); err != nil {
			return err
		}
	}
	return b.writes.try(ctx, b.store)
}
