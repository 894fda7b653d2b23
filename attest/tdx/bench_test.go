package tdx

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
)

// BenchmarkVerify prints, as x-floor, how many times the bare check of the quote's signature an appraisal costs, measured in the same run:
// warm, with a platform that is known, and cold, with one that is not, and for the floor of cold the four signatures of the evidence. The
// budget of warm is 1.15.
func BenchmarkVerify(b *testing.B) {
	s := goodSetup(b)
	q := s.quote(4, dcaptest.BodyTD10)
	raw := q.Bytes()
	signature := raw[len(q.Signed())+4:][:64]
	for _, form := range []struct {
		name     string
		evidence []byte
	}{{"binary", raw}, {"json", kbs(raw, "null")}} {
		in := attest.Input{Evidence: form.evidence, Binding: attest.BoundTo(dcaptest.Binding), Time: dcaptest.Now}
		verify := func(v *Verifier) {
			if _, err := v.Verify(b.Context(), in); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("warm/"+form.name, func(b *testing.B) {
			verify(s.verifier)
			measure(b, q, signature, 1, func() *Verifier { return s.verifier }, verify)
		})
		b.Run("cold/"+form.name, func(b *testing.B) {
			measure(b, q, signature, 4, func() *Verifier { return verifier(b, s.service, world().Roots()) }, verify)
		})
	}
}

// measure runs f, and after each run the hash and the signature check that no appraisal can do without, as many times as given, so that both see the
// same noise of the machine. Medians are compared, which a busy machine disturbs least. The benchmark's own clock runs through both: to stop it
// takes a stop of the world, which would be seen in what follows.
func measure(b *testing.B, q *dcaptest.Quote, signature []byte, signatures int, next func() *Verifier, f func(*Verifier)) {
	signed := q.Signed()
	x, y := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	var ours, floor []time.Duration
	for b.Loop() {
		v := next()
		start := time.Now()
		f(v)
		ours = append(ours, time.Since(start))
		start = time.Now()
		for range signatures {
			digest := sha256.Sum256(signed)
			if !ecdsa.Verify(&q.Key.PublicKey, digest[:], x, y) {
				b.Fatal("the signature does not verify")
			}
		}
		floor = append(floor, time.Since(start))
	}
	b.ReportMetric(float64(median(ours)), "ns/appraisal")
	b.ReportMetric(float64(median(ours))/float64(median(floor)), "x-floor")
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
