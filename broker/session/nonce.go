package session

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/store"
)

// Sizes in bytes; NonceSize in characters.
const (
	KeySize   = 32
	NonceSize = 44

	randomSize = 16
	expirySize = 4
	macSize    = 12
	rawSize    = randomSize + expirySize + macSize
)

// Lifetimes of a nonce.
const (
	// DefaultLifetime is what KBS clients expect between a challenge and its evidence.
	DefaultLifetime = 5 * time.Minute
	// MaxLifetime bounds how long spent nonces must be remembered, and how old evidence can be when it is first seen.
	MaxLifetime = time.Hour
)

// domain keeps the MAC apart from any other use of a key.
const domain = "vouchsafe nonce v1\n"

// The errors of Spend. Anything else is of the Spent: the store was not available, or the context ended.
var (
	ErrMalformed = errors.New("nonce is not the base64 of 32 bytes")
	ErrForeign   = errors.New("nonce was not issued here for this protocol, namespace, kind, hash and session")
	ErrExpired   = errors.New("nonce has expired")
	ErrSpent     = errors.New("nonce was used already")
	ErrFull      = errors.New("too many nonces or sessions are open")
)

// Scope is what a nonce is good for.
type Scope struct {
	Protocol  string // the front end, such as "kbs" or "native"
	Namespace string
	Kind      attest.Kind // of the primary evidence
	Hash      crypto.Hash // that evidence is bound by
	Session   string      // the KBS session id that the challenge came with; "" where there is none
}

// Spent remembers which nonces were used. It is safe for concurrent use.
type Spent interface {
	// Spend returns nil the first time it is called with an id, and ErrSpent after that. It may forget the id once
	// its clock, now, is past until; but then, and for any until that old, it returns ErrExpired, whatever now is. ErrFull means
	// that it can remember no more. After any other error the nonce may or may not be spent: the caller must refuse it.
	Spend(ctx context.Context, id [16]byte, now, until time.Time) error
}

// NoncesConfig is what Nonces is made of.
type NoncesConfig struct {
	Key      []byte           // KeySize bytes, needed unless Keys are given: see the package documentation for when it may be kept
	Keys     *SharedKeys      // of brokers that share a store
	Lifetime time.Duration    // default DefaultLifetime; whole seconds, at most MaxLifetime
	Rand     io.Reader        // default crypto/rand
	Now      func() time.Time // default time.Now
	Spent    Spent            // needed
}

// Nonces issues nonces and accepts each of them once. It is safe for concurrent use.
type Nonces struct {
	keys interface {
		issuing() []byte
		accepted() [][]byte
	}
	lifetime time.Duration
	rand     io.Reader
	clock    *clock
	spent    Spent
}

// NewNonces returns Nonces over c.
func NewNonces(c NoncesConfig) (*Nonces, error) {
	if c.Lifetime == 0 {
		c.Lifetime = DefaultLifetime
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	switch {
	case c.Keys != nil && c.Key != nil:
		return nil, errors.New("session: nonces have a key of their own or shared ones, not both")
	case c.Keys != nil:
	case len(c.Key) != KeySize:
		return nil, fmt.Errorf("session: the key of nonces has %d bytes, not %d", len(c.Key), KeySize)
	case subtle.ConstantTimeCompare(c.Key, make([]byte, KeySize)) == 1:
		return nil, errors.New("session: the key of nonces is all zeros: fill it with random bytes")
	}
	switch {
	case c.Lifetime < time.Second || c.Lifetime > MaxLifetime || c.Lifetime%time.Second != 0:
		return nil, fmt.Errorf("session: a nonce's lifetime of %v is not whole seconds from 1s to %v", c.Lifetime, MaxLifetime)
	case c.Spent == nil:
		return nil, errors.New("session: nonces need a Spent, or they would be good many times")
	}
	n := &Nonces{keys: oneKey(slices.Clone(c.Key)), lifetime: c.Lifetime, rand: c.Rand, clock: &clock{read: c.Now}, spent: c.Spent}
	if c.Keys != nil {
		n.keys = c.Keys
	}
	return n, nil
}

// Issue returns a new nonce for scope and the time from which it is no longer good.
func (n *Nonces) Issue(scope Scope) (nonce string, expires time.Time, err error) {
	// Rounded up, so that a nonce lives for its lifetime at least.
	expires = n.clock.now().Add(n.lifetime + time.Second - 1).Truncate(time.Second)
	seconds := expires.Unix()
	if seconds < 0 || seconds > math.MaxUint32 {
		return "", time.Time{}, fmt.Errorf("session: the clock shows %v, which no nonce can carry: set it", expires)
	}
	var raw [rawSize]byte
	if _, err := io.ReadFull(n.rand, raw[:randomSize]); err != nil {
		return "", time.Time{}, fmt.Errorf("session: no randomness for a nonce: %w", err)
	}
	binary.BigEndian.PutUint32(raw[randomSize:], uint32(seconds))
	copy(raw[randomSize+expirySize:], mac(n.keys.issuing(), raw[:randomSize+expirySize], scope))
	return base64.StdEncoding.EncodeToString(raw[:]), expires.UTC(), nil
}

// Spend accepts nonce for scope, once. Its errors are those of this package, and what the Spent fails with.
func (n *Nonces) Spend(ctx context.Context, nonce string, scope Scope) error {
	raw, err := parseNonce(nonce)
	if err != nil {
		return err
	}
	signed, code := raw[:randomSize+expirySize], raw[randomSize+expirySize:]
	ours := false
	for _, key := range n.keys.accepted() {
		ours = ours || subtle.ConstantTimeCompare(code, mac(key, signed, scope)) == 1
	}
	if !ours {
		return ErrForeign
	}
	now := n.clock.now()
	expires := time.Unix(int64(binary.BigEndian.Uint32(signed[randomSize:])), 0)
	if !now.Before(expires) || expires.After(now.Add(n.lifetime+time.Second+store.MaxSkew)) {
		return ErrExpired
	}
	return n.spent.Spend(ctx, [16]byte(signed[:randomSize]), now, expires)
}

// parseNonce decodes the one spelling that Issue writes: encoding/base64 by itself skips line breaks and ignores stray bits.
func parseNonce(nonce string) (raw [rawSize]byte, err error) {
	if len(nonce) != NonceSize {
		return raw, ErrMalformed
	}
	b, err := base64.StdEncoding.DecodeString(nonce)
	if err != nil || len(b) != rawSize || base64.StdEncoding.EncodeToString(b) != nonce {
		return raw, ErrMalformed
	}
	return [rawSize]byte(b), nil
}

// mac covers random and expiry together with scope, whose parts are written with their lengths so that no two scopes have one encoding.
func mac(key, signed []byte, scope Scope) []byte {
	b := make([]byte, 0, 192)
	b = append(b, domain...)
	b = append(b, signed...)
	for _, part := range [...]string{scope.Protocol, scope.Namespace, string(scope.Kind), scope.Session} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(scope.Hash))
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return h.Sum(nil)[:macSize]
}

// clock is a clock that never goes back.
type clock struct {
	read func() time.Time

	mu     sync.Mutex
	last   time.Time // as read, with its monotonic reading where it has one
	latest time.Time // what now returned
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	read := c.read()
	// Sub uses the monotonic readings, which no step of the wall clock touches; latest goes by the wall clock where that is ahead.
	if passed := read.Sub(c.last); !c.last.IsZero() && passed > 0 {
		c.latest = c.latest.Add(passed)
	}
	if wall := read.Round(0); wall.After(c.latest) {
		c.latest = wall
	}
	c.last = read
	return c.latest
}
