package envelope

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/vouchsafe/vouchsafe/attest/jcs"
)

// hpkeInfo separates the keys of these envelopes from everything else an HPKE key might be used for.
const hpkeInfo = "vouchsafe hpke envelope v1"

// suite is a combination of RFC 9180 algorithms, and the encapsulation's size in bytes.
type suite struct {
	kem      hpke.KEM
	kdf      hpke.KDF
	aead     hpke.AEAD
	encapped int
}

var suites = map[string]suite{
	HPKEX:     {hpke.DHKEM(ecdh.X25519()), hpke.HKDFSHA256(), hpke.AES256GCM(), 32},
	HPKEXWing: {hpke.MLKEM768X25519(), hpke.HKDFSHA256(), hpke.AES256GCM(), 1088 + 32},
}

// smallOrderPoints are the u-coordinates of Curve25519 and its twist whose order divides 8, little-endian, without the bit that X25519
// ignores: 0, 1, the two of order 8, p-1, and p and p+1, which are 0 and 1 again.
var smallOrderPoints = map[string]bool{
	unhex("0000000000000000000000000000000000000000000000000000000000000000"): true,
	unhex("0100000000000000000000000000000000000000000000000000000000000000"): true,
	unhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"): true,
	unhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"): true,
	unhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"): true,
	unhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"): true,
	unhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"): true,
}

// smallOrder reports whether an X25519 public key makes the shared secret zero for everybody. Encapsulating would find out; a
// bad key is to be refused where it is presented and not at the first secret, and for nothing.
func smallOrder(key []byte) bool {
	masked := slices.Clone(key)
	masked[len(masked)-1] &= 0x7f
	return smallOrderPoints[string(masked)]
}

func unhex(s string) string {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err) // a constant above is mistyped
	}
	return string(b)
}

// Context is what an HPKE envelope is bound to. Both sides must have the same one: the broker from its decision, the client from
// what it asked for and the signed reply. Any string may be empty, but must then be so on both sides.
type Context struct {
	Secret       string // the secret's name
	Version      uint64 // its version, at most 2^53
	PolicyDigest string // digest of the policies that allowed it, as the reply has it
	Nonce        string // the challenge's, as the challenge had it
	Decision     string // id of the decision that released it
}

// aad returns the RFC 8785 form: {"decision":…,"nonce":…,"policy":…,"secret":…,"version":…}.
func (c Context) aad() ([]byte, error) {
	return jcs.Marshal(map[string]any{
		"decision": c.Decision, "nonce": c.Nonce, "policy": c.PolicyDigest, "secret": c.Secret, "version": c.Version,
	})
}

// SealHPKE encrypts plaintext, of at most [MaxPlaintext] bytes, as an HPKE envelope bound to ctx. It is an error for a key that
// takes a JWE.
func (r *Recipient) SealHPKE(ctx Context, plaintext []byte) ([]byte, error) {
	if r.hpke == nil {
		return nil, fmt.Errorf("envelope: a key for %s cannot take an HPKE envelope", r.algorithm)
	}
	if len(plaintext) > MaxPlaintext {
		return nil, fmt.Errorf("envelope: %w of %d bytes", ErrPlaintext, MaxPlaintext)
	}
	aad, err := ctx.aad()
	if err != nil {
		return nil, fmt.Errorf("envelope: context: %w", err)
	}
	s := suites[r.algorithm]
	encapsulated, sender, err := hpke.NewSender(r.hpke, s.kdf, s.aead, []byte(hpkeInfo))
	if err != nil {
		return nil, fmt.Errorf("envelope: encapsulating: %w", err)
	}
	ciphertext, err := sender.Seal(aad, plaintext)
	if err != nil {
		return nil, fmt.Errorf("envelope: sealing: %w", err)
	}
	const names = 96 // of the members and the algorithm, with their punctuation
	b := make([]byte, 0, names+(len(encapsulated)+len(ciphertext))*4/3+8)
	b = append(b, `{"alg":"`+r.algorithm+`","encapsulated_key":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, encapsulated)
	b = append(b, `","ciphertext":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, ciphertext)
	return append(b, `"}`...), nil
}
