package snp

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/ratio"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// BenchmarkVerify prints, as x-floor, how many times the bare check of the report's signature an appraisal costs, measured in the
// same run: warm, with a chain that is known, and cold, with one that is not. The budget of warm is 1.15.
func BenchmarkVerify(b *testing.B) {
	text := vectors.Read(b, "snp/genoa-v3-evidence.json")
	ev, err := Parse(text)
	if err != nil {
		b.Fatal(err)
	}
	binary := append(ev.Report.Marshal(), ev.Certificates.Table()...)
	newVerifier := func() *Verifier {
		v, err := New(Config{})
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
	for _, form := range []struct {
		name     string
		evidence []byte
	}{{"binary", binary}, {"json", text}} {
		in := attest.Input{Evidence: form.evidence, Binding: attest.BoundTo(ev.Report.ReportData[:]), Time: recorded}
		verify := func(v *Verifier) {
			if _, err := v.Verify(b.Context(), in); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("warm/"+form.name, func(b *testing.B) {
			v := newVerifier()
			verify(v)
			ratio.Measure(b, ratio.Work{Run: func() { verify(v) }, Floor: floor(b, ev, v), Budget: 1.15})
		})
		b.Run("cold/"+form.name, func(b *testing.B) {
			v := newVerifier()
			ratio.Measure(b, ratio.Work{
				Prepare: func() { v.cache = newChainCache(1) }, Run: func() { verify(v) }, Floor: floor(b, ev, v),
			})
		})
	}
	b.Run("parse/json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Parse(text); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// floor is the hash and the ECDSA check that no appraisal can do without.
func floor(b *testing.B, ev *Evidence, v *Verifier) func() {
	c, err := verifyChain(ev.Certificates.VCEK, nil, v.anchors)
	if err != nil {
		b.Fatal(err)
	}
	x, _ := scalar(&ev.Report.R)
	y, _ := scalar(&ev.Report.S)
	return func() {
		digest := sha512.Sum384(ev.Raw[:SignedSize])
		if !ecdsa.Verify(c.endorsement.Key, digest[:], x, y) {
			b.Fatal("the signature does not verify")
		}
	}
}
