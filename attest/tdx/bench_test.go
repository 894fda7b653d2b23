package tdx

import (
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
	"github.com/vouchsafe/vouchsafe/internal/ratio"
)

// BenchmarkVerify measures an appraisal in both forms: warm, with a platform that is known, and cold, with one that is not, where the floor is of
// the four signatures of the evidence.
func BenchmarkVerify(b *testing.B) {
	s := goodSetup(b)
	q := s.quote(4, dcaptest.BodyTD10)
	raw := q.Bytes()
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
			ratio.Measure(b, ratio.Work{Run: func() { verify(s.verifier) }, Floor: q.Floor(b, 1), Budget: 1.15})
		})
		b.Run("cold/"+form.name, func(b *testing.B) {
			var v *Verifier
			ratio.Measure(b, ratio.Work{
				Prepare: func() { v = verifier(b, s.service, dcaptest.Shared().Roots()) }, Run: func() { verify(v) }, Floor: q.Floor(b, 4),
			})
		})
	}
}
