package seal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vouchsafe/vouchsafe/store"
)

// Bounds of one Apply of Rewrap: enough records to share the cost of a sync, and few enough bytes for any store.
const (
	rewrapRecords = 64
	rewrapBytes   = 1 << 20
)

// scanPage is how many keys are listed at a time when every record is visited.
const scanPage = 256

// Rotate puts a new data key in use. When it returns, this process writes nothing more with the one before; others
// follow within RefreshEvery.
func (s *Store) Rotate(ctx context.Context) error {
	s.admin.Lock()
	defer s.admin.Unlock()
	if s.ring.Load() == nil {
		return store.ErrClosed
	}
	_, err := s.update(ctx, func(h *header, ring *keyring) (*rootKey, error) {
		return ring.root, addKey(h, ring.root, ring.id, s.random, s.now())
	})
	return err
}

// Reseal makes the store open with another seal instead of the present one, with a new root key; the data keys stay.
// After an error that wraps store.ErrUnavailable either of them may be the one that opens it.
func (s *Store) Reseal(ctx context.Context, seal Seal) error {
	s.admin.Lock()
	defer s.admin.Unlock()
	if s.ring.Load() == nil {
		return store.ErrClosed
	}
	_, err := s.update(ctx, func(h *header, ring *keyring) (*rootKey, error) {
		root, err := makeRoot(ctx, seal, s.random, ring.id)
		if err != nil {
			return nil, err
		}
		h.Seal, h.Root = sealedBy(seal), root.wrapped
		for i, entry := range h.Keys {
			raw, err := ring.root.unwrapKey(ring.id, entry)
			if err != nil {
				return nil, err
			}
			h.Keys[i].Wrapped, err = root.wrapKey(s.random, ring.id, entry.ID, raw)
			clear(raw)
			if err != nil {
				return nil, err
			}
		}
		return root, nil
	})
	if err == nil {
		s.seal = seal
	}
	return err
}

// RenewSeal has the seal wrap the root key again when its own key has a newer version than the one that wrapped it, and reports whether it did so. A
// seal without versions has nothing to renew. The root key stays, so other processes with the store need not ask the seal.
func (s *Store) RenewSeal(ctx context.Context) (renewed bool, err error) {
	s.admin.Lock()
	defer s.admin.Unlock()
	if s.ring.Load() == nil {
		return false, store.ErrClosed
	}
	aging, ok := s.seal.(Aging)
	if !ok {
		return false, nil
	}
	ring, err := s.load(ctx, s.ring.Load())
	if err != nil {
		return false, err
	}
	if outdated, err := aging.Outdated(ctx, ring.header.Root); err != nil || !outdated {
		return false, err
	}
	_, err = s.update(ctx, func(h *header, ring *keyring) (*rootKey, error) {
		root, err := rewrapRoot(ctx, aging, h, ring)
		if err == nil {
			h.Root = root.wrapped
		}
		return root, err
	})
	return err == nil, err
}

// rewrapRoot wraps the root key of a header again, and makes sure that the seal gives it back.
func rewrapRoot(ctx context.Context, seal Seal, h *header, ring *keyring) (*rootKey, error) {
	bind := rootBind(ring.id)
	if have := sealedBy(seal); have != h.Seal {
		return nil, fmt.Errorf("%w: it needs %s, and this is %s", ErrWrongSeal, h.Seal, have)
	}
	raw, err := seal.Unwrap(ctx, h.Root, bind)
	if err != nil {
		return nil, fmt.Errorf("open the seal with %s: %w", h.Seal, err)
	}
	defer clear(raw)
	wrapped, err := wrapSure(ctx, seal, raw, bind)
	if err != nil {
		return nil, err
	}
	return &rootKey{wrapped: wrapped, wrap: ring.root.wrap, mac: ring.root.mac}, nil
}

// RewrapResult is what Rewrap did.
type RewrapResult struct {
	Records   int // visited
	Rewrapped int // encrypted again with the data key in use
	Damaged   int // could not be decrypted and were left; while there are any, no data key is dropped
	Dropped   int // data keys that nothing needs any more
	Kept      int // older data keys that remain, out of use for less than Grace or because of a damaged record
}

// Rewrap encrypts every record that an older data key protects again with the one in use, and then drops the older keys.
// It may run beside everything else and may be stopped: another call goes on with what is left. Writes to the store in
// the meantime conflict with it at worst once per record. progress, which may be nil, is called after each page of
// records.
func (s *Store) Rewrap(ctx context.Context, progress func(RewrapResult)) (RewrapResult, error) {
	// Only keys that are out of use everywhere before the scan begins can be unused after it.
	ring, done, err := s.retired(ctx)
	if err != nil {
		return RewrapResult{}, err
	}
	r := rewrap{store: s}
	r.result.Kept = len(ring.header.Keys) - 1
	if r.result.Kept == 0 {
		return r.result, nil
	}
	err = s.scan(ctx, func(keys []string) error {
		if err := r.page(ctx, keys); err != nil {
			return err
		}
		if progress != nil {
			progress(r.result)
		}
		return nil
	})
	if err != nil {
		return r.result, err
	}
	if len(done) == 0 || r.result.Damaged > 0 {
		return r.result, nil
	}
	s.admin.Lock()
	defer s.admin.Unlock()
	if s.ring.Load() == nil {
		return r.result, store.ErrClosed
	}
	next, err := s.update(ctx, func(h *header, ring *keyring) (*rootKey, error) {
		before := len(h.Keys)
		h.Keys = slices.DeleteFunc(h.Keys, func(k keyEntry) bool { return slices.Contains(done, k.ID) })
		r.result.Dropped = before - len(h.Keys)
		return ring.root, nil
	})
	if err != nil {
		r.result.Dropped = 0
		return r.result, err
	}
	r.result.Kept = len(next.header.Keys) - 1
	return r.result, nil
}

// retired reads the header and returns the data keys that no process writes with any more.
func (s *Store) retired(ctx context.Context) (*keyring, []dataKeyID, error) {
	s.admin.Lock()
	defer s.admin.Unlock()
	ring := s.ring.Load()
	if ring == nil {
		return nil, nil, store.ErrClosed
	}
	ring, err := s.load(ctx, ring)
	if err != nil {
		return nil, nil, err
	}
	if err := s.adopt(ring); err != nil {
		return nil, nil, err
	}
	var ids []dataKeyID
	for _, k := range ring.header.Keys[:len(ring.header.Keys)-1] {
		if s.exclusive || s.now().Sub(k.Retired) >= Grace {
			ids = append(ids, k.ID)
		}
	}
	return ring, ids, nil
}

// rewrap is one run of Rewrap.
type rewrap struct {
	store  *Store
	result RewrapResult
	batch  []store.Write
	bytes  int
}

func (r *rewrap) page(ctx context.Context, keys []string) error {
	for _, key := range keys {
		w, old, err := r.read(ctx, key)
		if err != nil {
			return err
		}
		if !old {
			continue
		}
		r.batch = append(r.batch, w)
		r.bytes += len(w.Value)
		if len(r.batch) >= rewrapRecords || r.bytes >= rewrapBytes {
			if err := r.flush(ctx); err != nil {
				return err
			}
		}
	}
	return r.flush(ctx)
}

// read returns the write that rewraps a record; old is false when it needs none or is damaged.
func (r *rewrap) read(ctx context.Context, key string) (w store.Write, old bool, err error) {
	record, id, err := r.store.read(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return w, false, nil // deleted since it was listed
	case errors.Is(err, store.ErrCorrupt):
		r.result.Records++
		r.result.Damaged++
		return w, false, nil
	case err != nil:
		return w, false, err
	}
	r.result.Records++
	ring := r.store.ring.Load()
	if ring == nil {
		return w, false, store.ErrClosed
	}
	return store.Write{Key: key, Version: record.Version, Value: record.Value}, id < ring.current.id, nil
}

// flush writes the batch, and after a conflict, or where that is no faster, each record of it alone.
func (r *rewrap) flush(ctx context.Context) error {
	batch := r.batch
	r.batch, r.bytes = nil, 0
	if len(batch) == 0 {
		return nil
	}
	if r.store.Atomic() { // on another store a batch costs as much as its writes, and a conflict in it leaves a part
		err := r.store.Apply(ctx, batch...)
		if err == nil {
			r.result.Rewrapped += len(batch)
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	for _, w := range batch {
		err := r.store.Apply(ctx, w)
		switch {
		case err == nil:
			r.result.Rewrapped++
		case errors.Is(err, store.ErrConflict):
			// Whoever changed it wrote it with a newer key, unless that was another process which has yet to look at the header: its key is within Grace and is
			// kept.
		default:
			return err
		}
	}
	return nil
}

// scan visits the keys of all records, in order.
func (s *Store) scan(ctx context.Context, visit func(keys []string) error) error {
	after := ""
	for {
		entries, err := s.List(ctx, "", after, scanPage)
		if err != nil {
			return err
		}
		keys := make([]string, len(entries))
		for i, e := range entries {
			keys[i] = e.Key
		}
		if err := visit(keys); err != nil {
			return err
		}
		if len(entries) < scanPage {
			return nil
		}
		after = keys[len(keys)-1]
	}
}
