package audit

import (
	"bytes"
	"context"
	"fmt"

	"github.com/vouchsafe/vouchsafe/store"
	"golang.org/x/mod/sumdb/tlog"
)

// Append records an entry of 1 to MaxEntry bytes and makes the writes with it, all or nothing in one Apply of the store, and returns when that
// is durable. Appends that wait at the same time are committed together. On a store that is not atomic the writes are made, in their order, when the entry is
// in the log; when they fail, the error is an *UnmadeError around the store's.
//
// ErrOverloaded, ErrClosed, ErrEntrySize, store.ErrConflict and store.ErrInvalid say that nothing was recorded; the last two are about
// the caller's own writes and do not touch other callers. Writes to the log's own records are ErrInvalid. An error wrapping
// store.ErrUnavailable says that it was not confirmed: the entry and its writes may or may not be there. The same holds for the
// error of ctx, when ctx ends after the commit began; before that the append is withdrawn. ErrDamaged says that the store does not hold
// the log that was written to it; nothing is recorded until that is repaired. The values of writes must not be changed, even after ctx ended.
func (l *Log) Append(ctx context.Context, entry []byte, writes ...store.Write) (Receipt, error) {
	if err := checkEntry(entry); err != nil {
		return Receipt{}, err
	}
	entry = bytes.Clone(entry) // the caller may have it back when ctx ends
	r := &request{entry: entry, leaf: tlog.RecordHash(entry), writes: writes, size: sizeOf(entry, writes)}
	return l.append(ctx, r)
}

// AppendFunc is Append for an entry that holds its own index. The function is called when the entry's place is known, perhaps more than
// once, each time with another index, of which the last one holds. It runs where all appends pass: it must be quick, must not use the log, and
// keeps nothing from one call to the next. On a store that is not atomic its writes are made at the same time, in no order. When it returns an error, nothing is recorded and AppendFunc returns that error. The log keeps entry.
func (l *Log) AppendFunc(ctx context.Context,
	build func(index uint64) (entry []byte, writes []store.Write, err error)) (Receipt, error) {
	return l.append(ctx, &request{build: build})
}

func (l *Log) append(ctx context.Context, r *request) (Receipt, error) {
	if l.config.Signer == nil {
		return Receipt{}, ErrReadOnly
	}
	if err := ctx.Err(); err != nil {
		return Receipt{}, err
	}
	r.done = make(chan outcome, 1)
	if !l.atomic {
		l.effects.begin()
		defer l.effects.end()
	}
	start, err := l.queue.add(r, l.config.MaxPending)
	if err != nil {
		return Receipt{}, err
	}
	if start {
		go l.commitAll()
	}
	var o outcome
	select {
	case o = <-r.done:
	case <-ctx.Done():
		if l.queue.forget(r) {
			return Receipt{}, fmt.Errorf("audit entry withdrawn: %w", ctx.Err())
		}
		return Receipt{}, fmt.Errorf("audit entry perhaps recorded: %w", ctx.Err())
	}
	switch {
	case o.panic != nil:
		panic(o.panic)
	case o.err != nil:
		return Receipt{}, o.err
	}
	if !l.atomic && len(r.writes) > 0 {
		if err := l.effect(ctx, r.writes, r.build != nil); err != nil {
			return Receipt{}, &UnmadeError{Index: uint64(o.index), Err: err}
		}
	}
	// Hashed here and not by the committer, so that callers share the work. All it reads is in memory.
	return l.receipt(l.base, o.state, o.index)
}

func checkEntry(entry []byte) error {
	if len(entry) == 0 || len(entry) > MaxEntry {
		return fmt.Errorf("%w: %d bytes, not 1 to %d", ErrEntrySize, len(entry), MaxEntry)
	}
	return nil
}

// sizeOf returns the bytes that an append takes, about.
func sizeOf(entry []byte, writes []store.Write) int {
	size := len(entry)
	for _, w := range writes {
		size += len(w.Key) + len(w.Value)
	}
	return size
}

// prepare finds the entry and writes of a request for an index, and checks them.
func (r *request) prepare(index int64) (o outcome) {
	defer func() {
		if p := recover(); p != nil {
			o = outcome{panic: p}
		}
	}()
	if r.build != nil {
		entry, writes, err := r.build(uint64(index))
		if err == nil {
			err = checkEntry(entry)
		}
		if err != nil {
			return outcome{err: err}
		}
		r.entry, r.writes, r.leaf = entry, writes, tlog.RecordHash(entry)
	}
	r.index = index
	return outcome{err: store.CheckWrites(r.writes)}
}
