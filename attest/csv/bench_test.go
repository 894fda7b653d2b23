package csv

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/internal/jsonscan"
	"github.com/vouchsafe/vouchsafe/internal/ratio"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// BenchmarkVerify measures an appraisal against what none can do without: warm, the SM2 check of the report with the digest of its key made
// before; reading, from decimal, the bytes that signatures in the evidence cover, a fourth of the numbers in it; and SHA-256 of the
// certificates, by which alone they can be known again. Cold, the SM2 checks of the certificates besides.
func BenchmarkVerify(b *testing.B) {
	c := newChip(b)
	for _, version := range []int{1, 2} {
		for _, bring := range []bool{true, false} {
			e := c.evidence(b, version)
			report, err := parseReport(e.magic, e.page, uint32(e.flags))
			if err != nil {
				b.Fatal(err)
			}
			hsk, both := e.hsk, append(slices.Clone(e.hsk), e.cek...)
			name := "chain"
			if !bring {
				e.hsk, name = nil, "endorsed"
			}
			in := input(e.json(b))
			fresh := func() *Verifier {
				return c.verifier(b, store{items: map[string][]byte{EndorsementName("KPA6491124005007"): both}})
			}
			v := fresh()
			verify := func() {
				if _, err := v.Verify(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
			pek, cek, hskKey, hrk := c.pekKey.public(), c.cekKey.public(), c.hskKey.public(), c.hrk.public()
			covered := slices.Concat(report.signed, e.pek[:certSigned])
			if bring {
				covered = slices.Concat(covered, hsk[:hskSigned], e.cek[:certSigned])
			}
			decimal := marshal(b, ints(covered))
			warm := func() {
				jsonscan.New(decimal).Fill(covered)
				if bring {
					sha256.Sum256(both)
				}
				sha256.Sum256(e.pek)
				if !pek.signed(report.signed, report.signature) {
					b.Fatal("the signature does not verify")
				}
			}
			cold := func() {
				warm()
				if !hrk.signed(hsk[:hskSigned], hsk[offHSKSig:][:sigSize]) || !signedBy(e.cek, hskKey, usageHSK) || !signedBy(e.pek, cek, usageCEK) {
					b.Fatal("a certificate does not verify")
				}
			}
			verify()
			b.Run(fmt.Sprintf("warm/v%d-%s", version, name), func(b *testing.B) {
				ratio.Measure(b, ratio.Work{Run: verify, Floor: warm, Budget: 1.3})
			})
			b.Run(fmt.Sprintf("cold/v%d-%s", version, name), func(b *testing.B) {
				ratio.Measure(b, ratio.Work{Prepare: func() { v = fresh() }, Run: verify, Floor: cold})
			})
		}
	}
}

// BenchmarkParse reads a real platform's evidence, which came without the certificates of HSK and CEK.
func BenchmarkParse(b *testing.B) {
	text := vectors.Read(b, "csv/evidence.json")
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
