package envelope

import (
	"crypto/aes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

// contentKeySize is the size of a content key and of the key that wraps it, in bytes: AES-256.
const contentKeySize = 32

// keyWrapIV is the initial value of RFC 3394, section 2.2.3.1, which unwrapping must give back.
var keyWrapIV = [8]byte{0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6}

var errUnwrap = errors.New("the wrapped key does not verify")

// wrapKey is the AES key wrap of RFC 3394, section 2.2.1 (the index-based form), of a key of two or more 8-byte blocks.
func wrapKey(kek, key []byte) ([]byte, error) {
	if len(key) < 16 || len(key)%8 != 0 {
		return nil, errors.New("a key to be wrapped has 16 or more bytes, in blocks of 8")
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	n := len(key) / 8
	out := make([]byte, 8+len(key))
	copy(out[8:], key)
	var b [16]byte // A in the first half, R[i] in the second
	copy(b[:8], keyWrapIV[:])
	for t := range 6 * n {
		r := out[8+8*(t%n):][:8]
		copy(b[8:], r)
		block.Encrypt(b[:], b[:])
		binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])^uint64(t+1))
		copy(r, b[8:])
	}
	copy(out, b[:8])
	return out, nil
}

// unwrapKey undoes wrapKey (RFC 3394, section 2.2.2). The integrity value is compared in constant time.
func unwrapKey(kek, wrapped []byte) ([]byte, error) {
	if len(wrapped) < 24 || len(wrapped)%8 != 0 {
		return nil, errUnwrap
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	n := len(wrapped)/8 - 1
	key := make([]byte, 8*n)
	copy(key, wrapped[8:])
	var b [16]byte
	copy(b[:8], wrapped)
	for t := 6*n - 1; t >= 0; t-- {
		r := key[8*(t%n):][:8]
		binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])^uint64(t+1))
		copy(b[8:], r)
		block.Decrypt(b[:], b[:])
		copy(r, b[8:])
	}
	if subtle.ConstantTimeCompare(b[:8], keyWrapIV[:]) != 1 {
		clear(key)
		return nil, errUnwrap
	}
	return key, nil
}

// deriveKEK is the Concat KDF of RFC 7518, section 4.6.2, for a 256-bit key of ECDH-ES+A256KW without party information.
// One round of SHA-256 gives all the bits there are.
func deriveKEK(z []byte) []byte {
	h := sha256.New()
	h.Write([]byte{0, 0, 0, 1}) // the round
	h.Write(z)
	h.Write([]byte{0, 0, 0, byte(len(ECDHES))})
	h.Write([]byte(ECDHES))           // AlgorithmID
	h.Write([]byte{0, 0, 0, 0})       // PartyUInfo
	h.Write([]byte{0, 0, 0, 0})       // PartyVInfo
	h.Write([]byte{0, 0, 1, 0})       // SuppPubInfo: 256
	return h.Sum(make([]byte, 0, 32)) // SuppPrivInfo is empty
}
