package token

import (
	"crypto"
	"slices"
	"testing"
	"time"
)

// BenchmarkVerify prints, as x-floor, how many times the bare check of the token's signature an appraisal costs, measured in the same run: warm, with a key set or chain that is
// known, and cold, with one that is not.
func BenchmarkVerify(b *testing.B) {
	p := newPKI()
	all := fakes()
	chain := fakes()["ear"]
	chain.trusted.Roots = pemOf(p.root)
	chain.header = claimSet{"alg": "ES256", "typ": "JWT", "x5c": encodeChain(std64, p.leaf(nil), p.middle)}
	for _, one := range []struct {
		name string
		fake *fake
	}{
		{"ear", all["ear"]}, {"ear-x5c", chain}, {"google", all["google"]}, {"azure", all["azure-vm"]}, {"intel", all["intel"]},
	} {
		f := one.fake
		v, _ := verifierOf(b, f)
		in := input([]byte(f.token()))
		verify := func() {
			if _, err := v.Verify(b.Context(), in); err != nil {
				b.Fatal(err)
			}
		}
		t, err := parseJWS(in.Evidence)
		if err != nil {
			b.Fatal(err)
		}
		is := v.issuers[0]
		at := slices.IndexFunc(is.preset.algorithms, func(a algorithm) bool { return a.name == t.header.alg })
		public := must(parseKeySet(jwks(map[string]crypto.Signer{"a": f.key})))[0].public // as it is read, without what a private key precomputes
		floor := func() {
			if !is.preset.algorithms[at].verify(public, t.input, t.signature) {
				b.Fatal("the signature does not verify")
			}
		}
		b.Run("warm/"+one.name, func(b *testing.B) {
			verify()
			measure(b, floor, verify)
		})
		b.Run("cold/"+one.name, func(b *testing.B) {
			measure(b, floor, func() {
				is.fetched.Store(nil)
				if is.roots != nil {
					clear(is.roots.cache)
				}
				verify()
			})
		})
	}
	b.Run("warm/nvidia-2-gpus", func(b *testing.B) { // against one signature of three
		f := nvidiaFake()
		v, _ := verifierOf(b, f)
		device, in := v.Device(nil), input(nvidiaSet(nil))
		t, err := parseJWS([]byte(f.token()))
		if err != nil {
			b.Fatal(err)
		}
		measure(b, func() {
			for range 3 {
				es384.verify(f.key.Public(), t.input, t.signature)
			}
		}, func() {
			if _, err := device.Verify(b.Context(), in); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// measure times both in turns, so that both meet the same machine.
func measure(b *testing.B, floor, full func()) {
	var floors, fulls time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		floor()
		between := time.Now()
		full()
		floors += between.Sub(start)
		fulls += time.Since(between)
	}
	b.ReportMetric(float64(fulls)/float64(floors), "x-floor")
	b.ReportMetric(float64(floors.Nanoseconds())/float64(b.N), "floor-ns")
}
