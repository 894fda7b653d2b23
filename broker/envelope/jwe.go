package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

const (
	gcmNonceSize = 12
	gcmTagSize   = 16
)

// keyWrapper encrypts a content key to one public key, as a JWE does it.
type keyWrapper interface {
	// wrap returns the protected header, serialised, and the encrypted key.
	wrap(contentKey []byte) (header, encrypted []byte, err error)
}

// SealJWE encrypts plaintext, of at most [MaxPlaintext] bytes, as a JWE in the flattened JSON form of RFC 7516, section 7.2.2.
// It is an error for an HPKE key.
func (r *Recipient) SealJWE(plaintext []byte) ([]byte, error) {
	if r.jwe == nil {
		return nil, fmt.Errorf("envelope: a key for %s cannot take a JWE", r.algorithm)
	}
	material := make([]byte, contentKeySize+gcmNonceSize)
	rand.Read(material) // never fails
	defer clear(material)
	return sealJWE(r.jwe, material[:contentKeySize], material[contentKeySize:], plaintext)
}

// sealJWE is SealJWE with given content key and nonce. They must never be used twice; known-answer tests fix them.
func sealJWE(wrapper keyWrapper, contentKey, nonce, plaintext []byte) ([]byte, error) {
	if len(plaintext) > MaxPlaintext {
		return nil, fmt.Errorf("envelope: %w of %d bytes", ErrPlaintext, MaxPlaintext)
	}
	header, encrypted, err := wrapper.wrap(contentKey)
	if err != nil {
		return nil, fmt.Errorf("envelope: wrapping a content key: %w", err)
	}
	gcm, err := contentCipher(contentKey)
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	protected := base64.RawURLEncoding.AppendEncode(nil, header)
	sealed := gcm.Seal(make([]byte, 0, len(plaintext)+gcmTagSize), nonce, plaintext, protected)
	tag := sealed[len(plaintext):]

	const names = 80 // of the members with their punctuation
	b := make([]byte, 0, names+len(protected)+(len(encrypted)+len(nonce)+len(sealed))*4/3+8)
	b = append(b, `{"protected":"`...)
	b = append(b, protected...)
	b = append(b, `","encrypted_key":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, encrypted)
	b = append(b, `","iv":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, nonce)
	b = append(b, `","ciphertext":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, sealed[:len(plaintext)])
	b = append(b, `","tag":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, tag)
	return append(b, `"}`...), nil
}

func contentCipher(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// ecdhWrapper agrees on a key with an ephemeral one and wraps the content key with it (RFC 7518, section 4.6).
type ecdhWrapper struct {
	curve     namedCurve
	key       *ecdh.PublicKey
	ephemeral *ecdh.PrivateKey // nil for a fresh one each time; known-answer tests fix it
}

func (w *ecdhWrapper) wrap(contentKey []byte) (header, encrypted []byte, err error) {
	ephemeral := w.ephemeral
	if ephemeral == nil {
		if ephemeral, err = w.curve.GenerateKey(rand.Reader); err != nil {
			return nil, nil, err
		}
	}
	z, err := ephemeral.ECDH(w.key)
	if err != nil {
		return nil, nil, err
	}
	kek := deriveKEK(z)
	defer clear(kek)
	if encrypted, err = wrapKey(kek, contentKey); err != nil {
		return nil, nil, err
	}
	point := ephemeral.PublicKey().Bytes()[1:] // without SEC 1's leading 4
	header = append(header, `{"alg":"`+ECDHES+`","enc":"A256GCM","epk":{"crv":"`+w.curve.name+`","kty":"EC","x":"`...)
	header = base64.RawURLEncoding.AppendEncode(header, point[:w.curve.size])
	header = append(header, `","y":"`...)
	header = base64.RawURLEncoding.AppendEncode(header, point[w.curve.size:])
	return append(header, `"}}`...), encrypted, nil
}

// rsaWrapper encrypts the content key with RSA (RFC 7518, sections 4.2 and 4.3).
type rsaWrapper struct {
	alg string
	key *rsa.PublicKey
}

func (w *rsaWrapper) wrap(contentKey []byte) (header, encrypted []byte, err error) {
	if w.alg == RSA15 {
		encrypted, err = rsa.EncryptPKCS1v15(rand.Reader, w.key, contentKey) //nolint:staticcheck // an operator turned it on
	} else {
		encrypted, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, w.key, contentKey, nil)
	}
	return []byte(`{"alg":"` + w.alg + `","enc":"A256GCM"}`), encrypted, err
}
