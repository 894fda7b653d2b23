package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/vouchsafe/vouchsafe/store"
)

// This file is what is different on a store that is not atomic; see "Stores that are not atomic" in the package comment.

// maxAdopted is the most entries that are found past a head: those of one commit, and more would be somebody else's doing.
const maxAdopted = 4096

// UnmadeError says that an entry was recorded and that the writes that belong to it were not made, or not all of them, or perhaps: Err says which. Only
// a store that is not atomic has it. An entry that says what did not happen then stays in the log.
type UnmadeError struct {
	Index uint64 // of the entry
	Err   error
}

func (e *UnmadeError) Error() string {
	return fmt.Sprintf("entry %d was recorded, and what it says was not done, or not all of it: %v", e.Index, e.Err)
}

func (e *UnmadeError) Unwrap() error { return e.Err }

// reclaimed is claimed before a commit: a claim that was not renewed in time, since the store could not be reached for a while, is renewed.
func (l *Log) reclaimed() error {
	if l.claimed() == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(l.base, l.config.CommitTimeout)
	defer cancel()
	return l.config.Claim.Renew(ctx)
}

// claimed returns an error when another process may append by now.
func (l *Log) claimed() error {
	if l.config.Claim == nil {
		return nil
	}
	return l.config.Claim.Check()
}

// applySteps makes a planned commit, each write durable before the next. Records of entries are only ever created, and the head is written when they
// are known to be there: whatever else writes here, a head that was signed stands for entries that are stored and stay as they are.
func (l *Log) applySteps(ctx context.Context, p *plan) error {
	for _, w := range p.entries {
		if err := l.config.Store.Apply(ctx, w); err != nil {
			return err
		}
	}
	if err := l.putTiles(ctx, p.tiles); err != nil {
		return err
	}
	return l.config.Store.Apply(ctx, p.head)
}

// putTiles writes full tiles. One that is there already was written by a commit that was interrupted: what is in a tile follows from the entries, so it
// is the same, or the log is damaged.
func (l *Log) putTiles(ctx context.Context, tiles []store.Write) error {
	for _, w := range tiles {
		err := l.config.Store.Apply(ctx, w)
		if errors.Is(err, store.ErrConflict) {
			var record store.Record
			if record, err = l.config.Store.Get(ctx, w.Key); err == nil && !bytes.Equal(record.Value, w.Value) {
				return &DamageError{w.Key, "does not have the hashes of its entries", nil}
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// regain reads the log again after a commit that was not confirmed, or that another process was in the way of, and makes what is stored the state to go
// on from, and to show: it is durable.
func (l *Log) regain(ctx context.Context) error {
	if l.config.Claim != nil {
		if err := l.config.Claim.Renew(ctx); err != nil {
			return err
		}
	}
	var err error
	for range maxAttempts {
		var s *state
		if s, err = l.records.load(ctx, l.config.Verifiers, l.config.Origin); err != nil {
			return err
		}
		if err = l.continues(ctx, s); err != nil {
			return err
		}
		if err = l.adopt(ctx, s); err == nil {
			l.tip = s
			l.show(s)
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("%w: others write to the audit log: %v", store.ErrUnavailable, err)
}

// adopt makes the entries that are stored past the head of s a part of the log, as the commit would have done that wrote them, and writes the head, also
// when there are none: whoever is still about to write one on top of the old version is then refused.
func (l *Log) adopt(ctx context.Context, s *state) error {
	found, err := l.records.beyond(ctx, s)
	if err != nil {
		return err
	}
	if s.filled == nil {
		s.filled = make(map[tileID]*tile)
	}
	b := builder{log: l, next: s, stored: len(s.tail)}
	for _, entry := range found {
		b.add(&request{entry: entry, leaf: tlog.RecordHash(entry)})
	}
	if err := l.putTiles(ctx, b.tiles); err != nil {
		return err
	}
	head, err := b.finish(s.version)
	if err != nil {
		return err
	}
	if err := l.config.Store.Apply(ctx, head); err != nil {
		return fmt.Errorf("audit log: write head: %w", err)
	}
	return nil
}

// beyond reads the entries that are stored past the head of s.
func (r records) beyond(ctx context.Context, s *state) ([][]byte, error) {
	var found [][]byte
	for size := s.tree.size; ; {
		bundle, width := size/tileWidth, int(size%tileWidth)
		key := r.entries(bundle, width)
		record, err := r.store.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			return found, nil
		}
		if err != nil {
			return nil, readError(key, err)
		}
		entries, err := parseBundle(record.Value, tileWidth-width)
		if err != nil || len(entries) == 0 {
			return nil, &DamageError{key, "does not hold entries that follow the head", err}
		}
		size += int64(len(entries))
		if found = append(found, entries...); len(found) > maxAdopted {
			return nil, &DamageError{key, fmt.Sprintf("is one of over %d entries beyond the head, more than a commit makes", maxAdopted), nil}
		}
	}
}

// recorded reports whether the entries of a plan whose commit met a conflict are in the log as it was read since: then they must not be recorded twice.
// It is false on an atomic store, where a conflict undoes everything.
func (l *Log) recorded(p *plan) (bool, error) {
	if l.atomic || l.tip.tree.size < p.next.tree.size {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(l.base, l.config.CommitTimeout)
	defer cancel()
	root, err := l.rootOf(ctx, l.tip, p.next.tree.size)
	if err != nil {
		return false, fmt.Errorf("%w: whether the entries are in the audit log is not known: %w", store.ErrUnavailable, err)
	}
	return root == p.next.tree.root(), nil
}

// effect makes the writes of a caller whose entry is in the log, in order unless together is set. They go on when ctx ends, since what the log says
// should be so.
func (l *Log) effect(ctx context.Context, writes []store.Write, together bool) error {
	if err := l.claimed(); err != nil {
		return err
	}
	done := make(chan error, 1)
	l.effects.begin()
	go func() {
		defer l.effects.end()
		ctx, cancel := context.WithTimeout(l.base, l.config.CommitTimeout)
		defer cancel()
		if together {
			done <- l.applyTogether(ctx, writes)
		} else {
			done <- l.config.Store.Apply(ctx, writes...)
		}
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("perhaps done: %w", ctx.Err())
	}
}

// atOnce is how many writes of one caller are made at a time: enough that the records of a usual request cost the time of one.
const atOnce = 8

// applyTogether makes writes that may be made in any order, some at a time.
func (l *Log) applyTogether(ctx context.Context, writes []store.Write) error {
	var (
		wg     sync.WaitGroup
		places = make(chan struct{}, atOnce)
		errs   = make([]error, len(writes))
	)
	for i, w := range writes {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			errs[i] = l.config.Store.Apply(ctx, w)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// effects counts the appends whose writes are not made yet. The zero value is ready.
type effects struct {
	mu   sync.Mutex
	open int
	idle chan struct{} // closed when open falls to zero and somebody waits
}

func (e *effects) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.open++
}

func (e *effects) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open--; e.open == 0 && e.idle != nil {
		close(e.idle)
		e.idle = nil
	}
}

// wait returns when none is open.
func (e *effects) wait() {
	e.mu.Lock()
	if e.open == 0 {
		e.mu.Unlock()
		return
	}
	if e.idle == nil {
		e.idle = make(chan struct{})
	}
	idle := e.idle
	e.mu.Unlock()
	<-idle
}

// Refresh reads what another process appended, to a log that was opened without a Signer.
func (l *Log) Refresh(ctx context.Context) error {
	if l.config.Signer != nil {
		return nil // what is shown is what this process wrote
	}
	l.refreshing.Lock()
	defer l.refreshing.Unlock()
	s, err := l.since(ctx, l.current.Load())
	if err == nil {
		l.show(s)
	}
	return err
}
