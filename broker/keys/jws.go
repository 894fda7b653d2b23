package keys

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"math/big"
	"strings"
)

// MaxPayload bounds what is signed and what is verified, in bytes: a native answer holds up to 64 secrets in envelopes, of which most are
// small and one may be 1 MiB; 16 MiB is more than the front ends send.
const MaxPayload = 16 << 20

// MaxToken bounds a JWS in compact form before it is taken apart, in characters. Tokens come in a header, and servers limit headers to
// 1 MiB at most.
const MaxToken = 1 << 20

// SignCompact signs payload as a JWS in compact form (RFC 7515, section 7.1) of the type typ, such as "JWT".
func (r *Ring) SignCompact(p Purpose, typ string, payload []byte) (string, error) {
	protected, body, signature, err := r.sign(p, typ, payload)
	if err != nil {
		return "", err
	}
	return protected + "." + body + "." + signature, nil
}

// SignFlattened signs payload as a JWS in flattened JSON (RFC 7515, section 7.2.2): {"payload","protected","signature"}.
func (r *Ring) SignFlattened(p Purpose, typ string, payload []byte) ([]byte, error) {
	protected, body, signature, err := r.sign(p, typ, payload)
	if err != nil {
		return nil, err
	}
	// Nothing in base64url needs escaping.
	b := make([]byte, 0, len(protected)+len(body)+len(signature)+48)
	b = append(b, `{"payload":"`...)
	b = append(b, body...)
	b = append(b, `","protected":"`...)
	b = append(b, protected...)
	b = append(b, `","signature":"`...)
	b = append(b, signature...)
	return append(b, `"}`...), nil
}

func (r *Ring) sign(p Purpose, typ string, payload []byte) (protected, body, signature string, err error) {
	s, err := r.state(p)
	if err != nil {
		return "", "", "", err
	}
	if err := checkType(typ); err != nil {
		return "", "", "", err
	}
	if len(payload) > MaxPayload {
		return "", "", "", fmt.Errorf("keys: %d bytes are too many to sign: at most %d", len(payload), MaxPayload)
	}
	protected, body = s.public.protected(typ), b64.EncodeToString(payload)
	sum := signingInput(protected, body)
	x, y, err := ecdsa.Sign(rand.Reader, s.signing, sum[:])
	if err != nil {
		return "", "", "", fmt.Errorf("keys: signing failed: %w", err)
	}
	var raw [2 * coordinate]byte
	x.FillBytes(raw[:coordinate])
	y.FillBytes(raw[coordinate:])
	return protected, body, b64.EncodeToString(raw[:]), nil
}

// Verify returns the payload of a compact JWS of the type typ that a key of p signed, and that key's id. The error is ErrMalformed, ErrUnknownKey or
// ErrSignature. Times in the payload are the caller's to check.
func (r *Ring) Verify(p Purpose, typ, compact string) (payload []byte, kid string, err error) {
	s, err := r.state(p)
	if err != nil {
		return nil, "", err
	}
	if err := checkType(typ); err != nil {
		return nil, "", err
	}
	if len(compact) > MaxToken {
		return nil, "", fmt.Errorf("%w: over %d characters", ErrMalformed, MaxToken)
	}
	protected, rest, _ := strings.Cut(compact, ".")
	body, signature, ok := strings.Cut(rest, ".")
	if !ok || len(signature) != b64.EncodedLen(2*coordinate) {
		return nil, "", ErrMalformed
	}
	key := signerOf(s.believed(r.c.Now()), protected, typ)
	if key == nil {
		return nil, "", ErrUnknownKey
	}
	raw, err := decode(signature)
	if err != nil || len(raw) != 2*coordinate {
		return nil, "", ErrMalformed
	}
	if payload, err = decode(body); err != nil {
		return nil, "", ErrMalformed
	}
	sum := signingInput(protected, body)
	x, y := new(big.Int).SetBytes(raw[:coordinate]), new(big.Int).SetBytes(raw[coordinate:])
	if !ecdsa.Verify(key.key, sum[:], x, y) {
		return nil, "", ErrSignature
	}
	return payload, key.kid, nil
}

// signerOf returns the key that would have written the protected header.
func signerOf(keys []*publicKey, protected, typ string) *publicKey {
	for _, k := range keys {
		if k.protected(typ) == protected {
			return k
		}
	}
	return nil
}

// decode takes the one spelling that the encoder writes: the decoder by itself skips line breaks.
func decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, ErrMalformed
	}
	return b64.Strict().DecodeString(text)
}

func signingInput(protected, body string) [sha256.Size]byte {
	b := make([]byte, 0, len(protected)+1+len(body))
	b = append(b, protected...)
	b = append(b, '.')
	b = append(b, body...)
	return sha256.Sum256(b)
}
