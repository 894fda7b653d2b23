package token

import (
	"crypto"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/internal/verified"
	"github.com/vouchsafe/vouchsafe/internal/ratio"
)

// bare returns what no appraisal of a signed token can do without: to decode header, payload and signature from base64, and to check the signature.
func bare(b *testing.B, token string, is *issuer, public crypto.PublicKey) func() {
	b.Helper()
	t, err := parseJWS([]byte(token), nil)
	if err != nil {
		b.Fatal(err)
	}
	parts := strings.Split(token, ".")
	at := slices.IndexFunc(is.preset.algorithms, func(a algorithm) bool { return a.name == t.header.alg })
	return func() {
		for _, part := range parts {
			if _, ok := decodeURL([]byte(part)); !ok {
				b.Fatal("not base64")
			}
		}
		if !is.preset.algorithms[at].verify(public, t.input, t.signature) {
			b.Fatal("the signature does not verify")
		}
	}
}

// published returns a signer's key as it is read from a key set, without what a private key precomputes.
func published(signer crypto.Signer) crypto.PublicKey {
	return must(parseKeySet(jwks(map[string]crypto.Signer{"a": signer})))[0].public
}

// BenchmarkVerify measures an appraisal of each form of token against the bare checks of its signatures: warm, with a key set or chain that is
// known, and cold, with one that is not, where the floor of a chain has the signatures of its certificates besides.
func BenchmarkVerify(b *testing.B) {
	p := newPKI()
	forms := fakes()
	chain := fakes()["ear"]
	chain.trusted.Roots = pemOf(p.root)
	leaf := p.leaf(nil)
	chain.header = claimSet{"alg": "ES256", "typ": "JWT", "x5c": encodeChain(std64, leaf, p.middle)}
	forms["ear-x5c"] = chain
	jwk := fakes()["ear"]                                                      // as Confidential Containers' Attestation Service names its key
	jwk.header = claimSet{"alg": "ES256", "typ": "JWT", "jwk": recipientJWK()} // which is the signer's as well
	forms["ear-jwk"] = jwk
	for _, name := range slices.Sorted(maps.Keys(forms)) {
		f := forms[name]
		v, _ := verifierOf(b, f)
		in := input(f.evidence(f.token()))
		verify := func() {
			if _, err := v.Verify(b.Context(), in); err != nil {
				b.Fatal(err)
			}
		}
		is := v.issuers[0]
		warm := bare(b, f.token(), is, published(f.key))
		cold := warm
		if is.roots != nil {
			cold = func() {
				warm()
				if leaf.CheckSignatureFrom(p.middle) != nil || p.middle.CheckSignatureFrom(p.root) != nil {
					b.Fatal("a certificate does not verify")
				}
			}
		}
		verify()
		b.Run("warm/"+name, func(b *testing.B) {
			ratio.Measure(b, ratio.Work{Run: verify, Floor: warm, Budget: 1.3})
		})
		b.Run("cold/"+name, func(b *testing.B) {
			forget := func() {
				is.fetched.Store(nil)
				if is.roots != nil {
					is.roots.chains = verified.NewCache[*verifiedChain](maxChains)
				}
			}
			ratio.Measure(b, ratio.Work{Prepare: forget, Run: verify, Floor: cold})
		})
	}
}

// BenchmarkVerifyDevices measures sets of tokens about GPUs, which have a signature for each and one for all.
func BenchmarkVerifyDevices(b *testing.B) {
	f := nvidiaFake()
	v, _ := verifierOf(b, f)
	device := v.Device(nil)
	for _, gpus := range []int{1, 8} {
		in := input(nvidiaSet(func(s *set) {
			clear(s.devices)
			for i := range gpus {
				s.devices[fmt.Sprintf("GPU-%d", i)] = gpuClaims(i)
			}
		}))
		overall, detached, err := parseSet(in.Evidence)
		if err != nil {
			b.Fatal(err)
		}
		checks := []func(){bare(b, string(overall), v.issuers[0], published(f.key))}
		for _, token := range detached {
			checks = append(checks, bare(b, token, v.issuers[0], published(f.key)))
		}
		verify := func() {
			if _, err := device.Verify(b.Context(), in); err != nil {
				b.Fatal(err)
			}
		}
		verify()
		b.Run(fmt.Sprintf("warm/nvidia-%d-gpus", gpus), func(b *testing.B) {
			ratio.Measure(b, ratio.Work{Run: verify, Budget: 1.3, Floor: func() {
				for _, check := range checks {
					check()
				}
			}})
		})
	}
}
