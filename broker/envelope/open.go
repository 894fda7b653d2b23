package envelope

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// KeyType names what [GenerateKey] makes.
type KeyType string

// The types of keys a workload can make.
const (
	P256   KeyType = "p256"     // EC P-256, ECDH-ES+A256KW
	P521   KeyType = "p521"     // EC P-521, ECDH-ES+A256KW
	RSA    KeyType = "rsa-3072" // RSA, RSA-OAEP-256; slow to make, for peers that know nothing else
	X25519 KeyType = "x25519"   // HPKE over X25519
	XWing  KeyType = "x-wing"   // HPKE over ML-KEM-768 and X25519
)

// KeyTypes returns the types of keys, in the order documents print them.
func KeyTypes() []KeyType { return []KeyType{XWing, X25519, P256, P521, RSA} }

const rsaBits = 3072 // 128-bit security

// ErrEnvelope says that an envelope cannot be read: it is not of the form the key's algorithm has.
var ErrEnvelope = errors.New("malformed envelope")

// ErrOpen says that an envelope does not open: another key or context, or bytes that were changed. Which is not said.
var ErrOpen = errors.New("the envelope does not open with this key and context")

// maxEnvelope is the most bytes of envelope that are looked at: base64 of the largest plaintext, and 8 KiB for the key of RSA-8192 and
// the rest.
const maxEnvelope = (MaxPlaintext+2)/3*4 + 8<<10

// PrivateKey opens envelopes. It lives in the workload and has no serialised form: a new one is made for each attestation.
type PrivateKey struct {
	recipient *Recipient
	jwk       []byte

	// One of them is set.
	ecdh *ecdh.PrivateKey
	rsa  *rsa.PrivateKey
	hpke hpke.PrivateKey
}

// GenerateKey makes a key of the given type from the system's randomness.
func GenerateKey(t KeyType) (*PrivateKey, error) {
	k := new(PrivateKey)
	var err error
	switch t {
	case P256, P521:
		curve := curves[map[KeyType]string{P256: "P-256", P521: "P-521"}[t]]
		if k.ecdh, err = curve.GenerateKey(rand.Reader); err != nil {
			return nil, fmt.Errorf("envelope: making a %s key: %w", t, err)
		}
		return k.finish(ecJWK(curve, k.ecdh.PublicKey()))
	case RSA:
		if k.rsa, err = rsa.GenerateKey(rand.Reader, rsaBits); err != nil {
			return nil, fmt.Errorf("envelope: making a %s key: %w", t, err)
		}
		return k.finish(rsaJWK(&k.rsa.PublicKey, RSAOAEP))
	case X25519, XWing:
		alg := map[KeyType]string{X25519: HPKEX, XWing: HPKEXWing}[t]
		if k.hpke, err = suites[alg].kem.GenerateKey(); err != nil {
			return nil, fmt.Errorf("envelope: making a %s key: %w", t, err)
		}
		return k.finish(hpkeJWK(alg, k.hpke.PublicKey()))
	default:
		return nil, fmt.Errorf("envelope: no key type %q: use one of %v", t, KeyTypes())
	}
}

// finish gives the key its public half, by the same parser that a broker reads it with.
func (k *PrivateKey) finish(jwk map[string]string) (*PrivateKey, error) {
	text, err := json.Marshal(jwk)
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	if k.recipient, err = ParseRecipient(text, Options{}); err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	k.jwk = k.recipient.Canonical()
	return k, nil
}

// PublicJWK returns the public key as a JWK of its defining members, in canonical form.
func (k *PrivateKey) PublicJWK() []byte { return append([]byte(nil), k.jwk...) }

// Recipient returns the public key.
func (k *PrivateKey) Recipient() *Recipient { return k.recipient }

// Open decrypts an envelope that was made for the key and, if it is an HPKE envelope, for ctx. Errors wrap [ErrEnvelope]
// or [ErrOpen].
func (k *PrivateKey) Open(envelope []byte, ctx Context) ([]byte, error) {
	if len(envelope) > maxEnvelope {
		return nil, fmt.Errorf("envelope: %w: %d bytes, at most %d are read", ErrEnvelope, len(envelope), maxEnvelope)
	}
	if k.hpke != nil {
		return k.openHPKE(envelope, ctx)
	}
	return k.openJWE(envelope)
}

func (k *PrivateKey) openHPKE(envelope []byte, ctx Context) ([]byte, error) {
	m, err := members(envelope, "alg", "encapsulated_key", "ciphertext")
	if err != nil {
		return nil, err
	}
	s := suites[k.recipient.algorithm]
	encapsulated, err1 := decode64(m["encapsulated_key"])
	ciphertext, err2 := decode64(m["ciphertext"])
	switch err := errors.Join(err1, err2); {
	case err != nil:
		return nil, fmt.Errorf("envelope: %w: %w", ErrEnvelope, err)
	case m["alg"] != k.recipient.algorithm:
		return nil, fmt.Errorf("envelope: %w: alg %s, the key is for %s", ErrEnvelope, show(m["alg"]), k.recipient.algorithm)
	case len(encapsulated) != s.encapped:
		return nil, fmt.Errorf("envelope: %w: an encapsulated key of %d bytes, not %d", ErrEnvelope, len(encapsulated), s.encapped)
	}
	aad, err := ctx.aad()
	if err != nil {
		return nil, fmt.Errorf("envelope: context: %w", err)
	}
	recipient, err := hpke.NewRecipient(encapsulated, k.hpke, s.kdf, s.aead, []byte(hpkeInfo))
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", ErrOpen)
	}
	plaintext, err := recipient.Open(aad, ciphertext)
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", ErrOpen)
	}
	return plaintext, nil
}

func (k *PrivateKey) openJWE(envelope []byte) ([]byte, error) {
	m, err := members(envelope, "protected", "encrypted_key", "iv", "ciphertext", "tag")
	if err != nil {
		return nil, err
	}
	decoded := map[string][]byte{}
	for name, text := range m {
		if decoded[name], err = decode64(text); err != nil {
			return nil, fmt.Errorf("envelope: %w: %s is %w", ErrEnvelope, name, err)
		}
	}
	if len(decoded["iv"]) != gcmNonceSize || len(decoded["tag"]) != gcmTagSize {
		return nil, fmt.Errorf("envelope: %w: iv or tag of another length than %d and %d", ErrEnvelope, gcmNonceSize, gcmTagSize)
	}
	contentKey, err := k.unwrap(decoded["protected"], decoded["encrypted_key"])
	if err != nil {
		return nil, err
	}
	defer clear(contentKey)
	gcm, err := contentCipher(contentKey)
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", ErrOpen)
	}
	sealed := append(decoded["ciphertext"], decoded["tag"]...)
	plaintext, err := gcm.Open(sealed[:0], decoded["iv"], sealed, []byte(m["protected"]))
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", ErrOpen)
	}
	return plaintext, nil
}

// unwrap reads the protected header and decrypts the content key. Headers with other members are refused: nothing says what they
// would mean.
func (k *PrivateKey) unwrap(header, encrypted []byte) ([]byte, error) {
	names := []string{"alg", "enc"}
	if k.ecdh != nil {
		names = append(names, "epk")
	}
	raw, err := rawMembers(header, names...)
	if err != nil {
		return nil, err
	}
	alg, _ := strictjson.String(raw["alg"])
	enc, _ := strictjson.String(raw["enc"])
	if alg != k.recipient.algorithm || enc != "A256GCM" {
		return nil, fmt.Errorf("envelope: %w: alg %s with enc %s, the key is for %s with A256GCM", ErrEnvelope, show(alg), show(enc),
			k.recipient.algorithm)
	}
	var contentKey []byte
	if k.rsa != nil {
		contentKey, err = rsa.DecryptOAEP(sha256.New(), nil, k.rsa, encrypted, nil)
	} else {
		contentKey, err = k.unwrapECDH(raw["epk"], encrypted)
	}
	switch {
	case errors.Is(err, ErrEnvelope):
		return nil, err
	case err != nil || len(contentKey) != contentKeySize:
		return nil, fmt.Errorf("envelope: %w", ErrOpen)
	}
	return contentKey, nil
}

func (k *PrivateKey) unwrapECDH(epk, encrypted []byte) ([]byte, error) {
	m, err := members(epk, "crv", "kty", "x", "y")
	if err != nil {
		return nil, err
	}
	curve := k.recipient.jwe.(*ecdhWrapper).curve
	x, err1 := decode64(m["x"])
	y, err2 := decode64(m["y"])
	if err := errors.Join(err1, err2); err != nil || m["kty"] != "EC" || m["crv"] != curve.name {
		return nil, fmt.Errorf("envelope: %w: epk is not an EC key of %s", ErrEnvelope, curve.name)
	}
	ephemeral, err := ecPoint(curve, x, y)
	if err != nil {
		return nil, fmt.Errorf("envelope: %w: epk: %w", ErrEnvelope, err)
	}
	z, err := k.ecdh.ECDH(ephemeral)
	if err != nil {
		return nil, err
	}
	kek := deriveKEK(z)
	defer clear(kek)
	return unwrapKey(kek, encrypted)
}

// rawMembers splits an object that must have exactly the named members.
func rawMembers(text []byte, names ...string) (map[string]json.RawMessage, error) {
	raw, err := strictjson.Object(text)
	if err != nil {
		return nil, fmt.Errorf("envelope: %w: %w", ErrEnvelope, err)
	}
	for _, name := range names {
		if _, there := raw[name]; !there {
			return nil, fmt.Errorf("envelope: %w: %q is missing", ErrEnvelope, name)
		}
	}
	if len(raw) != len(names) {
		return nil, fmt.Errorf("envelope: %w: members other than %q", ErrEnvelope, names)
	}
	return raw, nil
}

// members is rawMembers where each is a string.
func members(text []byte, names ...string) (map[string]string, error) {
	raw, err := rawMembers(text, names...)
	if err != nil {
		return nil, err
	}
	m := make(map[string]string, len(raw))
	for name, value := range raw {
		if m[name], err = strictjson.String(value); err != nil {
			return nil, fmt.Errorf("envelope: %w: %q is %w", ErrEnvelope, name, err)
		}
	}
	return m, nil
}

func ecJWK(curve namedCurve, key *ecdh.PublicKey) map[string]string {
	point := key.Bytes()[1:]
	return map[string]string{"kty": "EC", "crv": curve.name, "alg": ECDHES,
		"x": encode64(point[:curve.size]), "y": encode64(point[curve.size:])}
}

func rsaJWK(key *rsa.PublicKey, alg string) map[string]string {
	return map[string]string{"kty": "RSA", "alg": alg, "n": encode64(key.N.Bytes()),
		"e": encode64(big.NewInt(int64(key.E)).Bytes())}
}

func hpkeJWK(alg string, key hpke.PublicKey) map[string]string {
	if alg == HPKEX {
		return map[string]string{"kty": "OKP", "crv": "X25519", "alg": alg, "x": encode64(key.Bytes())}
	}
	return map[string]string{"kty": "AKP", "alg": alg, "pub": encode64(key.Bytes())}
}

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
