package sgx

import (
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/ratio"
)

// BenchmarkVerify measures an appraisal in both forms, with a platform that is known. The floor is the check of the quote's signature.
func BenchmarkVerify(b *testing.B) {
	s := goodSetup(b)
	q := s.quote(3)
	for _, form := range []struct {
		name     string
		evidence []byte
	}{{"binary", q.Bytes()}, {"json", kbs(q.Bytes())}} {
		b.Run("warm/"+form.name, func(b *testing.B) {
			verify := func() {
				if _, err := s.verify(b, form.evidence); err != nil {
					b.Fatal(err)
				}
			}
			verify()
			ratio.Measure(b, ratio.Work{Run: verify, Floor: q.Floor(b, 1), Budget: 1.3})
		})
	}
}
