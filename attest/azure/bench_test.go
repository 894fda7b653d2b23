package azure

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// BenchmarkVerify prints, as x-floor, how many times the bare public-key operations an appraisal of real evidence costs, measured in
// the same run: warm, with a chain that is known, and cold. They are the check of the quote's signature by the attestation key and, on SEV-SNP,
// of the report's by the chip. The budget of warm is 1.3.
func BenchmarkVerify(b *testing.B) {
	for _, test := range real[:3] {
		text := vectors.Read(b, test.file)
		in := attest.Input{Evidence: text, Binding: attest.BoundTo([]byte(test.bound)), Time: recorded}
		verify := func(v *Verifier) {
			if _, err := v.Verify(b.Context(), in); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("warm/"+test.file, func(b *testing.B) {
			v := test.verifier(b)
			verify(v)
			measure(b, floor(b, text), func() { verify(v) })
		})
		b.Run("cold/"+test.file, func(b *testing.B) {
			measure(b, floor(b, text), func() { verify(test.verifier(b)) })
		})
	}
	text := vectors.Read(b, real[2].file)
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e, err := ParseEvidence(attest.AzSNPvTPM, text)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := ParseHCLReport(e.HCLReport); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// floor returns the public-key operations that no appraisal of text can do without.
func floor(b *testing.B, text []byte) func() {
	e, err := ParseEvidence(attest.AzSNPvTPM, text)
	if err != nil {
		b.Fatal(err)
	}
	report, err := ParseHCLReport(e.HCLReport)
	if err != nil {
		b.Fatal(err)
	}
	cert, err := x509.ParseCertificate(e.VCEK)
	if err != nil {
		b.Fatal(err)
	}
	chip := cert.PublicKey.(*ecdsa.PublicKey)
	scalar := func(at int) *big.Int {
		little := slices.Clone(report.Hardware[at:][:48])
		slices.Reverse(little)
		return new(big.Int).SetBytes(little)
	}
	r, s := scalar(snp.SignedSize), scalar(snp.SignedSize+72)
	return func() {
		quoted := sha256.Sum256(e.Message)
		if err := rsa.VerifyPKCS1v15(report.Runtime.AK, crypto.SHA256, quoted[:], e.Signature); err != nil {
			b.Fatal(err)
		}
		signed := sha512.Sum384(report.Hardware[:snp.SignedSize])
		if !ecdsa.Verify(chip, signed[:], r, s) {
			b.Fatal("the report's signature does not verify")
		}
	}
}

// measure runs f, and after each run, outside the time of the benchmark, floor, so that both see the same noise of the machine. Medians
// are compared, which a busy machine disturbs least.
func measure(b *testing.B, floor, f func()) {
	var ours, least []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		f()
		ours = append(ours, time.Since(start))
		b.StopTimer()
		start = time.Now()
		floor()
		least = append(least, time.Since(start))
		b.StartTimer()
	}
	b.ReportMetric(float64(median(ours))/float64(median(least)), "x-floor")
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
