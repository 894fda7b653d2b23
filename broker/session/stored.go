package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// Stored keeps values of attested workloads in a store that several brokers share, so that a session that one of them began goes on at another. The
// store must seal them. An id is 32 hexadecimal digits as in [Sessions]: its first 8 are the expiry, seconds since 1970, so that ids made up at
// random are known without asking the store, and the others 96 random bits. The key is prefix/<expiry>/<SHA-256 of the id>: the oldest sort first, and
// no listing shows an id that could be used.
//
// How many there are is bounded by what each broker lets begin and by the sessions' lifetime; those that expired are removed as others are added.
type Stored struct {
	store  store.Store
	prefix string // ends with "/"
	rand   io.Reader
	clock  *clock
	pruner pruner
}

// NewStored returns a Stored whose records lie under prefix, such as "sys/session". The defaults of now and random are time.Now and crypto/rand.
func NewStored(s store.Store, prefix string, now func() time.Time, random io.Reader) (*Stored, error) {
	if s == nil {
		return nil, errors.New("session: stored sessions need a store")
	}
	if now == nil {
		now = time.Now
	}
	if random == nil {
		random = rand.Reader
	}
	prefix = strings.TrimSuffix(prefix, "/") + "/"
	stored := &Stored{store: s, prefix: prefix, rand: random, clock: &clock{read: now}}
	stored.pruner = pruner{store: s, prefix: prefix}
	if err := store.CheckKey(stored.key(0, strings.Repeat("0", IDSize))); err != nil {
		return nil, fmt.Errorf("session: prefix of sessions: %w", err)
	}
	return stored, nil
}

// New keeps value until expires, whole seconds of which count, under a new id.
func (s *Stored) New(ctx context.Context, value []byte, expires time.Time) (id string, err error) {
	seconds := expires.Unix()
	if seconds < 0 || seconds > math.MaxUint32 {
		return "", fmt.Errorf("session: the clock shows %v, which no id can carry: set it", expires)
	}
	var raw [IDSize / 2]byte
	binary.BigEndian.PutUint32(raw[:], uint32(seconds))
	if _, err := io.ReadFull(s.rand, raw[4:]); err != nil {
		return "", fmt.Errorf("session: no randomness for an id: %w", err)
	}
	id = hex.EncodeToString(raw[:])
	if err := s.store.Apply(ctx, store.Write{Key: s.key(uint32(seconds), id), Value: value}); err != nil {
		return "", fmt.Errorf("session: keeping a session: %w", err)
	}
	s.pruner.added(ctx, s.clock.now())
	return id, nil
}

// Get returns the live value under id. within is how far ahead an expiry can be: ids that say more are nobody's.
func (s *Stored) Get(ctx context.Context, id string, within time.Duration) (value []byte, ok bool, err error) {
	if !ValidID(id) {
		return nil, false, nil
	}
	raw, err := hex.DecodeString(id[:8])
	if err != nil {
		return nil, false, nil
	}
	seconds := binary.BigEndian.Uint32(raw)
	now, expires := s.clock.now(), time.Unix(int64(seconds), 0)
	if !now.Before(expires) || expires.After(now.Add(within+MaxSkew)) {
		return nil, false, nil
	}
	r, err := s.store.Get(ctx, s.key(seconds, id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("session: %w", err)
	}
	return r.Value, true, nil
}

func (s *Stored) key(expiry uint32, id string) string {
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("%s%08x/%s", s.prefix, expiry, hex.EncodeToString(sum[:]))
}
