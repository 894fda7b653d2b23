package csv

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
)

// Sizes of keys and signatures, in bytes.
const (
	scalarField = 72 // a coordinate or a part of a signature
	scalarSize  = 32 // what SM2 fills of it
	maxIdentity = 254
	offIdentity = 4 + 2*scalarField // in a key, after its curve and its point: the size of the identity, then the identity
	keySize     = offIdentity + 2 + maxIdentity
	sigSize     = 2 * scalarField
)

// curveSM2 is the number of the curve that SM2 is on (GB/T 32918.5).
const curveSM2 = 3

// Usages of keys.
const (
	usageHSK = 0x0013
	usagePEK = 0x1002
	usageCEK = 0x1004
)

// algorithmSM2 is the number of SM2 signatures with SM3.
const algorithmSM2 = 4

// publicKey is a key of SM2 and the identity that is hashed with what it signs.
type publicKey struct {
	key      *ecdsa.PublicKey
	identity []byte
	prefix   []byte            // the digest of identity, curve and key that everything it signs begins with (ZA of GB/T 32918.2, section 5.5)
	name     [sha256.Size]byte // SHA-256 over x and y, big-endian
}

// newKey returns the key at point, uncompressed.
func newKey(point, identity []byte) (*publicKey, error) {
	key, err := sm2.NewPublicKey(point)
	if err != nil {
		return nil, errors.New("a point that is not on the curve")
	}
	prefix, err := sm2.CalculateZA(key, identity)
	if err != nil {
		return nil, err
	}
	return &publicKey{key, bytes.Clone(identity), prefix, sha256.Sum256(point[1:])}, nil
}

// root is the Hygon root key (HRK). Hygon publishes its certificate at https://cert.hygon.cn/hrk; the same key is in
// Hygon's verifier of the projects inclavare-containers (rats-tls, hygoncert.c) and librats, from where it was taken.
const root = "04" +
	"be62e14d62a4f14cf3d702db09563a75c80935e785cd1f502af5f21d92c2f62d" +
	"3bab123a57bb7015584f8b97164e95384a640c10b9be884738744d68b41eb946"

// rootIdentity is the identity of the root key.
const rootIdentity = "HYGON-SSD-HRK"

// pinnedRoot is the SHA-256 of the root's point, so that a slip of one digit is found when a verifier is made.
const pinnedRoot = "bd1af28a0d2f64e894feb69e0eb6075e629d3a9e3a4e8cf116d92490c590534a"

// hygonRoot returns the root that is built in.
func hygonRoot() (*publicKey, error) {
	point, err := hex.DecodeString(root)
	if err != nil {
		return nil, fmt.Errorf("csv: the root that is built in: %w", err)
	}
	if digest := sha256.Sum256(point); hex.EncodeToString(digest[:]) != pinnedRoot {
		return nil, errors.New("csv: the root that is built in is not the one that is pinned")
	}
	key, err := newKey(point, []byte(rootIdentity))
	if err != nil {
		return nil, fmt.Errorf("csv: the root that is built in: %w", err)
	}
	return key, nil
}

// scalar reads a number of scalarSize bytes, little-endian in a field of scalarField; false when there is more in the field.
func scalar(field []byte) ([]byte, bool) {
	b := slices.Clone(field[:scalarSize])
	slices.Reverse(b)
	return b, !slices.ContainsFunc(field[scalarSize:scalarField], func(c byte) bool { return c != 0 })
}

// parseKey reads a key of keySize bytes.
func parseKey(b []byte) (*publicKey, error) {
	if curve := le.Uint32(b); curve != curveSM2 {
		return nil, fmt.Errorf("a key on the curve %d, not on that of SM2", curve)
	}
	x, okX := scalar(b[4:])
	y, okY := scalar(b[4+scalarField:])
	if !okX || !okY {
		return nil, errors.New("a coordinate of more than 32 bytes")
	}
	// An empty identity would be taken for the default one.
	n := int(le.Uint16(b[offIdentity:]))
	if n == 0 || n > maxIdentity {
		return nil, fmt.Errorf("an identity of %d bytes, not 1 to %d", n, maxIdentity)
	}
	return newKey(slices.Concat([]byte{4}, x, y), b[offIdentity+2:][:n])
}

// equal reports whether k and other are one key under one identity.
func (k *publicKey) equal(other *publicKey) bool {
	return k == other || k.name == other.name && bytes.Equal(k.identity, other.identity)
}

// signed reports whether k signed message. signature has sigSize bytes.
func (k *publicKey) signed(message, signature []byte) bool {
	r, okR := scalar(signature)
	s, okS := scalar(signature[scalarField:])
	return okR && okS && k.verify(message, new(big.Int).SetBytes(r), new(big.Int).SetBytes(s))
}

// verify is the verification of SM2 (GB/T 32918.2, section 7).
func (k *publicKey) verify(message []byte, r, s *big.Int) bool {
	h := sm3.New()
	h.Write(k.prefix)
	h.Write(message)
	return sm2.Verify(k.key, h.Sum(nil), r, s)
}
