package keys

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
	"github.com/vouchsafe/vouchsafe/store"
)

// Limits of records.
const (
	// maxRetired is how many retired keys of a purpose are published. A rotation that would make more is refused: at the default
	// retention that is one every 45 minutes, and consumers would hold a JWKS of 32 keys.
	maxRetired = 32
	// maxRecord bounds a record before it is parsed, in bytes: 32 retired keys have 12 KiB.
	maxRecord = 64 << 10
)

// Records is what the keys of this package's records begin with, each of which holds private keys.
const Records = store.SysNamespace + "/key/"

func recordKey(p Purpose) string { return Records + string(p) }

// record is the stored form of the keys of one purpose.
type record struct {
	Schema  int       `json:"schema"` // 1
	Purpose Purpose   `json:"purpose"`
	Origin  string    `json:"origin,omitempty"` // of the log
	KeyID   string    `json:"kid"`
	Created time.Time `json:"created"`
	Private []byte    `json:"private"` // PKCS #8
	Retired []retired `json:"retired,omitempty"`
}

// retired is a key that signs no more.
type retired struct {
	KeyID   string    `json:"kid"`
	Created time.Time `json:"created"`
	Retired time.Time `json:"retired"`
	Until   time.Time `json:"until"`  // published and believed before this
	Public  []byte    `json:"public"` // PKIX
}

// Format keeps fmt from printing a private key, whatever the verb.
func (r record) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "keys of %s", r.Purpose) }

// state is a record ready for use. It never changes.
type state struct {
	version uint64
	created time.Time
	kid     string

	signing *ecdsa.PrivateKey // token and reply
	public  *publicKey
	old     []oldKey

	note     *logKey // log
	seed     []byte  // of the log's key, from which those of brokers' own logs are derived
	original record  // without its private part
}

type oldKey struct {
	*publicKey
	created, retired, until time.Time
}

// newRecord makes a record with a new key.
func newRecord(p Purpose, c *Config) (record, error) {
	r := record{Schema: 1, Purpose: p, Created: c.Now().UTC().Truncate(time.Second)}
	var private any
	if p == Log {
		if err := checkOrigin(c.Origin); err != nil {
			return r, err
		}
		key, err := newSeed(c.Rand)
		if err != nil {
			return r, err
		}
		_, verifier, err := newLogSigner(c.Origin, key)
		if err != nil {
			return r, err
		}
		private, r.KeyID, r.Origin = key, verifier, c.Origin
	} else {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return r, err
		}
		public, err := newPublicKey(p, &key.PublicKey)
		if err != nil {
			return r, err
		}
		private, r.KeyID = key, public.kid
	}
	var err error
	r.Private, err = x509.MarshalPKCS8PrivateKey(private)
	return r, err
}

// rotated returns the record with a new key, in which the current key of s is retired and those whose time is over are gone.
func (s *state) rotated(p Purpose, c *Config) (record, error) {
	r, err := newRecord(p, c)
	if err != nil {
		return r, err
	}
	now := r.Created
	for _, old := range s.original.Retired {
		if now.Before(old.Until) {
			r.Retired = append(r.Retired, old)
		}
	}
	if len(r.Retired) >= maxRetired {
		return r, fmt.Errorf("%d retired keys are published still: rotate again after %v", len(r.Retired), r.Retired[0].Until)
	}
	public, err := x509.MarshalPKIXPublicKey(s.public.key)
	if err != nil {
		return r, err
	}
	r.Retired = append(r.Retired, retired{
		KeyID: s.kid, Created: s.created, Retired: now, Until: now.Add(c.Retain), Public: public,
	})
	return r, nil
}

func (r record) encode() ([]byte, error) { return json.Marshal(r) }

// load makes a record ready. Its errors never hold what is in the record.
func load(p Purpose, stored store.Record) (*state, error) {
	damaged := func(format string, args ...any) (*state, error) {
		return nil, fmt.Errorf("%w: %s: %s", store.ErrCorrupt, stored.Key, fmt.Sprintf(format, args...))
	}
	if len(stored.Value) > maxRecord {
		return damaged("%d bytes are over %d", len(stored.Value), maxRecord)
	}
	var r record
	if err := strictjson.Unmarshal(stored.Value, &r); err != nil {
		return damaged("its JSON is not that of a key record")
	}
	clear(stored.Value)
	defer clear(r.Private)
	switch {
	case r.Schema != 1:
		return damaged("schema %d was written by a later version", r.Schema)
	case r.Purpose != p:
		return damaged("it is the record of another purpose")
	case len(r.Retired) > maxRetired:
		return damaged("%d retired keys are over %d", len(r.Retired), maxRetired)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(r.Private)
	if err != nil {
		return damaged("the private key cannot be read")
	}
	s := &state{version: stored.Version, created: r.Created, kid: r.KeyID, original: r}
	s.original.Private = nil
	if p == Log {
		err = s.loadLog(r, parsed)
	} else {
		err = s.loadSigning(r, parsed)
	}
	if err != nil {
		return damaged("%v", err)
	}
	return s, nil
}

func (s *state) loadLog(r record, parsed any) error {
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok || checkOrigin(r.Origin) != nil || len(r.Retired) != 0 {
		return errors.New("the log's key is not Ed25519, or it has no origin, or retired keys")
	}
	signer, verifier, err := newLogSigner(r.Origin, key)
	if err != nil {
		return err
	}
	if verifier != r.KeyID {
		return errors.New("the key is not the one named")
	}
	s.seed = key.Seed()
	s.note, err = newLogKey(signer, verifier)
	return err
}

func (s *state) loadSigning(r record, parsed any) (err error) {
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return errors.New("the key is not ECDSA")
	}
	if s.public, err = newPublicKey(r.Purpose, &key.PublicKey); err != nil {
		return err
	}
	if s.public.kid != r.KeyID {
		return errors.New("the key is not the one named")
	}
	s.signing = key
	for _, old := range r.Retired {
		parsed, err := x509.ParsePKIXPublicKey(old.Public)
		public, ok := parsed.(*ecdsa.PublicKey)
		if err != nil || !ok {
			return errors.New("a retired key cannot be read")
		}
		k, err := newPublicKey(r.Purpose, public)
		if err != nil || k.kid != old.KeyID {
			return errors.New("a retired key is not the one named")
		}
		s.old = append(s.old, oldKey{publicKey: k, created: old.Created, retired: old.Retired, until: old.Until})
	}
	return nil
}

// believed returns the keys whose signatures count at now, the current one first.
func (s *state) believed(now time.Time) []*publicKey {
	keys := make([]*publicKey, 1, 1+len(s.old))
	keys[0] = s.public
	for _, old := range slices.Backward(s.old) {
		if now.Before(old.until) {
			keys = append(keys, old.publicKey)
		}
	}
	return keys
}
