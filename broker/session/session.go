package session

import (
	"container/heap"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// IDSize is the length of a session id: 16 random bytes in lower-case hex, as KBS clients keep it in their cookie.
const IDSize = 32

// sweep is how many expired sessions an operation removes at most: more than the one it may add, so that they do not gather, and few
// enough that no request pays for all of them.
const sweep = 4

// ErrID means that a session id is not of the form this package makes.
var ErrID = errors.New("session id is not 32 lower-case hex digits")

// NewID returns a new session id from 16 bytes of random, crypto/rand when nil. It is remembered nowhere.
func NewID(random io.Reader) (string, error) {
	if random == nil {
		random = rand.Reader
	}
	var b [IDSize / 2]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("session: no randomness for an id: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// ValidID reports whether id has the form of a session id.
func ValidID(id string) bool {
	if len(id) != IDSize {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Sessions holds values of attested workloads under session ids until they expire. It is safe for concurrent use.
//
// The map's keys are SHA-256 of the ids. So no dump of it shows an id that could be used, and how long a look-up takes says
// something about digests, which whoever tries ids cannot choose, and nothing about ids.
type Sessions[T any] struct {
	max    int
	clock  *clock // an expired session must not come back with a clock that is set back
	random io.Reader

	mu      sync.Mutex
	entries map[[sha256.Size]byte]*entry[T]
	order   expiries[T]
}

type entry[T any] struct {
	key     [sha256.Size]byte
	value   T
	expires time.Time
	at      int // in order
}

// NewSessions returns Sessions that hold at most limit values, which must be positive. The defaults of now and random are
// time.Now and crypto/rand.
func NewSessions[T any](limit int, now func() time.Time, random io.Reader) (*Sessions[T], error) {
	if limit <= 0 {
		return nil, fmt.Errorf("session: at most %d sessions: the limit must be positive", limit)
	}
	if now == nil {
		now = time.Now
	}
	return &Sessions[T]{max: limit, clock: &clock{read: now}, random: random, entries: make(map[[sha256.Size]byte]*entry[T])}, nil
}

// New keeps value until expires under a new id. It returns ErrFull when as many as may be are live already.
func (s *Sessions[T]) New(value T, expires time.Time) (id string, err error) {
	if id, err = NewID(s.random); err != nil {
		return "", err
	}
	return id, s.Put(id, value, expires)
}

// Put keeps value until expires under id, in the place of what was there. It returns ErrID, or ErrFull.
func (s *Sessions[T]) Put(id string, value T, expires time.Time) error {
	if !ValidID(id) {
		return ErrID
	}
	key := sha256.Sum256([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.now()
	s.expire(now, sweep)
	if e, ok := s.entries[key]; ok {
		e.value, e.expires = value, expires
		heap.Fix(&s.order, e.at)
		return nil
	}
	if len(s.entries) >= s.max {
		// Those that expired first are first, so one of them is gone now or none has expired.
		return ErrFull
	}
	e := &entry[T]{key: key, value: value, expires: expires}
	s.entries[key] = e
	heap.Push(&s.order, e)
	return nil
}

// Full reports whether no other value could be held now.
func (s *Sessions[T]) Full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(s.clock.now(), sweep)
	return len(s.entries) >= s.max
}

// Get returns the live value under id.
func (s *Sessions[T]) Get(id string) (value T, ok bool) {
	if !ValidID(id) {
		return value, false
	}
	key := sha256.Sum256([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.now()
	s.expire(now, 1)
	e, ok := s.entries[key]
	if !ok || !now.Before(e.expires) {
		return value, false
	}
	return e.value, true
}

// Delete ends the session under id, if there is one.
func (s *Sessions[T]) Delete(id string) {
	key := sha256.Sum256([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.entries[key]; ok {
		heap.Remove(&s.order, e.at)
		delete(s.entries, key)
	}
}

// Len returns how many values are held, those that expired and were not yet removed included.
func (s *Sessions[T]) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// expire removes up to most values that have expired.
func (s *Sessions[T]) expire(now time.Time, most int) {
	for range most {
		if len(s.order) == 0 || now.Before(s.order[0].expires) {
			return
		}
		e := heap.Pop(&s.order).(*entry[T])
		delete(s.entries, e.key)
	}
}

// expiries is a heap of entries, the first to expire first.
type expiries[T any] []*entry[T]

func (h expiries[T]) Len() int           { return len(h) }
func (h expiries[T]) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }
func (h expiries[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *expiries[T]) Push(x any) {
	e := x.(*entry[T])
	e.at = len(*h)
	*h = append(*h, e)
}

func (h *expiries[T]) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
