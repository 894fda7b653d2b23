package logicalstore

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/feed"
)

// WriteTimeout bounds one write to Vault's storage: a third of what Vault gives a request.
const WriteTimeout = 30 * time.Second

// ErrReadOnly says that this node cannot write: it is a standby, or a secondary. It wraps logical.ErrReadOnly, at which Vault passes the request on.
var ErrReadOnly = fmt.Errorf("%w: %w", store.ErrUnavailable, logical.ErrReadOnly)

// stripes is how many locks the keys share. A broker writes a few records at a time.
const stripes = 256

// Store is a store.Store in a mount's storage.
type Store struct {
	storage logical.Storage
	seed    maphash.Seed
	locks   [stripes]sync.RWMutex // of the records whose keys' hashes they have

	life   sync.RWMutex // read by every call under way
	closed bool
	feed   feed.Feed
}

var _ store.Store = (*Store)(nil)

// New returns the store in a mount's storage. There must be no other in use over the same storage.
func New(storage logical.Storage) *Store {
	return &Store{storage: storage, seed: maphash.MakeSeed()}
}

// Paths returns what the storage's paths of records begin with whose keys begin with one of some prefixes, for logical.Paths. A prefix has nothing
// in it that is escaped.
func Paths(prefixes ...string) []string {
	var paths []string
	for _, p := range prefixes {
		paths = append(paths, recordPrefix+p, partPrefix+p)
	}
	return paths
}

// enter begins a call, which leave ends.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return store.ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.life.RUnlock() }

func (s *Store) stripe(key string) int { return int(maphash.String(s.seed, key) % stripes) }

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Record{}, err
	}
	if err := s.enter(ctx); err != nil {
		return store.Record{}, err
	}
	defer s.leave()
	lock := &s.locks[s.stripe(key)]
	lock.RLock()
	defer lock.RUnlock()
	e, err := s.entry(ctx, key)
	if err != nil {
		return store.Record{}, err
	}
	if e.version == 0 {
		return store.Record{}, fmt.Errorf("%w: %s", store.ErrNotFound, key)
	}
	value, err := s.value(ctx, key, e)
	if err != nil {
		return store.Record{}, err
	}
	return store.Record{Key: key, Version: e.version, Value: value}, nil
}

// Apply implements store.Store.
func (s *Store) Apply(ctx context.Context, writes ...store.Write) error {
	if err := store.CheckWrites(writes); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	defer s.lock(writes)()
	old, err := s.entries(ctx, writes)
	if err != nil {
		return err
	}
	for i, w := range writes {
		if old[i].version != w.Version {
			return &store.ConflictError{Key: w.Key, Have: old[i].version, Want: w.Version}
		}
	}
	events := make([]store.Event, 0, len(writes))
	defer func() { s.feed.Publish(events) }()
	for i, w := range writes {
		if err := s.write(context.WithoutCancel(ctx), w, old[i]); err != nil {
			s.feed.ReadAgain() // whether it was written is not known
			return err
		}
		e := store.Event{Key: w.Key}
		if w.Value != nil {
			e.Version = w.Version + 1
		}
		events = append(events, e)
	}
	return nil
}

// reading is how many entries are read at once for one Apply: each is a request to Vault and back, and few writes have more.
const reading = 8

// entries reads the entries of the records that are to be written.
func (s *Store) entries(ctx context.Context, writes []store.Write) ([]entry, error) {
	read, errs := make([]entry, len(writes)), make([]error, len(writes))
	var wait sync.WaitGroup
	for worker := range min(reading, len(writes)) {
		wait.Go(func() {
			for i := worker; i < len(writes); i += reading {
				read[i], errs[i] = s.entry(ctx, writes[i].Key)
			}
		})
	}
	wait.Wait()
	return read, errors.Join(errs...)
}

// lock locks the records of the writes, in an order that all callers keep to, and returns what unlocks them.
func (s *Store) lock(writes []store.Write) (unlock func()) {
	held := make([]int, 0, len(writes))
	for _, w := range writes {
		held = append(held, s.stripe(w.Key))
	}
	slices.Sort(held)
	held = slices.Compact(held)
	for _, i := range held {
		s.locks[i].Lock()
	}
	return func() {
		for _, i := range held {
			s.locks[i].Unlock()
		}
	}
}

// Atomic implements store.Store.
func (s *Store) Atomic() bool { return false }

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan store.Event, error) {
	if err := store.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.feed.Watch(ctx, prefix)
}

// Close implements store.Store. It waits for the calls under way.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if !s.closed {
		s.closed = true
		s.feed.Close()
	}
	return nil
}

// unavailable gives an error of the storage its kind. Over the connection to a plugin an error is only its text, so that is all by which
// logical.ErrReadOnly is known there.
func unavailable(what string, err error) error {
	if errors.Is(err, logical.ErrReadOnly) || err.Error() == logical.ErrReadOnly.Error() {
		return fmt.Errorf("%s: %w", what, ErrReadOnly)
	}
	return fmt.Errorf("%w: %s: %w", store.ErrUnavailable, what, err)
}
