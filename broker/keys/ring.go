package keys

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/store"
)

// Purpose is what a key signs.
type Purpose string

// The purposes.
const (
	Token Purpose = "token"
	Reply Purpose = "reply"
	Log   Purpose = "log"
)

var purposes = []Purpose{Token, Reply, Log}

// Bounds of Config.Retain.
const (
	// DefaultRetain covers tokens and replies that live for minutes, and consumers who fetch the JWKS daily.
	DefaultRetain = 24 * time.Hour
	MaxRetain     = 366 * 24 * time.Hour
)

// The errors of a Ring.
var (
	ErrPurpose      = errors.New("no such purpose, or its key signs something else")
	ErrNotRotatable = errors.New("the log's key does not rotate: the log is known by it")
	ErrMalformed    = errors.New("not a JWS in compact form")
	ErrUnknownKey   = errors.New("not signed here for this purpose and type, or with a key that is no longer believed")
	ErrSignature    = errors.New("signature does not verify")
)

// Config is what a Ring is made of.
type Config struct {
	Store  store.Store      // needed; it must seal what it keeps
	Origin string           // name of the audit log, such as "broker.example.org/log"; needed when the store has no log key yet
	Retain time.Duration    // how long a retired key is published and believed; default DefaultRetain
	Rand   io.Reader        // for the log's key; default crypto/rand. ECDSA keys are always made with crypto/rand.
	Now    func() time.Time // default time.Now
}

// Ring signs, verifies and publishes. It is safe for concurrent use.
type Ring struct {
	c      Config
	mu     sync.Mutex // held to replace a state
	states map[Purpose]*atomic.Pointer[state]
}

// Open reads the keys of a store, making those that it has not. A log key whose origin is not c.Origin, where that is given, is an error.
func Open(ctx context.Context, c Config) (*Ring, error) {
	if c.Store == nil {
		return nil, errors.New("keys: a ring needs a store")
	}
	if c.Retain == 0 {
		c.Retain = DefaultRetain
	}
	if c.Retain < time.Minute || c.Retain > MaxRetain {
		return nil, fmt.Errorf("keys: a retention of %v is not from 1m to %v", c.Retain, MaxRetain)
	}
	if c.Origin != "" {
		if err := checkOrigin(c.Origin); err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	r := &Ring{c: c, states: make(map[Purpose]*atomic.Pointer[state])}
	for _, p := range purposes {
		s, err := r.openOne(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("keys: %s: %w", p, err)
		}
		r.states[p] = new(atomic.Pointer[state])
		r.states[p].Store(s)
	}
	if stored := r.states[Log].Load().original.Origin; c.Origin != "" && c.Origin != stored {
		return nil, fmt.Errorf("keys: the log of this store is named %q, not %q: its name cannot change", stored, c.Origin)
	}
	return r, nil
}

// openOne reads a record, or makes it unless another broker is quicker.
func (r *Ring) openOne(ctx context.Context, p Purpose) (*state, error) {
	stored, err := r.c.Store.Get(ctx, recordKey(p))
	if err == nil {
		return load(p, stored)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	fresh, err := newRecord(p, &r.c)
	if err != nil {
		return nil, err
	}
	value, err := fresh.encode()
	if err != nil {
		return nil, err
	}
	if err := r.c.Store.Apply(ctx, store.Write{Key: recordKey(p), Value: value}); err != nil && !errors.Is(err, store.ErrConflict) {
		return nil, err
	}
	// What the store has now counts, whoever wrote it.
	if stored, err = r.c.Store.Get(ctx, recordKey(p)); err != nil {
		return nil, err
	}
	return load(p, stored)
}

// state returns the keys of a purpose that signs JWS.
func (r *Ring) state(p Purpose) (*state, error) {
	if p != Token && p != Reply {
		return nil, fmt.Errorf("keys: %q: %w", p, ErrPurpose)
	}
	return r.states[p].Load(), nil
}

// install makes s the keys of p unless newer ones are there.
func (r *Ring) install(p Purpose, s *state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.version > r.states[p].Load().version {
		r.states[p].Store(s)
	}
}

// PrepareRotate makes a new key for p and returns the write that records it and a function that makes the ring sign with it, to be
// called once the write was applied. A rotation that another overtook fails in Apply with store.ErrConflict.
func (r *Ring) PrepareRotate(ctx context.Context, p Purpose) (store.Write, func(), error) {
	if p == Log {
		return store.Write{}, nil, ErrNotRotatable
	}
	s, err := r.state(p)
	if err != nil {
		return store.Write{}, nil, err
	}
	fresh, err := s.rotated(p, &r.c)
	if err != nil {
		return store.Write{}, nil, fmt.Errorf("keys: rotating %s: %w", p, err)
	}
	value, err := fresh.encode()
	if err != nil {
		return store.Write{}, nil, fmt.Errorf("keys: rotating %s: %w", p, err)
	}
	// load clears what it read, so it gets a copy.
	next, err := load(p, store.Record{Key: recordKey(p), Version: s.version + 1, Value: append([]byte(nil), value...)})
	if err != nil {
		return store.Write{}, nil, fmt.Errorf("keys: rotating %s: %w", p, err)
	}
	return store.Write{Key: recordKey(p), Version: s.version, Value: value}, func() { r.install(p, next) }, ctx.Err()
}

// Rotate replaces the key of p, with no audit entry: tests and tools use it, the broker uses PrepareRotate.
func (r *Ring) Rotate(ctx context.Context, p Purpose) error {
	write, done, err := r.PrepareRotate(ctx, p)
	if err != nil {
		return err
	}
	if err := r.c.Store.Apply(ctx, write); err != nil {
		return fmt.Errorf("keys: rotating %s: %w", p, err)
	}
	done()
	return nil
}

// Reload reads what other brokers rotated. The keys in use stay when it fails.
func (r *Ring) Reload(ctx context.Context) error {
	for _, p := range []Purpose{Token, Reply} {
		stored, err := r.c.Store.Get(ctx, recordKey(p))
		if err != nil {
			return fmt.Errorf("keys: reloading %s: %w", p, err)
		}
		if stored.Version == r.states[p].Load().version {
			continue
		}
		s, err := load(p, stored)
		if err != nil {
			return fmt.Errorf("keys: reloading %s: %w", p, err)
		}
		r.install(p, s)
	}
	return nil
}

// Follow reloads whenever a key record changes, until ctx ends or the store does. failed, which may be nil, is told when a reload fails.
func (r *Ring) Follow(ctx context.Context, failed func(error)) error {
	events, err := r.c.Store.Watch(ctx, Records)
	if err != nil {
		return fmt.Errorf("keys: watching for rotations: %w", err)
	}
	for {
		// Once before the first event: something may have changed before the watch began.
		if err := r.Reload(ctx); err != nil && failed != nil && ctx.Err() == nil {
			failed(err)
		}
		if _, open := <-events; !open {
			return ctx.Err()
		}
	}
}

// Info describes a key for people.
type Info struct {
	Purpose Purpose   `json:"purpose"`
	KeyID   string    `json:"kid"` // the log's is the text of its verifier
	Created time.Time `json:"created"`
	Retired time.Time `json:"retired,omitzero"` // zero while it signs
	Until   time.Time `json:"until,omitzero"`   // until when a retired key is believed
}

// List describes the keys in use, the current one of each purpose first.
func (r *Ring) List() []Info {
	var list []Info
	for _, p := range purposes {
		s := r.states[p].Load()
		list = append(list, Info{Purpose: p, KeyID: s.kid, Created: s.created})
		for _, old := range s.old {
			if r.c.Now().Before(old.until) {
				list = append(list, Info{Purpose: p, KeyID: old.kid, Created: old.created, Retired: old.retired, Until: old.until})
			}
		}
	}
	return list
}

// KeyID returns the kid of the key that signs for p now, "" where p is not a purpose.
func (r *Ring) KeyID(p Purpose) string {
	if r.states[p] == nil {
		return ""
	}
	return r.states[p].Load().kid
}

// JWKS returns the public keys of the purposes, those of Token and Reply when none is named, as an RFC 7517 key set. Retired keys are in it until
// their retention is over.
func (r *Ring) JWKS(of ...Purpose) []byte {
	if len(of) == 0 {
		of = []Purpose{Token, Reply}
	}
	var keys []string
	for _, p := range of {
		if s, err := r.state(p); err == nil {
			for _, k := range s.believed(r.c.Now()) {
				keys = append(keys, k.published())
			}
		}
	}
	return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`)
}

// LogSigner returns what signs checkpoints.
func (r *Ring) LogSigner() note.Signer { return r.states[Log].Load().note.signer }

// LogVerifier returns what verifies checkpoints.
func (r *Ring) LogVerifier() note.Verifier { return r.states[Log].Load().note.verifier }

// LogVerifierText returns the text of the verifier, "<origin>+<hash>+<base64>", which auditors keep.
func (r *Ring) LogVerifierText() string { return r.states[Log].Load().note.text }

// Format keeps fmt from printing private keys, whatever the verb.
func (r *Ring) Format(f fmt.State, _ rune) { fmt.Fprint(f, "keys.Ring") }

// LogValue implements slog.LogValuer.
func (r *Ring) LogValue() slog.Value { return slog.StringValue("keys.Ring") }

// logKey is the log's key as package note wants it.
type logKey struct {
	signer   note.Signer
	verifier note.Verifier
	text     string
}

func newLogKey(signer note.Signer, text string) (*logKey, error) {
	verifier, err := note.NewVerifier(text)
	if err != nil {
		return nil, err
	}
	return &logKey{signer: signer, verifier: verifier, text: text}, nil
}
