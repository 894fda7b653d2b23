package release

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// Limits of key sets and signatures.
const (
	maxKeys       = 64      // a broker publishes two keys, and those it retired lately
	maxProtected  = 1 << 10 // bytes of a protected header: three short members
	p256Size      = 32      // bytes of a coordinate, and of each half of an ES256 signature
	signatureSize = 2 * p256Size
)

// ErrKeys says that a key set cannot be used.
var ErrKeys = errors.New("unusable key set")

// ErrSignature says that a reply is not signed by a key of the set, or is not a signed reply at all.
var ErrSignature = errors.New("the reply's signature does not verify")

// ErrUnknownKey says that a reply names a key that is not in the set: it wraps [ErrSignature]. The broker may have rotated
// its key; a client that fetches the set fetches it again, once.
var ErrUnknownKey = fmt.Errorf("%w: its key is not in the set", ErrSignature)

// Keys is a set of ES256 public keys that replies are signed with.
type Keys struct {
	byID map[string]*ecdsa.PublicKey
}

// ParseKeys reads a JWKS (RFC 7517). Keys that are not for ES256 signatures, or have no kid, are passed over; a kid twice, or no key left, is
// an error. Errors wrap [ErrKeys].
func ParseKeys(jwks []byte) (*Keys, error) {
	if len(jwks) > MaxAnswer {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrKeys, len(jwks), MaxAnswer)
	}
	set, err := strictjson.Object(jwks)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, err)
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(set["keys"], &raw); err != nil {
		return nil, fmt.Errorf("%w: keys is not an array", ErrKeys)
	}
	if len(raw) > maxKeys {
		return nil, fmt.Errorf("%w: %d keys, at most %d are read", ErrKeys, len(raw), maxKeys)
	}
	k := &Keys{byID: map[string]*ecdsa.PublicKey{}}
	for i, text := range raw {
		id, key, err := parseKey(text)
		if err != nil {
			return nil, fmt.Errorf("%w: key %d: %w", ErrKeys, i, err)
		}
		if key == nil {
			continue
		}
		if k.byID[id] != nil {
			return nil, fmt.Errorf("%w: two keys with the kid %.64q", ErrKeys, id)
		}
		k.byID[id] = key
	}
	if len(k.byID) == 0 {
		return nil, fmt.Errorf("%w: no ES256 key with a kid among %d", ErrKeys, len(raw))
	}
	return k, nil
}

// parseKey returns a nil key for one that is of no use here.
func parseKey(text json.RawMessage) (string, *ecdsa.PublicKey, error) {
	raw, err := strictjson.Object(text)
	if err != nil {
		return "", nil, err
	}
	member := func(name string) string {
		s, _ := strictjson.String(raw[name]) // "" when absent or no string
		return s
	}
	if member("kty") != "EC" || member("crv") != "P-256" || member("kid") == "" {
		return "", nil, nil
	}
	if _, there := raw["alg"]; there && member("alg") != "ES256" {
		return "", nil, nil
	}
	if _, there := raw["use"]; there && member("use") != "sig" {
		return "", nil, nil
	}
	x, err1 := decode64(member("x"))
	y, err2 := decode64(member("y"))
	if err := errors.Join(err1, err2); err != nil || len(x) != p256Size || len(y) != p256Size {
		return "", nil, errors.New("x and y are not base64url of 32 bytes each")
	}
	point := append([]byte{4}, x...)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(point, y...))
	if err != nil {
		return "", nil, errors.New("x and y are not a point of P-256")
	}
	return member("kid"), key, nil
}

// Open verifies a signed reply and returns its payload, for [DecodeReply]. Everything about the signature is fixed but the key, which the
// protected header names: there must be no unprotected header, no other algorithm and no member that is not known. Errors
// wrap [ErrSignature].
func (k *Keys) Open(signed []byte) ([]byte, error) {
	if len(signed) > MaxReply {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrSignature, len(signed), MaxReply)
	}
	var jws struct {
		Payload   string `json:"payload"`
		Protected string `json:"protected"`
		Signature string `json:"signature"`
	}
	if err := strictjson.Unmarshal(signed, &jws); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if len(jws.Protected) > maxProtected {
		return nil, fmt.Errorf("%w: a protected header of %d bytes", ErrSignature, len(jws.Protected))
	}
	protected, err1 := decode64(jws.Protected)
	signature, err2 := decode64(jws.Signature)
	if err := errors.Join(err1, err2); err != nil || len(signature) != signatureSize {
		return nil, fmt.Errorf("%w: not base64url, or a signature of another length than %d", ErrSignature, signatureSize)
	}
	var header struct {
		Alg string `json:"alg"`
		Kid string `json:"kid"`
		Typ string `json:"typ"`
	}
	if err := strictjson.Unmarshal(protected, &header); err != nil {
		return nil, fmt.Errorf("%w: protected header: %w", ErrSignature, err)
	}
	if header.Alg != "ES256" || header.Typ != ReplyType {
		return nil, fmt.Errorf("%w: alg %.32q and typ %.64q, not ES256 and %s", ErrSignature, header.Alg, header.Typ, ReplyType)
	}
	key := k.byID[header.Kid]
	if key == nil {
		return nil, fmt.Errorf("%w: %.64q", ErrUnknownKey, header.Kid)
	}
	digest := sha256.New()
	digest.Write([]byte(jws.Protected))
	digest.Write([]byte{'.'})
	digest.Write([]byte(jws.Payload))
	r, s := new(big.Int).SetBytes(signature[:p256Size]), new(big.Int).SetBytes(signature[p256Size:])
	if !ecdsa.Verify(key, digest.Sum(nil), r, s) {
		return nil, ErrSignature
	}
	payload, err := decode64(jws.Payload)
	if err != nil {
		return nil, fmt.Errorf("%w: the payload is not base64url", ErrSignature)
	}
	return payload, nil
}

// decode64 decodes unpadded base64url of which there is only one spelling.
func decode64(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("line breaks in base64url")
	}
	return base64.RawURLEncoding.Strict().DecodeString(text)
}
