package oidc

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// Limits of a key set.
const (
	maxKeySet = 256 << 10 // bytes
	maxKeys   = 64
	minRSA    = 2048 // bits
	maxRSA    = 8192
)

// algorithmsOf returns the algorithms of those names. None of them is symmetric, and there is no "none".
func algorithmsOf(names []string) ([]jose.SignatureAlgorithm, error) {
	if len(names) == 0 {
		return []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.EdDSA}, nil
	}
	possible := []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.EdDSA}
	var all []jose.SignatureAlgorithm
	for _, name := range names {
		alg := jose.SignatureAlgorithm(name)
		if !slices.Contains(possible, alg) || slices.Contains(all, alg) {
			return nil, fmt.Errorf("the algorithm %.20q is there twice, or none of %v", name, possible)
		}
		all = append(all, alg)
	}
	return all, nil
}

// key is one of a set.
type key struct {
	id, alg string
	public  crypto.PublicKey
}

// suits reports whether an algorithm is one of the key's.
func (k *key) suits(alg jose.SignatureAlgorithm) bool {
	if k.alg != "" && k.alg != string(alg) {
		return false
	}
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		return alg == jose.ES256 && public.Curve == elliptic.P256() || alg == jose.ES384 && public.Curve == elliptic.P384()
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	case *rsa.PublicKey:
		return slices.Contains([]jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384}, alg)
	}
	return false
}

type keySet []key

// find returns the key with an id, nil when there is none. A token that names no key has one only where there is no other.
func (s keySet) find(id string) *key {
	if id == "" && len(s) == 1 {
		return &s[0]
	}
	for i := range s {
		if id != "" && s[i].id == id {
			return &s[i]
		}
	}
	return nil
}

// CheckKeySet says whether a JWK Set (RFC 7517, section 5) is one by which tokens can be verified.
func CheckKeySet(text []byte) error {
	_, err := parseKeySet(text)
	return err
}

// parseKeySet reads a JWK Set. Keys for something else, or of a type that nothing here verifies with, are passed over; a private or symmetric key makes the set
// bad, for it is nobody's any more, and so do two keys with one id.
func parseKeySet(text []byte) (keySet, error) {
	if len(text) > maxKeySet {
		return nil, fmt.Errorf("a key set of %d bytes: at most %d are read", len(text), maxKeySet)
	}
	members, err := strictjson.Object(text)
	if err != nil {
		return nil, err
	}
	var all []json.RawMessage
	if err := json.Unmarshal(members["keys"], &all); err != nil || len(all) == 0 || len(all) > maxKeys {
		return nil, fmt.Errorf("it has not 1 to %d keys", maxKeys)
	}
	var set keySet
	for i, raw := range all {
		fields, err := strictjson.Object(raw)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		for _, private := range [...]string{"d", "k", "p", "q"} {
			if _, there := fields[private]; there {
				return nil, fmt.Errorf("key %d is not a public key", i)
			}
		}
		delete(fields, "x5c") // which vouches for nothing here, and for which a key would be refused
		bare, err := json.Marshal(fields)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		var jwk jose.JSONWebKey
		if jwk.UnmarshalJSON(bare) != nil || !jwk.Valid() || !jwk.IsPublic() || jwk.Use != "" && jwk.Use != "sig" || !suited(jwk.Key) {
			continue
		}
		if slices.ContainsFunc(set, func(k key) bool { return k.id == jwk.KeyID }) {
			return nil, fmt.Errorf("key %d: another has its id %.80q", i, jwk.KeyID)
		}
		set = append(set, key{id: jwk.KeyID, alg: jwk.Algorithm, public: jwk.Key})
	}
	if len(set) == 0 {
		return nil, errors.New("none of its keys can verify a token")
	}
	return set, nil
}

func suited(public any) bool {
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		return public.Curve == elliptic.P256() || public.Curve == elliptic.P384()
	case ed25519.PublicKey:
		return true
	case *rsa.PublicKey:
		n := public.N.BitLen()
		return n >= minRSA && n <= maxRSA && public.E >= 1<<16+1 && public.E&1 == 1
	}
	return false
}

// keySource is where an issuer's key set is.
type keySource struct {
	pinned       keySet
	name         string
	endorsements attest.Endorsements
	age          time.Duration
	parsed       atomic.Pointer[parsedSet]
}

// parsedSet keeps a set from being parsed for every token.
type parsedSet struct {
	text []byte
	keys keySet
}

// current returns the key set that counts now.
func (s *keySource) current(ctx context.Context, now time.Time) (keySet, error) {
	if s.pinned != nil {
		return s.pinned, nil
	}
	e, err := s.endorsements.Endorsement(ctx, s.name)
	if err != nil {
		return nil, fmt.Errorf("oidc: the key set %s: %w", s.name, err)
	}
	if !e.Fetched.IsZero() && now.Sub(e.Fetched) > s.age {
		s.refresh()
		return nil, fmt.Errorf("oidc: the key set %s was fetched at %v, over %v ago: its issuer cannot be reached", s.name, e.Fetched, s.age)
	}
	if kept := s.parsed.Load(); kept != nil && bytes.Equal(kept.text, e.Data) {
		return kept.keys, nil
	}
	keys, err := parseKeySet(e.Data)
	if err != nil {
		return nil, fmt.Errorf("oidc: the key set %s: %w", s.name, err)
	}
	s.parsed.Store(&parsedSet{text: e.Data, keys: keys})
	return keys, nil
}

// refresh has the set fetched again, where that is possible: a token names a key that is not in it. How often anything is fetched is for whoever fetches to bound.
func (s *keySource) refresh() {
	if f, ok := s.endorsements.(interface{ Refresh(name string) bool }); ok && s.pinned == nil {
		f.Refresh(s.name)
	}
}
