package seal

import (
	"bytes"
	"context"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

const (
	// MaxSeals is how many values are encrypted with one data key: half of what SP 800-38D allows for random nonces.
	MaxSeals = 1 << 31

	// reserveSeals is how many encryptions are set aside at a time. Each costs a write of the header, and a process that
	// ends wastes the rest of its share: 32,768 starts use up a data key, which is then replaced.
	reserveSeals = 1 << 16

	// updateAttempts bounds how often a change of the header is tried again after another process changed it.
	updateAttempts = 16
)

// Times that keep several processes with one store from using a data key that another drops.
const (
	// RefreshEvery is how old the header that a writer goes by may be.
	RefreshEvery = time.Minute

	// Grace is how long a data key is out of use before Rewrap drops it: RefreshEvery, with room for slow writes and
	// clocks that differ.
	Grace = 10 * time.Minute
)

// dataKey encrypts and decrypts values.
type dataKey struct {
	id   dataKeyID
	aead cipher.AEAD
	left atomic.Int64 // encryptions set aside for this process
}

// take uses up n of the encryptions set aside, if there are as many.
func (k *dataKey) take(n int) bool { return k.left.Add(-int64(n)) >= 0 }

// keyring is a header and its keys, unwrapped. It does not change.
type keyring struct {
	version uint64 // of the record sys/seal
	header  *header
	id      storeID
	root    *rootKey
	keys    map[dataKeyID]*dataKey
	current *dataKey
}

// load reads the header. What was unwrapped before is taken from old, which may be nil.
func (s *Store) load(ctx context.Context, old *keyring) (*keyring, error) {
	record, err := s.inner.Get(ctx, HeaderKey)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: no record %s", ErrNotSealed, HeaderKey)
	}
	if err != nil {
		return nil, fmt.Errorf("read the store's seal: %w", err)
	}
	if old != nil && old.version == record.Version {
		return old, nil
	}
	h, err := parseHeader(record.Value)
	if err != nil {
		return nil, err
	}
	id, err := h.id()
	if err != nil {
		return nil, err
	}
	var root *rootKey
	if old != nil && old.id == id && bytes.Equal(old.root.wrapped, h.Root) {
		root = old.root
	} else if old != nil && old.id == id && h.verify(old.root) == nil {
		// The same root key, wrapped again: its MAC says so, and the seal need not be asked.
		root = &rootKey{wrapped: h.Root, wrap: old.root.wrap, mac: old.root.mac}
	} else if root, err = openRoot(ctx, s.seal, h, id); err != nil {
		return nil, err
	}
	if err := h.verify(root); err != nil {
		return nil, err
	}
	if old != nil && (old.id != id || h.precedes(old.header)) {
		return nil, corrupt("it was put back as it was before, or is another store's: this process has read a later one")
	}
	return newKeyring(record.Version, h, id, root, old)
}

// openRoot asks the seal for the root key.
func openRoot(ctx context.Context, seal Seal, h *header, id storeID) (*rootKey, error) {
	if have := sealedBy(seal); have != h.Seal {
		return nil, fmt.Errorf("%w: it needs %s, and this is %s", ErrWrongSeal, h.Seal, have)
	}
	raw, err := seal.Unwrap(ctx, h.Root, rootBind(id))
	if err != nil {
		return nil, fmt.Errorf("open the seal with %s: %w", h.Seal, err)
	}
	defer clear(raw)
	root, err := newRootKey(raw, id)
	if err != nil {
		return nil, err
	}
	root.wrapped = h.Root
	return root, nil
}

func sealedBy(seal Seal) sealEntry { return sealEntry{Kind: seal.Kind(), Key: seal.KeyID()} }

func newKeyring(version uint64, h *header, id storeID, root *rootKey, old *keyring) (*keyring, error) {
	ring := &keyring{version: version, header: h, id: id, root: root, keys: make(map[dataKeyID]*dataKey, len(h.Keys))}
	for _, entry := range h.Keys {
		if old != nil && old.id == id && old.keys[entry.ID] != nil {
			ring.keys[entry.ID] = old.keys[entry.ID] // with what is left of its encryptions
			continue
		}
		raw, err := root.unwrapKey(id, entry)
		if err != nil {
			return nil, err
		}
		aead, err := newAEAD(raw)
		clear(raw)
		if err != nil {
			return nil, err
		}
		ring.keys[entry.ID] = &dataKey{id: entry.ID, aead: aead}
	}
	ring.current = ring.keys[h.current().ID]
	return ring, nil
}

// makeRoot makes a root key, wraps it, and makes sure that the seal can give it back before anything depends on it.
func makeRoot(ctx context.Context, seal Seal, random io.Reader, id storeID) (*rootKey, error) {
	if err := sealedBy(seal).check(); err != nil {
		return nil, err
	}
	raw := make([]byte, KeySize)
	defer clear(raw)
	if _, err := io.ReadFull(random, raw); err != nil {
		return nil, fmt.Errorf("make a root key: %w", err)
	}
	wrapped, err := wrapSure(ctx, seal, raw, rootBind(id))
	if err != nil {
		return nil, err
	}
	root, err := newRootKey(raw, id)
	if err != nil {
		return nil, err
	}
	root.wrapped = wrapped
	return root, nil
}

// wrapSure wraps a root key, and makes sure that the seal can give it back.
func wrapSure(ctx context.Context, seal Seal, raw, bind []byte) ([]byte, error) {
	wrapped, err := seal.Wrap(ctx, raw, bind)
	if err != nil {
		return nil, fmt.Errorf("seal with %s: %w", sealedBy(seal), err)
	}
	if len(wrapped) == 0 || len(wrapped) > MaxWrapped {
		return nil, fmt.Errorf("seal with %s: it wraps a key in %d bytes, not 1 to %d", sealedBy(seal), len(wrapped), MaxWrapped)
	}
	again, err := seal.Unwrap(ctx, wrapped, bind)
	defer clear(again)
	if err == nil && !bytes.Equal(again, raw) {
		err = errors.New("it is another key")
	}
	if err != nil {
		return nil, fmt.Errorf("seal with %s: it does not give back the key that it wrapped: %w", sealedBy(seal), err)
	}
	return wrapped, nil
}

// addKey retires the current data key and puts a new one in use.
func addKey(h *header, root *rootKey, id storeID, random io.Reader, now time.Time) error {
	now = now.UTC().Truncate(time.Second)
	next := dataKeyID(1)
	if len(h.Keys) > 0 {
		if len(h.Keys) >= maxKeys {
			return ErrTooManyKeys
		}
		h.current().Retired = now
		next = h.current().ID + 1
		if next == 0 {
			return ErrTooManyKeys
		}
	}
	raw := make([]byte, KeySize)
	defer clear(raw)
	if _, err := io.ReadFull(random, raw); err != nil {
		return fmt.Errorf("make a data key: %w", err)
	}
	wrapped, err := root.wrapKey(random, id, next, raw)
	if err != nil {
		return err
	}
	h.Keys = append(h.Keys, keyEntry{ID: next, Created: now, Wrapped: wrapped})
	return nil
}

// change is a change of the header: it edits a copy, and returns the root key to sign it with.
type change func(h *header, ring *keyring) (*rootKey, error)

// update makes a change of the header and goes by it from then on. The caller holds s.admin.
func (s *Store) update(ctx context.Context, edit change) (*keyring, error) {
	for range updateAttempts {
		ring, err := s.load(ctx, s.ring.Load())
		if err != nil {
			return nil, err
		}
		h := ring.header.clone()
		root, err := edit(h, ring)
		if err != nil {
			return nil, err
		}
		data, err := h.encode(root)
		if err != nil {
			return nil, err
		}
		err = s.inner.Apply(ctx, store.Write{Key: HeaderKey, Version: ring.version, Value: data})
		if errors.Is(err, store.ErrConflict) {
			continue // another process was first: look at what it did
		}
		if err != nil {
			return nil, fmt.Errorf("write the store's seal: %w", err)
		}
		next, err := newKeyring(ring.version+1, h, ring.id, root, ring)
		if err != nil {
			return nil, err
		}
		return next, s.adopt(next)
	}
	return nil, fmt.Errorf("%w: %s changed %d times while this process tried to change it",
		store.ErrUnavailable, HeaderKey, updateAttempts)
}

// adopt makes ring the one in use. It waits for every Apply under the one before, so that afterwards nothing more is
// written with the old key.
func (s *Store) adopt(ring *keyring) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.ring.Load() == nil {
		return store.ErrClosed
	}
	s.ring.Store(ring)
	s.checked.Store(s.now().UnixNano())
	return nil
}

// fresh reports whether the header in use was read lately enough to write by.
func (s *Store) fresh() bool {
	return s.exclusive || s.now().UnixNano()-s.checked.Load() < int64(RefreshEvery)
}

// ready makes the header fresh and sets aside at least n encryptions. stale is the ring that was not good enough.
func (s *Store) ready(ctx context.Context, stale *keyring, n int) error {
	s.admin.Lock()
	defer s.admin.Unlock()
	ring := s.ring.Load()
	if ring == nil {
		return store.ErrClosed
	}
	if !s.fresh() {
		var err error
		if ring, err = s.load(ctx, ring); err != nil {
			return err
		}
		if err := s.adopt(ring); err != nil {
			return err
		}
	}
	if ring != stale || ring.current.left.Load() >= int64(n) {
		return nil // somebody else did it meanwhile
	}
	share := max(reserveSeals, uint64(n))
	ring, err := s.update(ctx, func(h *header, ring *keyring) (*rootKey, error) {
		if h.current().Reserved+share > MaxSeals {
			if err := addKey(h, ring.root, ring.id, s.random, s.now()); err != nil {
				return nil, err
			}
		}
		h.current().Reserved += share
		return ring.root, nil
	})
	if err != nil {
		return err
	}
	ring.current.left.Store(int64(share))
	return nil
}

func newStoreID(random io.Reader) (string, error) {
	var id storeID
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return "", fmt.Errorf("make a store id: %w", err)
	}
	return hex.EncodeToString(id[:]), nil
}
