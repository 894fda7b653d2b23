package nvidia

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"encoding/base64"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/nvidiatest"
	"github.com/vouchsafe/vouchsafe/attest/nvidia/pki"
)

// BenchmarkVerify prints, as x-floor, how many times the bare check of the reports' signatures an appraisal costs, measured in the same
// run: warm, with chains and manifests that are known, and cold, with none that are. The budget of warm is 1.3.
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
	}{{"real", in(inBase64), manifests, trust}, {"real-hex", in(evidence), manifests, trust}, {"eight", input(nvidiatest.Evidence(eight...)), f.manifests, f.trust()}} {
		fresh := func() *Verifier {
			v, err := newVerifier(Config{Endorsements: of.store}, of.roots)
			if err != nil {
				b.Fatal(err)
			}
			return v
		}
		verify := func(v *Verifier) {
			if _, err := v.Verify(b.Context(), of.in); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("warm/"+of.name, func(b *testing.B) {
			v := fresh()
			verify(v)
			measure(b, of.in.Evidence, of.roots, func() { verify(v) })
		})
		b.Run("cold/"+of.name, func(b *testing.B) {
			measure(b, of.in.Evidence, of.roots, func() { verify(fresh()) })
		})
	}
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Parse(evidence); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// measure runs f, and after each run, outside the time of the benchmark, the hashes and ECDSA checks that no appraisal can do without,
// so that both see the same noise of the machine. Medians are compared, which a busy machine disturbs least.
func measure(b *testing.B, evidence []byte, roots trustRoots, f func()) {
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
	var ours, floor []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		f()
		ours = append(ours, time.Since(start))
		b.StopTimer()
		start = time.Now()
		for _, c := range checks {
			sum := sha512.Sum384(c.signed)
			if !ecdsa.Verify(c.key, sum[:], c.r, c.s) {
				b.Fatal("the signature does not verify")
			}
		}
		floor = append(floor, time.Since(start))
		b.StartTimer()
	}
	b.ReportMetric(float64(median(ours))/float64(median(floor)), "x-floor")
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
