package session

import (
	"context"
	"crypto/hmac"
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
// store must seal them. An id is 32 hexadecimal digits as in [Sessions], of 16 bytes:
//
//	4  expiry, seconds since 1970, big-endian
//	8  random
//	4  the first bytes of HMAC-SHA-256(key, "vouchsafe session v1\n" ‖ prefix ‖ expiry ‖ random)
//
// under the keys of nonces, [SharedKeys]. So an id that somebody made up is refused without asking the store, but for one in 4 billion; and whoever has no key has
// 96 bits to guess. The record's key is prefix/<expiry>/<SHA-256 of the id>: the oldest sort first, and no listing shows an id that could be used.
//
// How many there are is bounded by what each broker lets begin and by the sessions' lifetime; those that expired are removed as others are added.
type Stored struct {
	store  store.Store
	keys   *SharedKeys
	prefix string // ends with "/"
	rand   io.Reader
	clock  *clock
	pruner pruner
}

// The parts of an id, in bytes.
const (
	idExpiry = 4
	idSigned = idExpiry + 8 // with what is random
)

// sessionDomain keeps the MAC of ids apart from that of nonces, whose keys it has.
const sessionDomain = "vouchsafe session v1\n"

// NewStored returns a Stored whose records lie under prefix, such as "sys/session". The keys are those of the store; a session that lives longer than
// [MaxLifetime] may end when they are replaced. The defaults of now and random are time.Now and crypto/rand.
func NewStored(s store.Store, keys *SharedKeys, prefix string, now func() time.Time, random io.Reader) (*Stored, error) {
	if s == nil || keys == nil {
		return nil, errors.New("session: stored sessions need a store and its keys")
	}
	if now == nil {
		now = time.Now
	}
	if random == nil {
		random = rand.Reader
	}
	prefix = strings.TrimSuffix(prefix, "/") + "/"
	stored := &Stored{store: s, keys: keys, prefix: prefix, rand: random, clock: &clock{read: now}}
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
	if _, err := io.ReadFull(s.rand, raw[idExpiry:idSigned]); err != nil {
		return "", fmt.Errorf("session: no randomness for an id: %w", err)
	}
	copy(raw[idSigned:], s.mac(s.keys.issuing(), raw[:idSigned]))
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
	raw, err := hex.DecodeString(id)
	if err != nil || !s.gaveOut(raw) {
		return nil, false, nil
	}
	seconds := binary.BigEndian.Uint32(raw)
	now, expires := s.clock.now(), time.Unix(int64(seconds), 0)
	if !now.Before(expires) || expires.After(now.Add(within+store.MaxSkew)) {
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

// gaveOut reports whether some broker over this store made an id.
func (s *Stored) gaveOut(raw []byte) bool {
	ours := false
	for _, key := range s.keys.accepted() {
		ours = ours || hmac.Equal(raw[idSigned:], s.mac(key, raw[:idSigned]))
	}
	return ours
}

func (s *Stored) mac(key, signed []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(sessionDomain))
	h.Write([]byte(s.prefix))
	h.Write(signed)
	return h.Sum(nil)[:IDSize/2-idSigned]
}

func (s *Stored) key(expiry uint32, id string) string {
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf("%s%08x/%s", s.prefix, expiry, hex.EncodeToString(sum[:]))
}
