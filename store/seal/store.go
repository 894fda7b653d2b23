package seal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// Config is how a sealed store works. All fields have defaults.
type Config struct {
	// Random makes keys and nonces, from several goroutines at once. A source that repeats itself gives everything away.
	// Default crypto/rand.
	Random io.Reader

	// Now dates keys and ages the header. Default time.Now.
	Now func() time.Time

	// Exclusive says that no other process has the inner store open, as a bolt store's lock ensures. Then the header
	// need not be read again and old keys can be dropped at once. Default false.
	Exclusive bool
}

func (c Config) withDefaults() Config {
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Store is a store.Store that encrypts every value; see the package comment.
type Store struct {
	inner     store.Store
	seal      Seal // guarded by admin
	random    io.Reader
	now       func() time.Time
	exclusive bool

	ring    atomic.Pointer[keyring] // nil when closed
	checked atomic.Int64            // when the header was last read, in Unix nanoseconds
	writing sync.RWMutex            // held for reading while values are encrypted and written
	admin   sync.Mutex              // held while the header is changed; taken before writing
}

// Init puts a seal on an empty store: it makes the root key and the first data key. An error wraps ErrAlreadySealed when
// the store has a seal or anything else, since whatever was there could not be told from what the seal protects.
func Init(ctx context.Context, inner store.Store, seal Seal, c Config) error {
	c = c.withDefaults()
	entries, err := inner.List(ctx, "", "", 1)
	if err != nil {
		return fmt.Errorf("seal a store: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%w: it has a record %s", ErrAlreadySealed, entries[0].Key)
	}
	h := &header{Format: headerFormat, Seal: sealedBy(seal)}
	if h.Store, err = newStoreID(c.Random); err != nil {
		return err
	}
	id, err := h.id()
	if err != nil {
		return err
	}
	root, err := makeRoot(ctx, seal, c.Random, id)
	if err != nil {
		return err
	}
	defer root.clear()
	h.Root = root.wrapped
	if err := addKey(h, root, id, c.Random, c.Now()); err != nil {
		return err
	}
	data, err := h.encode(root)
	if err != nil {
		return err
	}
	err = inner.Apply(ctx, store.Write{Key: HeaderKey, Value: data})
	if errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("%w: %w", ErrAlreadySealed, err)
	}
	if err != nil {
		return fmt.Errorf("seal a store: %w", err)
	}
	return nil
}

// Open opens the seal of a store that Init was called for. Errors wrap ErrNotSealed, ErrWrongSeal, ErrNewerFormat,
// store.ErrCorrupt when the header is damaged, or are the inner store's. The returned store owns inner and closes it;
// when there is an error it does not.
func Open(ctx context.Context, inner store.Store, seal Seal, c Config) (*Store, error) {
	c = c.withDefaults()
	s := &Store{inner: inner, seal: seal, random: c.Random, now: c.Now, exclusive: c.Exclusive}
	now := c.Now()
	ring, err := s.load(ctx, nil)
	if err != nil {
		return nil, err
	}
	s.checked.Store(now.UnixNano())
	s.ring.Store(ring)
	return s, nil
}

// MaxValue is the largest value in bytes that the store takes.
func (s *Store) MaxValue() int { return MaxValue }

// ID returns the id that the store was given when it was sealed, 16 random bytes in hexadecimal, or nothing when it is closed. A copy of a store has the
// id of its original.
func (s *Store) ID() string {
	ring := s.ring.Load()
	if ring == nil {
		return ""
	}
	return ring.header.Store
}

// Atomic is what the inner store's is.
func (s *Store) Atomic() bool { return s.inner.Atomic() }

// Clock implements store.Clocked where the inner store does.
func (s *Store) Clock() (time.Time, bool) {
	if inner, ok := s.inner.(store.Clocked); ok {
		return inner.Clock()
	}
	return time.Time{}, false
}

// Get implements store.Store. A value that was not written by this package for this record and version gives
// store.ErrCorrupt.
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if key == HeaderKey {
		return store.Record{}, hidden(key)
	}
	record, _, err := s.read(ctx, key)
	return record, err
}

// hidden is what is said of the header's record.
func hidden(key string) error { return fmt.Errorf("%w: %s", store.ErrNotFound, key) }

// GetEach implements store.BulkReader, at less cost where the inner store does.
func (s *Store) GetEach(ctx context.Context, keys []string, f func(store.Record, error) error) error {
	return store.GetEach(ctx, s.inner, keys, func(sealed store.Record, err error) error {
		record := store.Record{Key: keys[0]}
		keys = keys[1:]
		switch {
		case record.Key == HeaderKey:
			err = hidden(record.Key)
		case err == nil:
			var opened store.Record
			if opened, _, err = s.open(ctx, record.Key, sealed); err == nil {
				record = opened
			}
		}
		return f(record, err)
	})
}

// read returns a record, decrypted, and the data key that it was encrypted with.
func (s *Store) read(ctx context.Context, key string) (store.Record, dataKeyID, error) {
	if s.ring.Load() == nil {
		return store.Record{}, 0, store.ErrClosed
	}
	record, err := s.inner.Get(ctx, key)
	if err != nil {
		return store.Record{}, 0, err
	}
	return s.open(ctx, key, record)
}

// open decrypts, in place, what the inner store returned for a key: as the record of that key, whatever the store says that it is.
func (s *Store) open(ctx context.Context, key string, record store.Record) (store.Record, dataKeyID, error) {
	record.Key = key
	ring := s.ring.Load()
	if ring == nil {
		return store.Record{}, 0, store.ErrClosed
	}
	id, err := valueKey(record.Key, record.Value)
	if err != nil {
		return store.Record{}, 0, err
	}
	with := ring.keys[id]
	if with == nil {
		if with, err = s.newerKey(ctx, id); err != nil {
			return store.Record{}, id, fmt.Errorf("%s: %w", record.Key, err)
		}
	}
	record.Value, err = openValue(with.aead, ring.id, id, record.Key, record.Version, record.Value)
	if err != nil {
		return store.Record{}, id, err
	}
	return record, id, nil
}

// newerKey looks for a data key that another process has added since the header was read.
func (s *Store) newerKey(ctx context.Context, id dataKeyID) (*dataKey, error) {
	s.admin.Lock()
	defer s.admin.Unlock()
	ring := s.ring.Load()
	if ring == nil {
		return nil, store.ErrClosed
	}
	if ring.keys[id] == nil && !s.exclusive {
		var err error
		if ring, err = s.load(ctx, ring); err != nil {
			return nil, err
		}
		if err := s.adopt(ring); err != nil {
			return nil, err
		}
	}
	if with := ring.keys[id]; with != nil {
		return with, nil
	}
	return nil, fmt.Errorf("%w: it needs data key %d, which the store does not have", store.ErrCorrupt, id)
}

// Apply implements store.Store. Values are at most MaxValue bytes, and the record HeaderKey cannot be written.
func (s *Store) Apply(ctx context.Context, writes ...store.Write) error {
	if err := checkWrites(writes); err != nil {
		return err
	}
	for {
		ring := s.ring.Load()
		if ring == nil {
			return store.ErrClosed
		}
		done, err := s.tryApply(ctx, ring, writes)
		if done {
			return err
		}
		if err := s.ready(ctx, ring, len(writes)); err != nil {
			return err
		}
	}
}

func checkWrites(writes []store.Write) error {
	if err := store.CheckWrites(writes); err != nil {
		return err
	}
	for _, w := range writes {
		if w.Key == HeaderKey {
			return fmt.Errorf("%w: %s belongs to the seal", store.ErrInvalid, w.Key)
		}
		if len(w.Value) > MaxValue {
			return fmt.Errorf("%w: value of %d bytes for %q is over %d", store.ErrInvalid, len(w.Value), w.Key, MaxValue)
		}
	}
	return nil
}

// tryApply encrypts and writes if ring is in use, fresh, and has encryptions left.
func (s *Store) tryApply(ctx context.Context, ring *keyring, writes []store.Write) (done bool, err error) {
	s.writing.RLock()
	defer s.writing.RUnlock()
	if s.ring.Load() != ring || !s.fresh() || !ring.current.take(len(writes)) {
		return false, nil
	}
	sealed := make([]store.Write, len(writes))
	for i, w := range writes {
		sealed[i] = w
		if w.Value == nil {
			continue
		}
		sealed[i].Value, err = sealValue(s.random, ring.current.aead, ring.id, ring.current.id, w.Key, w.Version+1, w.Value)
		if err != nil {
			return true, err
		}
	}
	return true, s.inner.Apply(ctx, sealed...)
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	if s.ring.Load() == nil {
		return nil, store.ErrClosed
	}
	if !strings.HasPrefix(HeaderKey, prefix) {
		return s.inner.List(ctx, prefix, after, limit)
	}
	if err := store.CheckList(prefix, limit); err != nil {
		return nil, err
	}
	if limit == math.MaxInt {
		limit--
	}
	all, err := s.inner.List(ctx, prefix, after, limit+1) // one more, for the header
	if err != nil {
		return nil, err
	}
	entries := make([]store.Entry, 0, len(all))
	for _, e := range all {
		if e.Key != HeaderKey && len(entries) < limit {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan store.Event, error) {
	if s.ring.Load() == nil {
		return nil, store.ErrClosed
	}
	events, err := s.inner.Watch(ctx, prefix)
	if err != nil || !strings.HasPrefix(HeaderKey, prefix) {
		return events, err
	}
	visible := make(chan store.Event)
	go func() {
		defer close(visible)
		for e := range events {
			if e.Key == HeaderKey {
				continue
			}
			select {
			case visible <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return visible, nil
}

// Close forgets the keys and closes the inner store.
func (s *Store) Close() error {
	s.admin.Lock()
	defer s.admin.Unlock()
	s.writing.Lock()
	ring := s.ring.Swap(nil)
	s.writing.Unlock()
	if ring == nil {
		return nil
	}
	ring.root.clear()
	return s.inner.Close()
}
