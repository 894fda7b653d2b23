package snp

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
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
		b.Run("warm/endorsed/"+form.name, func(b *testing.B) { // with a revocation list that is looked up at every appraisal
			v := endorsedVerifier(b, ev)
			in := in
			if form.name == "binary" {
				in.Evidence = in.Evidence[:ReportSize] // and the certificate too
			}
			verify := func() {
				if _, err := v.Verify(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
			verify()
			ratio.Measure(b, ratio.Work{Run: verify, Floor: floor(b, ev, v), Budget: 1.15})
		})
		b.Run("cold/"+form.name, func(b *testing.B) {
			v := newVerifier()
			ratio.Measure(b, ratio.Work{
				Prepare: func() { v.chains = verified.NewCache[*chain](1) }, Run: func() { verify(v) }, Floor: floor(b, ev, v),
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

// endorsedVerifier has the real certificate on a shelf and, since no real list is at hand, Genoa's list as it was parsed from one.
func endorsedVerifier(b *testing.B, ev *Evidence) *Verifier {
	b.Helper()
	s := newShelf()
	s.put(must(EndorsementNames(&ev.Report))[0], ev.Certificates.VCEK, recorded)
	s.put(CRLName(Genoa), []byte("list"), recorded)
	v, err := New(Config{Endorsements: s, RequireLists: true})
	if err != nil {
		b.Fatal(err)
	}
	v.lists[Genoa].Store(&parsedList{
		digest: s.items[CRLName(Genoa)].Digest,
		list:   &revocations{serials: map[string]bool{"x": true}, thisUpdate: recorded, nextUpdate: recorded.AddDate(1, 0, 0)},
	})
	return v
}
