package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Limits of a key set.
const (
	maxKeySet = 1 << 20 // bytes: NVIDIA's has a chain with every key
	maxKeys   = 128
)

// The sizes of RSA keys that are accepted, in bits.
const (
	minRSA = 2048
	maxRSA = 8192
)

// key is a public key that a verifier signs tokens with.
type key struct {
	id       string // "kid"; "" when it has none
	alg      string // "alg"; "" when the set does not say
	public   crypto.PublicKey
	spki     string            // hex SHA-256 of the SubjectPublicKeyInfo
	jwk      map[string]string // the members that a JWK of it has (RFC 7518, sections 6.2.1 and 6.3.1)
	notAfter time.Time         // of the certificate that was published in the place of the key's numbers; zero when there was none
	notYet   time.Time         // its beginning
}

// keySet is a JWK Set (RFC 7517, section 5): the keys in it that can verify signatures.
type keySet []key

// parseKeySet reads a JWK Set. Keys that are for something else, or of a type that no format signs with, are passed over, since sets are shared; one that
// is malformed makes the set bad, and so do two keys with one id, since which of them counts would be a guess.
func parseKeySet(text []byte) (keySet, error) {
	if len(text) > maxKeySet {
		return nil, fmt.Errorf("a key set of %d bytes: at most %d are read", len(text), maxKeySet)
	}
	o, err := parseObject(string(text))
	if err != nil {
		return nil, err
	}
	raw, ok := o.raw("keys")
	if !ok {
		return nil, errors.New("no member \"keys\"")
	}
	var all []json.RawMessage
	if err := json.Unmarshal([]byte(raw), &all); err != nil {
		return nil, errors.New("the member \"keys\" is not a list")
	}
	if len(all) > maxKeys {
		return nil, fmt.Errorf("%d keys: at most %d are read", len(all), maxKeys)
	}
	set := make(keySet, 0, len(all))
	for i, raw := range all {
		k, err := parseSetKey(raw)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		if k == nil {
			continue
		}
		same := func(other key) bool { return k.id != "" && other.id == k.id }
		if slices.ContainsFunc(set, same) {
			return nil, fmt.Errorf("key %d: another key has its id %.80q", i, k.id)
		}
		set = append(set, *k)
	}
	if len(set) == 0 {
		return nil, errors.New("no key in the set can verify a signature")
	}
	return set, nil
}

// parseSetKey reads a key of a set. It returns nil for one that is not for verifying.
func parseSetKey(text []byte) (*key, error) {
	o, err := parseObject(string(text))
	if err != nil {
		return nil, err
	}
	k := &key{id: o.text("kid"), alg: o.text("alg")}
	use, operations, kty := o.text("use"), o.list("key_ops"), o.text("kty")
	chain := o.list("x5c")
	if err := o.err(); err != nil {
		return nil, err
	}
	if len(k.id) > maxKeyID {
		return nil, errors.New("an id that is too long")
	}
	if kty != "RSA" && kty != "EC" || use != "" && use != "sig" || len(operations) > 0 && !slices.Contains(operations, "verify") {
		return nil, nil
	}
	numbers := "n"
	if kty == "EC" {
		numbers = "x"
	}
	if !o.has(numbers) && len(chain) > 0 {
		// Azure Attestation publishes certificates and no numbers. They carry the key and vouch for nothing: the set does that.
		return k, k.fromCertificate(chain[0])
	}
	if k.public, err = parseKey(o); err != nil {
		if errors.Is(err, errUnsuited) {
			return nil, nil
		}
		return nil, err
	}
	return k, k.name()
}

func (k *key) fromCertificate(encoded string) error {
	der, ok := decodeStd(encoded)
	if !ok || len(der) > maxCertificate {
		return errors.New("a certificate that is not base64 or too large")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	k.public, k.notYet, k.notAfter = cert.PublicKey, cert.NotBefore, cert.NotAfter
	if err := checkPublic(k.public); err != nil {
		return err
	}
	return k.name()
}

// name computes what the key is known by.
func (k *key) name() error {
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(der)
	k.spki = hex.EncodeToString(sum[:])
	encode := base64.RawURLEncoding.EncodeToString
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		k.jwk = map[string]string{"kty": "RSA", "n": encode(public.N.Bytes()), "e": encode(big.NewInt(int64(public.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			return err
		}
		x, y := point[1:1+len(point)/2], point[1+len(point)/2:]
		k.jwk = map[string]string{"kty": "EC", "crv": public.Params().Name, "x": encode(x), "y": encode(y)}
	}
	return nil
}

// is reports whether a token's JWK, which is compared and never used, is this key, written as RFC 7518 has it. Confidential Containers' Attestation Service
// drops leading zeros of coordinates: such a JWK is no key's.
func (k *key) is(jwk object) bool {
	jwk.failure = new(error) // one that cannot be read is no key's either
	for name, value := range k.jwk {
		if jwk.text(name) != value {
			return false
		}
	}
	return !private(jwk)
}

// private reports whether a JWK has a private part.
func private(jwk object) bool {
	has := func(name string) bool { return jwk.find(name) != 0 }
	return slices.ContainsFunc([]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}, has)
}

// errUnsuited says that a key is of a type or size that no format signs with.
var errUnsuited = errors.New("a key of a type or size that is not accepted")

// parseKey reads the numbers of a JWK by go-jose, which checks that points are on their curve. It gets nothing else, such as certificates, which
// add nothing and which it would refuse a key for. Private keys are refused: whoever published one has no secret left.
func parseKey(o object) (crypto.PublicKey, error) {
	members := make(map[string]json.RawMessage, 4)
	for _, name := range [...]string{"kty", "crv", "x", "y", "n", "e"} {
		if raw, ok := o.raw(name); ok {
			members[name] = json.RawMessage(raw)
		}
	}
	if private(o) {
		return nil, errors.New("a key with its private part")
	}
	switch o.text("kty") {
	case "RSA":
	case "EC":
		if crv := o.text("crv"); crv != "P-256" && crv != "P-384" {
			return nil, errUnsuited
		}
	default:
		return nil, errUnsuited
	}
	text, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(text); err != nil {
		return nil, err
	}
	return jwk.Key, checkPublic(jwk.Key)
}

func checkPublic(public crypto.PublicKey) error {
	switch public := public.(type) {
	case *rsa.PublicKey:
		if n := public.N.BitLen(); n < minRSA || n > maxRSA || public.E < 1<<16+1 || public.E&1 == 0 {
			return errUnsuited
		}
		return nil
	case *ecdsa.PublicKey:
		if _, err := public.ECDH(); err != nil {
			return fmt.Errorf("a point that is not on its curve: %w", err)
		}
		return nil
	}
	return errUnsuited
}

// find returns the key that a header names: by its id, or where it names none by the key in it, which is compared and never used. A
// header that names no key has none, even where the set has only one.
func (s keySet) find(h *header) *key {
	for i := range s {
		k := &s[i]
		if h.kid != "" {
			if k.id == h.kid {
				return k
			}
			continue
		}
		if k.is(h.jwk) {
			return k
		}
	}
	return nil
}

// CheckKeySet says whether a JWK Set is one that a Verifier can use, so that one which it cannot never takes the place of one that it can.
func CheckKeySet(text []byte) error {
	_, err := parseKeySet(text)
	return err
}
