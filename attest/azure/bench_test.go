package azure

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/internal/ratio"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// BenchmarkVerify measures the appraisal of real evidence in every layout: warm, with a chain or platform that is known, and cold. The floor is
// the check of the quote's signature by the attestation key, that of the report's by the chip or of the TD quote's by its key, and
// the hashes without which neither can be judged: of the PCR values, and of the data that the hardware's report is about.
func BenchmarkVerify(b *testing.B) {
	for _, test := range real {
		text := vectors.Read(b, test.file)
		in := attest.Input{Evidence: text, Binding: attest.BoundTo([]byte(test.bound)), Time: recorded}
		verify := func(v *Verifier) {
			if _, err := v.Verify(b.Context(), in); err != nil {
				b.Fatal(err)
			}
		}
		kind, layout, _ := strings.Cut(strings.TrimSuffix(test.file, ".json"), "-vtpm/evidence-")
		name := kind + "-" + layout
		b.Run("warm/"+name, func(b *testing.B) {
			v := test.verifier(b)
			verify(v)
			ratio.Measure(b, ratio.Work{Run: func() { verify(v) }, Floor: floor(b, v.Kind(), text), Budget: 1.3})
		})
		b.Run("cold/"+name, func(b *testing.B) {
			var v *Verifier
			ratio.Measure(b, ratio.Work{
				Prepare: func() { v = test.verifier(b) }, Run: func() { verify(v) }, Floor: floor(b, test.verifier(b).Kind(), text),
			})
		})
	}
}

// floor returns the operations that no appraisal of text can do without.
func floor(b *testing.B, kind attest.Kind, text []byte) func() {
	e, err := ParseEvidence(kind, text)
	if err != nil {
		b.Fatal(err)
	}
	report, err := ParseHCLReport(e.HCLReport)
	if err != nil {
		b.Fatal(err)
	}
	hardware := floorOfTDX
	if kind == attest.AzSNPvTPM {
		hardware = floorOfSNP
	}
	signed := hardware(b, e, report)
	return func() {
		h := sha256.New()
		for _, value := range e.PCRs {
			h.Write(value)
		}
		h.Sum(nil)
		sha256.Sum256(report.Variable)
		quoted := sha256.Sum256(e.Message)
		if err := rsa.VerifyPKCS1v15(report.Runtime.AK, crypto.SHA256, quoted[:], e.Signature); err != nil {
			b.Fatal(err)
		}
		if !signed() {
			b.Fatal("the signature of the hardware's report does not verify")
		}
	}
}

func floorOfSNP(b *testing.B, e *Evidence, report *HCLReport) func() bool {
	cert, err := x509.ParseCertificate(e.VCEK)
	if err != nil {
		b.Fatal(err)
	}
	scalar := func(at int) *big.Int {
		little := slices.Clone(report.Hardware[at:][:48])
		slices.Reverse(little)
		return new(big.Int).SetBytes(little)
	}
	chip, r, s := cert.PublicKey.(*ecdsa.PublicKey), scalar(snp.SignedSize), scalar(snp.SignedSize+72)
	return func() bool {
		digest := sha512.Sum384(report.Hardware[:snp.SignedSize])
		return ecdsa.Verify(chip, digest[:], r, s)
	}
}

// floorOfTDX takes signature and key from where a quote of version 4 has them: after the signed part and the length of what follows.
func floorOfTDX(b *testing.B, e *Evidence, _ *HCLReport) func() bool {
	const header, body = 48, 584
	signed, rest := e.TDQuote[:header+body], e.TDQuote[header+body+4:]
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, rest[64:128]...))
	if err != nil {
		b.Fatal(err)
	}
	r, s := new(big.Int).SetBytes(rest[:32]), new(big.Int).SetBytes(rest[32:64])
	return func() bool {
		digest := sha256.Sum256(signed)
		return ecdsa.Verify(key, digest[:], r, s)
	}
}
