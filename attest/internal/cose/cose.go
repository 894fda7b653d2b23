// Package cose reads and checks COSE_Sign1 messages (RFC 9052, section 4.2) as hardware signs them: one ECDSA
// signature, the algorithm alone in the protected header, nothing in the unprotected one, the payload inside.
//
// A message is taken in one encoding only: definite lengths, in the fewest bytes (RFC 8949, section 4.2.1), nothing
// after it, with the tag 18 before it or without. What it says apart from that is covered by its signature. So that two
// messages which differ anywhere but in that tag are two messages, and there is no place in one where bytes can be
// hidden. Payloads are decoded by [Unmarshal], with the same mode for every kind of evidence.
//
// A signature has the curve that its algorithm names, and no other (RFC 9053, section 2.1, leaves that to profiles):
// ES256 is P-256, ES384 is P-384, ES512 is P-521.
package cose

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"github.com/fxamacker/cbor/v2"
)

// Algorithm is a COSE algorithm identifier (RFC 9053, table 1).
type Algorithm int64

// The algorithms that are verified.
const (
	ES256 Algorithm = -7
	ES384 Algorithm = -35
	ES512 Algorithm = -36
)

func (a Algorithm) String() string {
	switch a {
	case ES256:
		return "ES256"
	case ES384:
		return "ES384"
	case ES512:
		return "ES512"
	}
	return fmt.Sprintf("algorithm %d", int64(a))
}

// curve returns the curve whose keys sign with a, nil when none do.
func (a Algorithm) curve() elliptic.Curve {
	switch a {
	case ES256:
		return elliptic.P256()
	case ES384:
		return elliptic.P384()
	case ES512:
		return elliptic.P521()
	}
	return nil
}

// Errors of Parse and Verify.
var (
	// ErrMalformed says that bytes are not a COSE_Sign1 message as this package takes it.
	ErrMalformed = errors.New("not a COSE_Sign1 message")
	// ErrAlgorithm says that a message is signed with another algorithm than those verified, or with a key of another curve.
	ErrAlgorithm = errors.New("signature algorithm")
	// ErrSignature says that the key did not sign the message.
	ErrSignature = errors.New("the signature does not verify")
)

// Sign1 is a message. Its members share the memory it was parsed from.
type Sign1 struct {
	Algorithm Algorithm
	Payload   []byte
	Signature []byte // r and s, each as long as the curve's order
	protected []byte
}

// tagSign1 is the CBOR tag of a COSE_Sign1 message, encoded.
const tagSign1 = 0xd2

// Parse reads a message. Its errors wrap [ErrMalformed]. That data is not too long is for the caller to see to.
func Parse(data []byte) (*Sign1, error) {
	body := data
	if len(body) > 0 && body[0] == tagSign1 {
		body = body[1:]
	}
	var parts []cbor.RawMessage
	if err := Unmarshal(body, &parts); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(parts) != 4 {
		return nil, fmt.Errorf("%w: an array of %d, not 4", ErrMalformed, len(parts))
	}
	var (
		m   Sign1
		err error
	)
	for _, field := range []struct {
		name string
		raw  cbor.RawMessage
		to   *[]byte
	}{{"protected header", parts[0], &m.protected}, {"payload", parts[2], &m.Payload}, {"signature", parts[3], &m.Signature}} {
		if *field.to, err = Bytes(field.raw); err != nil {
			return nil, fmt.Errorf("%w: the %s is %w", ErrMalformed, field.name, err)
		}
	}
	if !bytes.Equal(parts[1], []byte{0xa0}) {
		return nil, fmt.Errorf("%w: its unprotected header is not an empty map", ErrMalformed)
	}
	var header map[int64]int64
	if err := Unmarshal(m.protected, &header); err != nil {
		return nil, fmt.Errorf("%w: its protected header: %w", ErrMalformed, err)
	}
	alg, ok := header[1]
	if !ok || len(header) != 1 {
		return nil, fmt.Errorf("%w: its protected header has other parameters than the algorithm", ErrMalformed)
	}
	m.Algorithm = Algorithm(alg)
	if !bytes.Equal(m.encode(), body) {
		return nil, fmt.Errorf("%w: it is not encoded in the fewest bytes", ErrMalformed)
	}
	return &m, nil
}

// encode returns m without a tag, in the one encoding that is taken.
func (m *Sign1) encode() []byte {
	b := make([]byte, 0, len(m.protected)+len(m.Payload)+len(m.Signature)+32)
	b = append(b, 0x84)
	b = appendBytes(b, m.protected)
	b = append(b, 0xa0)
	b = appendBytes(b, m.Payload)
	return appendBytes(b, m.Signature)
}

// context is the first element of what a COSE_Sign1 message signs, encoded.
const context = "\x6aSignature1"

// Verify checks that key signed m (RFC 9052, section 4.4, with no external data). Its errors wrap [ErrAlgorithm] and
// [ErrSignature].
func (m *Sign1) Verify(key *ecdsa.PublicKey) error {
	curve := m.Algorithm.curve()
	if curve == nil {
		return fmt.Errorf("%w: %v is not verified", ErrAlgorithm, m.Algorithm)
	}
	if key.Curve != curve {
		return fmt.Errorf("%w: %v with a key on %s", ErrAlgorithm, m.Algorithm, key.Curve.Params().Name)
	}
	size := (curve.Params().N.BitLen() + 7) / 8
	if len(m.Signature) != 2*size {
		return fmt.Errorf("%w: it has %d bytes, not %d", ErrSignature, len(m.Signature), 2*size)
	}
	signed := make([]byte, 0, len(context)+len(m.protected)+len(m.Payload)+16)
	signed = append(signed, 0x84)
	signed = append(signed, context...)
	signed = appendBytes(signed, m.protected)
	signed = appendBytes(signed, nil)
	signed = appendBytes(signed, m.Payload)
	r := new(big.Int).SetBytes(m.Signature[:size])
	s := new(big.Int).SetBytes(m.Signature[size:])
	if !ecdsa.Verify(key, m.Algorithm.digest(signed), r, s) {
		return ErrSignature
	}
	return nil
}

// digest hashes data with the hash of a.
func (a Algorithm) digest(data []byte) []byte {
	switch a {
	case ES256:
		d := sha256.Sum256(data)
		return d[:]
	case ES384:
		d := sha512.Sum384(data)
		return d[:]
	}
	d := sha512.Sum512(data)
	return d[:]
}

// majorBytes is CBOR's major type 2, a string of bytes, in the place it has in a head.
const majorBytes = 2 << 5

// appendBytes appends a string of bytes with its head in the fewest bytes.
func appendBytes(b, s []byte) []byte {
	switch n := len(s); {
	case n < 24:
		b = append(b, majorBytes|byte(n))
	case n < 1<<8:
		b = append(b, majorBytes|24, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, majorBytes|25), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, majorBytes|26), uint32(n))
	}
	return append(b, s...)
}
