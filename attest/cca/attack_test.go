package cca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"errors"
	"math/big"
	"runtime"
	"slices"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/ratio"
)

// inspect is input that is bound to nothing, so that what is damaged gets as far as the signatures.
func inspect(evidence []byte) attest.Input {
	in := input(evidence)
	in.Binding = attest.Unbound()
	return in
}

func refuses(t *testing.T, v *Verifier, evidence []byte, what string, i int) {
	t.Helper()
	_, err := v.Verify(t.Context(), inspect(evidence))
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) {
		t.Errorf("%s %d: %v", what, i, err)
	}
}

// TestEveryByte: no byte of a token can change and none be missing, in either encoding of the collection, but the order of the two messages, which
// no flip makes.
func TestEveryByte(t *testing.T) {
	for _, m := range []*machine{newMachine(t), {cpak: newKey(t, elliptic.P384()), rak: newKey(t, elliptic.P384()), cose: true}} {
		v := m.verifier(t)
		p, r := sign(t, m.cpak, encode(t, m.platform(t))), sign(t, m.rak, encode(t, m.realm(t)))
		tokens := [][]byte{wrapper(t, p, r)}
		if m.cose {
			tokens = [][]byte{collection(t, p, r)}
		}
		for _, token := range tokens {
			if _, err := v.Verify(t.Context(), input(token)); err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(token); i += mutate.Stride(5) {
				bad := slices.Clone(token)
				bad[i] ^= 1 << (i % 8)
				refuses(t, v, bad, "byte", i)
				refuses(t, v, token[:i], "length", i)
			}
			refuses(t, v, append(slices.Clone(token), 0), "followed by", 1)
		}
	}
}

// TestLengths: heads of a token with another length, and the worst that fits into the size limit.
func TestLengths(t *testing.T) {
	m := newMachine(t)
	v := m.verifier(t)
	token := m.token(t, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	runs := uint64(0)
	for i := 0; i < len(token); i += 3 * mutate.Stride(5) {
		for _, head := range [][]byte{{0}, {0x17}, {0x18, 0xff}, {0x19, 0xff, 0xff}, {0x1a, 0xff, 0xff, 0xff, 0xff}, {0x1b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
			bad := slices.Clone(token)
			kind := bad[i] & 0xe0
			copy(bad[i:], head)
			bad[i] |= kind
			if !bytes.Equal(bad, token) {
				refuses(t, v, bad, "head", i)
				runs++
			}
		}
	}
	for i, bad := range [][]byte{
		slices.Concat(tagCollection, []byte{0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}),
		slices.Concat(tagCollection, bytes.Repeat([]byte{0x81}, MaxToken-3)),
		slices.Concat(tagCollection, []byte{0x99, 0x3f, 0xf0}, bytes.Repeat([]byte{0x80}, 0x3ff0)),
	} {
		refuses(t, v, bad, "worst", i)
		runs++
	}
	runtime.ReadMemStats(&after)
	if mean := (after.TotalAlloc - before.TotalAlloc) / runs; mean > 1<<20 {
		t.Errorf("%d bytes are allocated for a token on average", mean)
	}
}

// TestCachedPlatform: a platform token that is known makes no other token good.
func TestCachedPlatform(t *testing.T) {
	m := newMachine(t)
	v := m.verifier(t)
	p := sign(t, m.cpak, encode(t, m.platform(t)))
	if _, err := v.Verify(t.Context(), input(collection(t, p, sign(t, m.rak, encode(t, m.realm(t)))))); err != nil {
		t.Fatal(err)
	}
	forger := newKey(t, elliptic.P384())
	_, err := v.Verify(t.Context(), input(collection(t, p, sign(t, forger, encode(t, m.realm(t))))))
	wantCode(t, "a forged realm", err, attest.CodeSignature)
	changed := m.platform(t)
	changed[2395] = 0x3004
	_, err = v.Verify(t.Context(), input(collection(t, sign(t, forger, encode(t, changed)), sign(t, m.rak, encode(t, m.realm(t))))))
	wantCode(t, "a forged platform", err, attest.CodeSignature)
}

func TestMutatedTokens(t *testing.T) {
	m := newMachine(t)
	v := m.verifier(t)
	token := m.token(t, nil)
	p, r := sign(t, m.cpak, encode(t, m.platform(t))), sign(t, m.rak, encode(t, m.realm(t)))
	seeds := [][]byte{token, wrapper(t, p, r), asJSON(t, token)}
	mutate.Run(t, seeds, func(t *testing.T, data []byte) {
		claims, err := v.Verify(t.Context(), inspect(data))
		var refusal *attest.Refusal
		if err != nil && !errors.As(err, &refusal) {
			t.Errorf("neither claims nor a refusal: %v", err)
		}
		if err == nil && (claims.Measurement != repeat(0x33, 64) || len(claims.CCA.Components) != 2) {
			t.Errorf("a changed token verifies: %+v", claims)
		}
	})
}

func TestMutatedStores(t *testing.T) {
	anchor := newMachine(t).anchor()
	anchors := []byte(`[{"pkey":{"kty":"EC","crv":"P-384","x":"IShnxS4rlQiwpCCpBWDzlNLfqiG911FP8akBr-fh94uxHU5m-Kijivp2r2oxxN6M","y":"hM4tr8mWQli1P61xh3T0ViDREbF26DGOEYfbAjWjGNN7pZf-6A4OTHYqEryz6m7U"},"implementation-id":"` + repeat(1, 32) + `","instance-id":"01` + repeat(2, 32) + `"}]`)
	values := []byte(`{"platform":[{"implementation-id":"` + repeat(1, 32) + `","platform-configuration":"cf","sw-components":[{"measurement-value":"` + repeat(1, 32) + `","signer-id":"` + repeat(2, 32) + `"}]}]}`)
	mutate.Run(t, [][]byte{anchors, values}, func(t *testing.T, data []byte) {
		if list, err := ParseTrustAnchors(data); err == nil {
			if _, err := New(Config{TrustAnchors: list}); err != nil {
				t.Errorf("anchors that are read and not taken: %v", err)
			}
		}
		if list, err := ParseReferenceValues(data); err == nil {
			if _, err := New(Config{TrustAnchors: []TrustAnchor{anchor}, ReferenceValues: list}); err != nil {
				t.Errorf("reference values that are read and not taken: %v", err)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	m := newMachine(f)
	token := m.token(f, nil)
	p, r := sign(f, m.cpak, encode(f, m.platform(f))), sign(f, m.rak, encode(f, m.realm(f)))
	f.Add(token)
	f.Add(wrapper(f, p, r))
	f.Add(asJSON(f, token))
	m.cose = true
	f.Add(m.token(f, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if token, err := Parse(data); err == nil && (token.Realm.Key == nil || len(token.Platform.Components) == 0 || token.Platform.InstanceID[0] != 1) {
			t.Errorf("%+v", token)
		}
	})
}

func FuzzStores(f *testing.F) {
	f.Add([]byte(`[{"pkey":{"kty":"EC","crv":"P-256","x":"","y":""},"implementation-id":"","instance-id":""}]`))
	f.Add([]byte(`{"platform":[{"implementation-id":"","platform-configuration":"cf","sw-components":[]}],"realm":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if list, err := ParseTrustAnchors(data); err == nil && len(list) == 0 {
			t.Error("no trust anchors, and no error")
		}
		if list, err := ParseReferenceValues(data); err == nil && len(list) == 0 {
			t.Error("no reference values, and no error")
		}
	})
}

// BenchmarkVerify measures an appraisal against the bare checks of the token's signatures: warm, with a known platform, of the realm's; cold, of both.
func BenchmarkVerify(b *testing.B) {
	m := newMachine(b)
	token := m.token(b, nil)
	parsed, err := Parse(token)
	if err != nil {
		b.Fatal(err)
	}
	bare := func(key *ecdsa.PublicKey, payload, signature []byte) func() {
		signed := encode(b, []any{"Signature1", encode(b, map[int]int{1: -35}), []byte{}, payload})
		x, y := new(big.Int).SetBytes(signature[:48]), new(big.Int).SetBytes(signature[48:])
		return func() {
			d := sha512.Sum384(signed)
			if !ecdsa.Verify(key, d[:], x, y) {
				b.Fatal("the signature does not verify")
			}
		}
	}
	platform := bare(&m.cpak.PublicKey, parsed.platform.Payload, parsed.platform.Signature)
	realm := bare(&m.rak.PublicKey, parsed.realm.Payload, parsed.realm.Signature)
	v := m.verifier(b)
	verify := func() {
		if _, err := v.Verify(b.Context(), input(token)); err != nil {
			b.Fatal(err)
		}
	}
	verify()
	b.Run("warm", func(b *testing.B) {
		ratio.Measure(b, ratio.Work{Run: verify, Floor: realm, Budget: 1.3})
	})
	b.Run("cold", func(b *testing.B) {
		ratio.Measure(b, ratio.Work{Prepare: func() { v = m.verifier(b) }, Run: verify, Floor: func() { platform(); realm() }})
	})
}
