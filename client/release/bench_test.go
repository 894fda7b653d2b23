package release

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// BenchmarkDecodeRequest reads a request with evidence as an extended SNP report has it: a report and two certificates.
func BenchmarkDecodeRequest(b *testing.B) {
	request := Request{
		Nonce: nonce, Recipient: json.RawMessage(`{"kty":"AKP","alg":"HPKE-XWING-SHA256-A256GCM","pub":"` + strings.Repeat("A", 1622) + `"}`),
		Evidence: Evidence{Kind: "snp", Data: make([]byte, 5<<10)}, Secrets: []Want{{Name: "payments/db/password"}},
	}
	body, err := json.Marshal(request)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeRequest(body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen verifies a signed reply with one secret in it; x-floor is to the bare ECDSA verification.
func BenchmarkOpen(b *testing.B) {
	s := newSigner(b, "a")
	keys, err := ParseKeys(jwks(b, s.public()))
	if err != nil {
		b.Fatal(err)
	}
	signed := s.sign(b, ReplyType, []byte(goodReply))
	digest := sha256.Sum256(signed)
	signature, err := ecdsa.SignASN1(rand.Reader, s.key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	var inFloor time.Duration
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		start := time.Now()
		ecdsa.VerifyASN1(&s.key.PublicKey, digest[:], signature)
		inFloor += time.Since(start)
		b.StartTimer()
		payload, err := keys.Open(signed)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := DecodeReply(payload); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(inFloor), "x-floor")
}
