package nvidia

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"encoding/base64"
	"math/big"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/nvidiatest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/pki"
	"github.com/vouchsafe/vouchsafe/internal/ratio"
)

// BenchmarkVerify measures an appraisal against the bare checks of the reports' signatures, and nothing else: warm, with chains, manifests and
// revocation lists that are known, and cold, with none that are.
func BenchmarkVerify(b *testing.B) {
	evidence, nonce := hopper(b, "hopper_cert_chain_case1.txt")
	manifests := realManifests(b)
	realResponse(b, manifests)
	trust, err := nvidiaRoots()
	if err != nil {
		b.Fatal(err)
	}
	devices, err := Parse(evidence)
	if err != nil {
		b.Fatal(err)
	}
	in := func(evidence []byte) attest.Input {
		return attest.Input{Evidence: evidence, Binding: attest.BoundTo(nonce), Time: recorded}
	}
	encode := base64.StdEncoding.EncodeToString
	inBase64 := evidenceOf(b, wireDevice{Architecture: "HOPPER", UUID: "x", Evidence: encode(devices[0].Report), Certificate: encode(devices[0].Chain)})
	f := newFleet(b)
	var eight []nvidiatest.Wire
	for range 8 {
		eight = append(eight, f.NewDevice("HOPPER", nvidiatest.Shape{}).Present(digest))
	}
	for _, of := range []struct {
		name  string
		in    attest.Input
		store memory
		roots trustRoots
	}{
		{"real-1", in(inBase64), manifests, trust}, {"real-1-hex", in(evidence), manifests, trust},
		{"made-1", input(nvidiatest.Evidence(eight[0])), f.manifests, f.trust()}, {"made-8", input(nvidiatest.Evidence(eight...)), f.manifests, f.trust()},
	} {
		fresh := func() *Verifier {
			v, err := newVerifier(Config{Endorsements: of.store}, of.roots)
			if err != nil {
				b.Fatal(err)
			}
			return v
		}
		v := fresh()
		verify := func() {
			if _, err := v.Verify(b.Context(), of.in); err != nil {
				b.Fatal(err)
			}
		}
		floor := bare(b, of.in.Evidence, of.roots)
		verify()
		b.Run("warm/"+of.name, func(b *testing.B) {
			ratio.Measure(b, ratio.Work{Run: verify, Floor: floor, Budget: 1.3})
		})
		b.Run("cold/"+of.name, func(b *testing.B) {
			ratio.Measure(b, ratio.Work{Prepare: func() { v = fresh() }, Run: verify, Floor: floor})
		})
	}
}

// bare returns the hashes and ECDSA checks of the reports in evidence, which no appraisal can do without.
func bare(b *testing.B, evidence []byte, roots trustRoots) func() {
	b.Helper()
	devices, err := Parse(evidence)
	if err != nil {
		b.Fatal(err)
	}
	type check struct {
		signed []byte
		key    *ecdsa.PublicKey
		r, s   *big.Int
	}
	var checks []check
	for _, d := range devices {
		report, err := ParseReport(d.Report)
		if err != nil {
			b.Fatal(err)
		}
		ders, err := pki.ParsePEM(d.Chain)
		if err != nil {
			b.Fatal(err)
		}
		c, err := verifyChain(ders, roots.device)
		if err != nil {
			b.Fatal(err)
		}
		checks = append(checks, check{report.Signed, c.Key(), new(big.Int).SetBytes(report.R[:]), new(big.Int).SetBytes(report.S[:])})
	}
	return func() {
		for _, c := range checks {
			sum := sha512.Sum384(c.signed)
			if !ecdsa.Verify(c.key, sum[:], c.r, c.s) {
				b.Fatal("the signature does not verify")
			}
		}
	}
}
