package envelope

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"testing"
	"time"
)

// floor does the public-key operations, and only those, that sealing to or opening with a key cannot do without.
type floor func(b *testing.B, key *PrivateKey) (seal, open func())

var floors = map[KeyType]floor{
	P256: curveFloor, P521: curveFloor,
	X25519: func(b *testing.B, key *PrivateKey) (seal, open func()) {
		return x25519Floor(b)
	},
	XWing: func(b *testing.B, key *PrivateKey) (seal, open func()) {
		sealX, openX := x25519Floor(b)
		private, err := mlkem.GenerateKey768()
		if err != nil {
			b.Fatal(err)
		}
		public := private.EncapsulationKey()
		_, encapsulated := public.Encapsulate()
		return func() { sealX(); public.Encapsulate() }, func() { openX(); private.Decapsulate(encapsulated) }
	},
	RSA: func(b *testing.B, key *PrivateKey) (seal, open func()) {
		message := make([]byte, contentKeySize)
		encrypted, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.rsa.PublicKey, message, nil)
		if err != nil {
			b.Fatal(err)
		}
		return func() { rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.rsa.PublicKey, message, nil) },
			func() { rsa.DecryptOAEP(sha256.New(), nil, key.rsa, encrypted, nil) }
	},
}

func curveFloor(b *testing.B, key *PrivateKey) (seal, open func()) {
	return agreement(b, key.ecdh.Curve(), key.ecdh)
}

func x25519Floor(b *testing.B) (seal, open func()) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	return agreement(b, ecdh.X25519(), key)
}

func agreement(b *testing.B, curve ecdh.Curve, key *ecdh.PrivateKey) (seal, open func()) {
	public := key.PublicKey()
	return func() {
		ephemeral, err := curve.GenerateKey(rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		ephemeral.ECDH(public)
	}, func() { key.ECDH(public) }
}

// measure reports how long the operation takes and its ratio to the floor, both from the same run.
func measure(b *testing.B, floor, operation func()) {
	b.ReportAllocs()
	var inFloor time.Duration
	for b.Loop() {
		b.StopTimer()
		start := time.Now()
		floor()
		inFloor += time.Since(start)
		b.StartTimer()
		operation()
	}
	b.ReportMetric(float64(b.Elapsed())/float64(inFloor), "x-floor")
}

func BenchmarkSeal(b *testing.B) {
	plaintext := make([]byte, 64)
	for _, kind := range KeyTypes() {
		b.Run(string(kind), func(b *testing.B) {
			key := newKey(b, kind)
			floor, _ := floors[kind](b, key)
			measure(b, floor, func() {
				if _, err := key.Recipient().Seal(someContext, plaintext); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, kind := range KeyTypes() {
		b.Run(string(kind), func(b *testing.B) {
			key := newKey(b, kind)
			_, floor := floors[kind](b, key)
			sealed, err := key.Recipient().Seal(someContext, make([]byte, 64))
			if err != nil {
				b.Fatal(err)
			}
			measure(b, floor, func() {
				if _, err := key.Open(sealed, someContext); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func BenchmarkParseRecipient(b *testing.B) {
	for _, kind := range KeyTypes() {
		b.Run(string(kind), func(b *testing.B) {
			jwk := newKey(b, kind).PublicJWK()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseRecipient(jwk, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
