package main

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"

	"github.com/vouchsafe/vouchsafe/broker/envelope"
)

// The public-key operations that floors are made of. Each returned function is one of them.

func verifyP384() func() {
	key := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	digest := sha512.Sum384([]byte("report"))
	signature := must(ecdsa.SignASN1(rand.Reader, key, digest[:]))
	return func() {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			panic("a good signature")
		}
	}
}

func verifyRSA(bits int) func() {
	key := must(rsa.GenerateKey(rand.Reader, bits))
	digest := sha512.Sum384([]byte("certificate"))
	signature := must(rsa.SignPSS(rand.Reader, key, crypto.SHA384, digest[:], nil))
	return func() { check(rsa.VerifyPSS(&key.PublicKey, crypto.SHA384, digest[:], signature, nil)) }
}

func signP256() func() {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	digest := sha256.Sum256([]byte("reply"))
	return func() { must(ecdsa.SignASN1(rand.Reader, key, digest[:])) }
}

func signEd25519() func() {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	check(err)
	message := make([]byte, 100)
	return func() { ed25519.Sign(key, message) }
}

// wrapping does what wrapping a content key to a recipient key of a type cannot do without.
func wrapping(kind envelope.KeyType) func() {
	agree := func(curve ecdh.Curve) func() {
		public := must(curve.GenerateKey(rand.Reader)).PublicKey()
		return func() { must(must(curve.GenerateKey(rand.Reader)).ECDH(public)) }
	}
	switch kind {
	case envelope.P256:
		return agree(ecdh.P256())
	case envelope.P521:
		return agree(ecdh.P521())
	case envelope.X25519:
		return agree(ecdh.X25519())
	case envelope.XWing:
		classical, quantum := agree(ecdh.X25519()), must(mlkem.GenerateKey768()).EncapsulationKey()
		return func() { classical(); quantum.Encapsulate() }
	default:
		key := must(rsa.GenerateKey(rand.Reader, 3072))
		return func() { must(rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, make([]byte, 32), nil)) }
	}
}

// all makes one function of several.
func all(fs ...func()) func() {
	return func() {
		for _, f := range fs {
			f()
		}
	}
}
