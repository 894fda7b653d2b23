package cca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/cose"
)

// profileRealm2023 is the profile of realm tokens that state one.
const profileRealm2023 = "tag:arm.com,2023:realm#1.0.0"

// Claims of realm tokens; challenge and profile are those of platform tokens.
const (
	claimPersonalization = 44235
	claimRealmHash       = 44236
	claimKey             = 44237
	claimInitial         = 44238
	claimExtensible      = 44239
	claimKeyHash         = 44240
)

// Sizes in bytes, and counts.
const (
	challengeSize       = 64
	personalizationSize = 64
	extensibleCount     = 4
	maxKey              = 512
)

// Realm is what a realm token says.
type Realm struct {
	Profile                string // "" in tokens of the first drafts
	Challenge              [challengeSize]byte
	Personalization        [personalizationSize]byte
	InitialMeasurement     []byte
	ExtensibleMeasurements [extensibleCount][]byte
	Hash                   string
	KeyHash                string // by which the platform's challenge is the digest of the key
	Key                    *ecdsa.PublicKey

	rawKey []byte // as it is in the token, which is what the digest is of
}

func (r *Realm) parse(payload []byte) error {
	c, err := claimsOf(payload)
	if err != nil {
		return err
	}
	r.Profile = c.text(claimProfile, "profile", false)
	if c.err == nil && r.Profile != "" && r.Profile != profileRealm2023 {
		return attest.Refuse(attest.CodeVersionUnsupported, "a realm token of the profile %.80q is not verified", r.Profile)
	}
	copy(r.Challenge[:], c.sized(claimChallenge, "challenge", challengeSize, challengeSize))
	copy(r.Personalization[:], c.sized(claimPersonalization, "personalisation value", personalizationSize, personalizationSize))
	r.InitialMeasurement = c.digest(claimInitial, "initial measurement")
	r.Hash = c.hash(claimRealmHash, "hash algorithm")
	r.KeyHash = c.hash(claimKeyHash, "key's hash algorithm")
	r.rawKey = c.sized(claimKey, "key", 1, maxKey)
	c.extensible(&r.ExtensibleMeasurements)
	if c.err != nil {
		return c.err
	}
	if r.Profile == "" {
		r.Key, err = ecdsa.ParseUncompressedPublicKey(elliptic.P384(), r.rawKey)
	} else {
		r.Key, err = parseCOSEKey(r.rawKey)
	}
	if err != nil {
		return fmt.Errorf("its key: %w", err)
	}
	return nil
}

func (c *claims) extensible(out *[extensibleCount][]byte) {
	raw, ok := c.list[claimExtensible]
	if !ok {
		c.fail("it has no extensible measurements")
		return
	}
	list, err := cose.Array(raw, extensibleCount)
	if err != nil {
		c.fail("its extensible measurements are %w", err)
		return
	}
	if len(list) != extensibleCount {
		c.fail("it has %d extensible measurements, not %d", len(list), extensibleCount)
		return
	}
	for i, raw := range list {
		b, err := cose.Bytes(raw)
		if err == nil && !digestSize(len(b)) {
			err = fmt.Errorf("of %d bytes, not 32, 48 or 64", len(b))
		}
		if err != nil {
			c.fail("its extensible measurement %d is %w", i, err)
			return
		}
		out[i] = b
	}
}

// keyDigest returns the digest of the key that the platform token has.
func (r *Realm) keyDigest() []byte {
	switch r.KeyHash {
	case "sha-256":
		d := sha256.Sum256(r.rawKey)
		return d[:]
	case "sha-384":
		d := sha512.Sum384(r.rawKey)
		return d[:]
	}
	d := sha512.Sum512(r.rawKey) // parse took no other
	return d[:]
}

// Members of a COSE_Key (RFC 9052, section 7, and RFC 9053, section 7.1.1).
const (
	keyType      = 1
	keyAlgorithm = 3
	keyCurve     = -1
	keyX         = -2
	keyY         = -3

	typeEC2 = 2
)

// parseCOSEKey reads a key on P-256, P-384 or P-521 with both coordinates. Other members than these and the algorithm
// are an error: a key that may be used for something else only would be used here.
func parseCOSEKey(raw []byte) (*ecdsa.PublicKey, error) {
	m, err := cose.IntMap(raw)
	if err != nil {
		return nil, fmt.Errorf("it is %w", err)
	}
	if kty, err := cose.Uint(m[keyType]); err != nil || kty != typeEC2 {
		return nil, errors.New("its type is not EC2")
	}
	id, err := cose.Uint(m[keyCurve])
	if err != nil {
		return nil, errors.New("it names no curve")
	}
	curve := map[int64]elliptic.Curve{1: elliptic.P256(), 2: elliptic.P384(), 3: elliptic.P521()}[id]
	if curve == nil {
		return nil, fmt.Errorf("its curve %d is not P-256, P-384 or P-521", id)
	}
	members := 4
	if raw, ok := m[keyAlgorithm]; ok {
		var alg int64
		want := map[int64]cose.Algorithm{1: cose.ES256, 2: cose.ES384, 3: cose.ES512}[id]
		if err := cose.Unmarshal(raw, &alg); err != nil || cose.Algorithm(alg) != want {
			return nil, errors.New("its algorithm is not that of its curve")
		}
		members++
	}
	if len(m) != members {
		return nil, errors.New("it has members that are not judged")
	}
	size := (curve.Params().BitSize + 7) / 8
	point := []byte{4} // uncompressed (SEC 1, section 2.3.3)
	for _, label := range []int64{keyX, keyY} {
		b, err := cose.Bytes(m[label])
		if err != nil || len(b) != size {
			return nil, fmt.Errorf("a coordinate is not a string of %d bytes", size)
		}
		point = append(point, b...)
	}
	return ecdsa.ParseUncompressedPublicKey(curve, point)
}
