package kbs

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/vouchsafe/vouchsafe/broker/access"
)

// AdminKey is a key whose holder administers with JWTs that he signs himself, as administrators of the reference server do. Such a token is good for this front end
// only.
type AdminKey struct {
	Name     string            // for people, and in the log; unique
	Key      ed25519.PublicKey // of the algorithm EdDSA, which is the only one taken
	Roles    access.Set        // what its holder may do, whatever the token says
	Issuer   string            // the "iss" that tokens must have; "" asks for none
	Audience string            // an "aud" that tokens must have; "" asks for none
}

// Limits of administrators' tokens.
const (
	// MaxAdminToken is how long a token may be good for: the reference server's client makes them for two hours.
	MaxAdminToken = 24 * time.Hour
	// maxAdminSkew is how far another clock may be from this one.
	maxAdminSkew = time.Minute
	// maxAdminKeys bounds the keys that a token is tried with.
	maxAdminKeys = 32
)

// errAdminToken says that a JWT is not one of an administrator's; why is for the log.
var errAdminToken = errors.New("the administrator's token is not good")

func checkAdminKeys(keys []AdminKey) error {
	if len(keys) > maxAdminKeys {
		return fmt.Errorf("kbs: %d keys of administrators, over %d", len(keys), maxAdminKeys)
	}
	seen := map[string]bool{}
	for i, k := range keys {
		switch {
		case k.Name == "" || len(k.Name) > 64 || seen[k.Name]:
			return fmt.Errorf("kbs: the key of administrator %d has no name of at most 64 bytes, or another's", i+1)
		case len(k.Key) != ed25519.PublicKeySize:
			return fmt.Errorf("kbs: the key of administrator %q is no Ed25519 key", k.Name)
		case len(k.Roles.Roles()) == 0:
			return fmt.Errorf("kbs: the key of administrator %q has no role", k.Name)
		}
		seen[k.Name] = true
	}
	return nil
}

// isJWT tells a compact JWS from a token of this broker, which has no dots.
func isJWT(token string) bool { return strings.Count(token, ".") == 2 }

// adminOf returns who signed a token.
func (k *KBS) adminOf(token string) (access.Caller, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return access.Caller{}, fmt.Errorf("%w: %w", errAdminToken, err)
	}
	for _, key := range k.adminKeys {
		var claims jwt.Claims
		if parsed.Claims(key.Key, &claims) != nil {
			continue
		}
		if err := key.check(claims, k.now()); err != nil {
			return access.Caller{}, fmt.Errorf("%w: %q: %w", errAdminToken, key.Name, err)
		}
		subject := "kbs-admin-key:" + key.Name
		return access.Caller{Token: subject, Name: key.Name, Subject: subject, Via: access.ViaKBS, Roles: key.Roles, Namespace: k.namespace}, nil
	}
	return access.Caller{}, fmt.Errorf("%w: no configured key signed it", errAdminToken)
}

func (k AdminKey) check(c jwt.Claims, now time.Time) error {
	switch {
	case c.Expiry == nil || c.IssuedAt == nil:
		return errors.New("it does not say when it was issued and when it expires")
	case !now.Before(c.Expiry.Time()):
		return errors.New("it has expired")
	case c.IssuedAt.Time().After(now.Add(maxAdminSkew)) || c.NotBefore != nil && c.NotBefore.Time().After(now.Add(maxAdminSkew)):
		return errors.New("it is not good yet: check the clocks")
	case c.Expiry.Time().Sub(c.IssuedAt.Time()) > MaxAdminToken:
		return fmt.Errorf("it is good for more than %v", MaxAdminToken)
	case k.Issuer != "" && c.Issuer != k.Issuer:
		return errors.New("it has another issuer")
	case k.Audience != "" && !c.Audience.Contains(k.Audience):
		return errors.New("it is for another audience")
	}
	return nil
}
