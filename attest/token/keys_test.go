package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

// certificate makes one that parent signed, or that signs itself when parent is nil.
func certificate(key crypto.Signer, parent *x509.Certificate, by crypto.Signer, edit func(*x509.Certificate)) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "a signer"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		BasicConstraintsValid: true,
	}
	if edit != nil {
		edit(template)
	}
	if parent == nil {
		parent, by = template, key
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by))))
}

func authority(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject.CommonName, c.IsCA, c.KeyUsage = name, true, x509.KeyUsageCertSign
		c.NotBefore, c.NotAfter = now.Add(-24*time.Hour), now.Add(24*time.Hour)
	}
}

func pemOf(certs ...*x509.Certificate) (out []byte) {
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// pki is a root, an intermediate, and what else signs.
type pki struct{ root, middle *x509.Certificate }

var rootKey = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })

func newPKI() pki {
	root := certificate(rootKey(), nil, nil, authority("root"))
	return pki{root, certificate(p384Key(), root, rootKey(), authority("middle"))}
}

// leaf is a certificate of the EAR's key.
func (p pki) leaf(edit func(*x509.Certificate)) *x509.Certificate {
	return certificate(p256Key(), p.middle, p384Key(), edit)
}

func encodeChain(encode func([]byte) string, certs ...*x509.Certificate) []string {
	out := []string{}
	for _, c := range certs {
		out = append(out, encode(c.Raw))
	}
	return out
}

// unsigning is a key that nobody can sign with.
type unsigning struct{ key *rsa.PublicKey }

func (u unsigning) Public() crypto.PublicKey { return u.key }
func (unsigning) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no private key")
}

// slow is a key of RSA with a modulus of that many bits, as anyone can write one down.
func slow(bits int, exponent int) unsigning {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return unsigning{&rsa.PublicKey{N: n.SetBit(n, 0, 1), E: exponent}}
}

// TestChain verifies EARs whose key a configured root vouches for, and those whose key it does not.
func TestChain(t *testing.T) {
	p := newPKI()
	f := fakes()["ear"]
	f.trusted.Roots = pemOf(p.root)
	leaf := p.leaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })
	stranger := certificate(rootKey(), nil, nil, authority("root")) // the same key and name, but not the same root: it is not what is pinned, though it verifies
	fakeKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	fakeRoot := certificate(fakeKey, nil, nil, authority("root"))
	selfSigned := certificate(p256Key(), nil, nil, nil)
	x5c := func(certs ...*x509.Certificate) claimSet {
		return claimSet{"alg": "ES256", "typ": "JWT", "x5c": encodeChain(std64, certs...)}
	}
	withKey := maps.Clone(recipientJWK())
	withKey["alg"], withKey["x5c"] = "ES256", encodeChain(raw64, leaf, p.middle)
	edited := func(edit func(*x509.Certificate)) claimSet { return x5c(p.leaf(edit), p.middle) }
	tooMany := make([]*x509.Certificate, maxChain+1)
	for i := range tooMany {
		tooMany[i] = leaf
	}
	for name, test := range map[string]struct {
		header claimSet
		want   attest.Code
	}{
		"with the intermediate":    {x5c(leaf, p.middle), ""},
		"with the root too":        {x5c(leaf, p.middle, p.root), ""},
		"in the jwk, in base64url": {claimSet{"alg": "ES256", "typ": "JWT", "jwk": withKey}, ""},
		"for any purpose":          {edited(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), ""},
		"for TLS and for code": {edited(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageCodeSigning}
		}), ""},
		"none":                       {claimSet{"alg": "ES256", "typ": "JWT", "kid": "ear-1"}, attest.CodeCertMissing},
		"empty":                      {x5c(), attest.CodeCertMissing},
		"jwk without a chain":        {claimSet{"alg": "ES256", "jwk": recipientJWK()}, attest.CodeCertMissing},
		"in both places":             {claimSet{"alg": "ES256", "jwk": withKey, "x5c": encodeChain(std64, leaf)}, attest.CodeMalformed},
		"without the intermediate":   {x5c(leaf), attest.CodeCertUntrusted},
		"to a root of its own":       {x5c(certificate(p256Key(), fakeRoot, fakeKey, nil), fakeRoot), attest.CodeCertUntrusted},
		"self-signed":                {x5c(selfSigned), attest.CodeCertUntrusted},
		"the root first":             {x5c(p.root, leaf, p.middle), attest.CodeCertUntrusted},
		"the intermediate as signer": {x5c(p.middle, p.root), attest.CodeCertUntrusted},
		"signed by no authority":     {x5c(certificate(p256Key(), leaf, p256Key(), nil), leaf, p.middle), attest.CodeCertUntrusted},
		"not for signatures":         {edited(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), attest.CodeCertUntrusted},
		"for TLS alone": {edited(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		}), attest.CodeCertUntrusted},
		"an authority":                   {edited(authority("leaf")), attest.CodeCertUntrusted},
		"expired":                        {edited(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), attest.CodeCertExpired},
		"not yet valid":                  {edited(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), attest.CodeCertExpired},
		"of another key":                 {x5c(certificate(otherRSA(), p.middle, p384Key(), nil), p.middle), attest.CodeAlgorithm},
		"of another key of the sort":     {x5c(certificate(fakeKey, p.middle, p384Key(), nil), p.middle), attest.CodeSignature},
		"too many":                       {x5c(tooMany...), attest.CodeCertMalformed},
		"not base64":                     {claimSet{"alg": "ES256", "x5c": []string{"*"}}, attest.CodeCertMalformed},
		"not a certificate":              {claimSet{"alg": "ES256", "x5c": []string{"AAAA"}}, attest.CodeCertMalformed},
		"an empty certificate":           {claimSet{"alg": "ES256", "x5c": []string{""}}, attest.CodeCertMalformed},
		"too large":                      {claimSet{"alg": "ES256", "x5c": []string{std64(make([]byte, maxCertificate+3))}}, attest.CodeCertMalformed},
		"with a key that takes a second": {x5c(leaf, p.middle, certificate(slow(maxChainRSA+8, 1<<16+1), p.root, rootKey(), authority("middle"))), attest.CodeAlgorithm},
		"with a slow exponent":           {x5c(leaf, p.middle, certificate(slow(2048, 1<<31-1), p.root, rootKey(), authority("middle"))), attest.CodeAlgorithm},
		"not a list":                     {claimSet{"alg": "ES256", "x5c": 7}, attest.CodeMalformed},
		"not of texts":                   {claimSet{"alg": "ES256", "x5c": []any{7}}, attest.CodeMalformed},
		"with a certificate like roots":  {x5c(leaf, p.middle, stranger), ""},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := New(Config{Verifiers: []Trusted{f.trusted}})
			if err != nil {
				t.Fatal(err)
			}
			token := sign(f.key, test.header, f.payload())
			for range 2 { // the second from the cache
				c, err := v.Verify(t.Context(), input([]byte(token)))
				if codeOf(t, err) != test.want {
					t.Errorf("%v, want %q", err, test.want)
				}
				if err == nil && (c.Collateral.Source != "evidence" || !c.Collateral.Current || c.Collateral.Age != nil) {
					t.Errorf("%+v", c.Collateral)
				}
			}
		})
	}
}

// TestChainTime: dates count at every use, also of a chain that is cached.
func TestChainTime(t *testing.T) {
	p := newPKI()
	f := fakes()["ear"]
	f.trusted.Roots = pemOf(p.root)
	header := claimSet{"alg": "ES256", "x5c": encodeChain(std64, p.leaf(nil), p.middle)}
	v := must(New(Config{Verifiers: []Trusted{f.trusted}}))
	for _, test := range []struct {
		after time.Duration
		want  attest.Code
	}{{0, ""}, {time.Hour, ""}, {time.Hour + time.Minute, attest.CodeCertExpired}, {0, ""}, {-2 * time.Hour, attest.CodeCertExpired}} {
		payload := f.payload()
		payload["iat"], payload["exp"] = now.Add(test.after).Unix(), now.Add(test.after+time.Minute).Unix()
		in := input([]byte(sign(f.key, header, payload)))
		in.Time = now.Add(test.after)
		if _, err := v.Verify(t.Context(), in); codeOf(t, err) != test.want {
			t.Errorf("after %v: %v, want %q", test.after, err, test.want)
		}
	}
}

// TestChainCache: chains that nobody vouches for are not kept, and those that are, up to a limit.
func TestChainCache(t *testing.T) {
	p := newPKI()
	f := fakes()["ear"]
	f.trusted.Roots = pemOf(p.root)
	v := must(New(Config{Verifiers: []Trusted{f.trusted}}))
	for i := range maxChains + 5 {
		for _, middle := range []*x509.Certificate{p.middle, nil} {
			chain := []*x509.Certificate{p.leaf(func(c *x509.Certificate) { c.SerialNumber = big.NewInt(int64(i + 1)) })}
			if middle != nil {
				chain = append(chain, middle)
			}
			_, _ = v.Verify(t.Context(), input([]byte(sign(f.key, claimSet{"alg": "ES256", "x5c": encodeChain(std64, chain...)}, f.payload()))))
		}
	}
	if n := v.issuers[0].roots.chains.Len(); n != maxChains {
		t.Errorf("%d chains", n)
	}
}

// TestTwoWithoutIssuer: of verifiers whose tokens have no issuer, the one whose key signed is the one that judged.
func TestTwoWithoutIssuer(t *testing.T) {
	one, two := fakes()["ear"], fakes()["ear"]
	two.trusted.Name, two.key, two.header = "other", p384Key(), claimSet{"alg": "ES384", "kid": "other-1"}
	v, _ := verifierOf(t, one, two)
	for _, f := range []*fake{one, two} {
		c, err := v.Verify(t.Context(), input([]byte(f.token())))
		if err != nil || c.Token.Verifier != f.trusted.Name {
			t.Errorf("%s: %+v, %v", f.trusted.Name, c, err)
		}
	}
	// One that has a key of the one and names the other's.
	if _, err := v.Verify(t.Context(), input([]byte(sign(p256Key(), two.header, two.payload())))); codeOf(t, err) == "" {
		t.Error("accepted")
	}
}

// TestRotation: a token with a new key makes the verifier ask for the set, and only for it, and is refused when nothing newer can be had.
func TestRotation(t *testing.T) {
	f := fakes()["google"]
	v, s := verifierOf(t, f)
	token := []byte(sign(otherRSA(), claimSet{"alg": "RS256", "kid": "new", "typ": "JWT"}, f.payload()))

	s.fetches = true
	if _, err := v.Verify(t.Context(), input(token)); codeOf(t, err) != "unavailable" || len(s.asked) != 1 || s.asked[0] != "jwks/gcs" {
		t.Errorf("while it is fetched: %v, asked for %q", err, s.asked)
	}
	s.fetches = false
	if _, err := v.Verify(t.Context(), input(token)); codeOf(t, err) != attest.CodeIssuerKey {
		t.Errorf("when it was fetched just now: %v", err)
	}
	// Nothing but an unknown key makes it ask.
	asked := len(s.asked)
	for _, other := range []string{f.token(), f.with(func(p claimSet) { p["iss"] = "x" }), sign(otherRSA(), f.header, f.payload()), "x"} {
		_, _ = v.Verify(t.Context(), input([]byte(other)))
	}
	if len(s.asked) != asked {
		t.Errorf("asked for %q", s.asked)
	}
	// The set comes, with the old key still in it, and then without.
	s.put("jwks/gcs", jwks(map[string]crypto.Signer{"new": otherRSA(), fmt.Sprint(f.header["kid"]): f.key}), now)
	for _, good := range [][]byte{token, []byte(f.token())} {
		if _, err := v.Verify(t.Context(), input(good)); err != nil {
			t.Error(err)
		}
	}
	s.put("jwks/gcs", jwks(map[string]crypto.Signer{"new": otherRSA()}), now)
	if _, err := v.Verify(t.Context(), input([]byte(f.token()))); codeOf(t, err) != attest.CodeIssuerKey {
		t.Errorf("a key that is no longer published: %v", err)
	}
}

// broken fails in a way that is not foreseen.
type broken struct{}

func (broken) Endorsement(context.Context, string) (*attest.Endorsement, error) {
	return nil, errors.New("broken")
}

// TestKeySetMissing: a key set that is not there, or is not good, says nothing about the token.
func TestKeySetMissing(t *testing.T) {
	f := fakes()["google"]
	v, s := verifierOf(t, f)
	for name, data := range map[string]string{
		"none": "", "not JSON": "{", "no keys": "{}", "empty": `{"keys":[]}`, "keys of no list": `{"keys":{}}`, "only for encryption": `{"keys":[{"kty":"RSA","use":"enc","kid":"a","n":"AA","e":"AQAB"}]}`,
		"a secret": `{"keys":[{"kty":"oct","kid":"a","k":"AAAA"}]}`, "malformed key": `{"keys":[{"kty":"RSA","kid":"a","e":"AQAB"}]}`, "members twice": `{"keys":[],"keys":[{}]}`,
		"too many": `{"keys":[` + strings.Repeat("{},", maxKeys) + `{}]}`, "too large": `{"keys":[],"x":"` + strings.Repeat("x", maxKeySet) + `"}`,
		"not on the curve": `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}]}`,
	} {
		s.put("jwks/gcs", []byte(data), now)
		if name == "none" {
			s.items = nil
		}
		if _, err := v.Verify(t.Context(), input([]byte(f.token()))); codeOf(t, err) != "unavailable" {
			t.Errorf("%s: %v", name, err)
		}
	}
	v.endorsements = broken{}
	if _, err := v.Verify(t.Context(), input([]byte(f.token()))); codeOf(t, err) != "unavailable" {
		t.Error(err)
	}
}

// TestKeys reads key sets as issuers publish them.
func TestKeys(t *testing.T) {
	f := fakes()["azure-vm"]
	rsaNumbers := claimSet{"kty": "RSA", "e": "AQAB", "n": raw64(rsaKey().N.Bytes())}
	with := func(members ...any) claimSet {
		out := claimSet{}
		for name, value := range rsaNumbers {
			out[name] = value
		}
		for i := 0; i < len(members); i += 2 {
			out[members[i].(string)] = members[i+1]
		}
		return out
	}
	cert := certificate(rsaKey(), nil, nil, nil)
	expired := certificate(rsaKey(), nil, nil, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	p521 := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	kid := f.header["kid"]
	for name, test := range map[string]struct {
		keys []claimSet
		want attest.Code
	}{
		"numbers":                      {[]claimSet{with("kid", kid)}, ""},
		"for signatures":               {[]claimSet{with("kid", kid, "use", "sig", "alg", "RS256", "key_ops", []string{"verify"})}, ""},
		"numbers and a certificate":    {[]claimSet{with("kid", kid, "x5c", []string{std64(cert.Raw)})}, ""},
		"a certificate alone":          {[]claimSet{{"kty": "RSA", "kid": kid, "x5c": []string{std64(cert.Raw)}}}, ""},
		"a certificate that expired":   {[]claimSet{{"kty": "RSA", "kid": kid, "x5c": []string{std64(expired.Raw)}}}, attest.CodeCertExpired},
		"a certificate that is none":   {[]claimSet{{"kty": "RSA", "kid": kid, "x5c": []string{"AAAA"}}}, "unavailable"},
		"a certificate in base64url":   {[]claimSet{{"kty": "RSA", "kid": kid, "x5c": []string{"-_-_"}}}, "unavailable"},
		"among others":                 {[]claimSet{{"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "b"}, {"kty": "oct", "k": "AA"}, with("kid", kid)}, ""},
		"for another algorithm":        {[]claimSet{with("kid", kid, "alg", "PS256")}, attest.CodeAlgorithm},
		"for encryption":               {[]claimSet{with("kid", kid, "use", "enc"), with("kid", "b")}, attest.CodeIssuerKey},
		"for encryption, by operation": {[]claimSet{with("kid", kid, "key_ops", []string{"encrypt"}), with("kid", "b")}, attest.CodeIssuerKey},
		"without an id":                {[]claimSet{with()}, attest.CodeIssuerKey},
		"twice":                        {[]claimSet{with("kid", kid), with("kid", kid)}, "unavailable"},
		"with a private part":          {[]claimSet{with("kid", kid, "d", "AA")}, "unavailable"},
		"of 1024 bits":                 {[]claimSet{with("kid", kid, "n", raw64(small.N.Bytes())), with("kid", "b")}, attest.CodeIssuerKey},
		"with a small exponent":        {[]claimSet{with("kid", kid, "e", "Aw"), with("kid", "b")}, attest.CodeIssuerKey},
		"of an unsuited curve":         {[]claimSet{{"kty": "EC", "crv": "P-521", "kid": kid, "x": raw64(must(p521.PublicKey.Bytes())[1:67]), "y": raw64(must(p521.PublicKey.Bytes())[67:])}, with("kid", "b")}, attest.CodeIssuerKey},
		"with an id that is a number":  {[]claimSet{with("kid", 1)}, "unavailable"},
		"with an id that is too long":  {[]claimSet{with("kid", strings.Repeat("k", maxKeyID+1))}, "unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			v, s := verifierOf(t, f)
			s.put("jwks/maa", must(json.Marshal(claimSet{"keys": test.keys})), now)
			if _, err := v.Verify(t.Context(), input([]byte(f.token()))); codeOf(t, err) != test.want {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestNamedByKey: a header without a kid names a key by itself, and a key of the set it must be.
func TestNamedByKey(t *testing.T) {
	f := fakes()["ear"]
	v, s := verifierOf(t, f)
	set := jwks(map[string]crypto.Signer{"": p256Key()})
	s.put("jwks/trustee", set, now)
	header := claimSet{"alg": "ES256", "jwk": recipientJWK()} // the fake signs with the key that it also uses as the workload's
	if _, err := v.Verify(t.Context(), input([]byte(sign(f.key, header, f.payload())))); err != nil {
		t.Error(err)
	}
	s.put("jwks/trustee", jwks(map[string]crypto.Signer{"": rootKey()}), now)
	if _, err := v.Verify(t.Context(), input([]byte(sign(f.key, header, f.payload())))); codeOf(t, err) != attest.CodeIssuerKey {
		t.Errorf("a key of nobody: %v", err)
	}
}

// TestFreshness: how old the key set is shows in the claims, up to where it no longer counts.
func TestFreshness(t *testing.T) {
	f := fakes()["google"]
	s := &shelf{}
	v := must(New(Config{Verifiers: []Trusted{f.trusted}, Endorsements: s, KeySetAge: 2 * time.Hour, KeySetGrace: time.Hour}))
	set := jwks(map[string]crypto.Signer{fmt.Sprint(f.header["kid"]): f.key})
	for _, test := range []struct {
		age            time.Duration
		current, stale bool
	}{{0, true, false}, {2*time.Hour - time.Second, true, false}, {2 * time.Hour, true, true}, {3*time.Hour - time.Second, true, true}, {3 * time.Hour, false, true}, {1000 * time.Hour, false, true}} {
		s.put("jwks/gcs", set, now.Add(-test.age))
		c, err := v.Verify(t.Context(), input([]byte(f.token())))
		if err != nil || c.Collateral.Current != test.current || c.Collateral.Stale != test.stale || *c.Collateral.Age != int(test.age/time.Second) {
			t.Errorf("%v old: %+v, %v", test.age, c.Collateral, err)
		}
	}
	// A file has no time.
	s.put("jwks/gcs", set, time.Time{})
	if c, err := v.Verify(t.Context(), input([]byte(f.token()))); err != nil || !c.Collateral.Current || c.Collateral.Age != nil {
		t.Errorf("%+v, %v", c, err)
	}
	// Keys that are configured need nothing.
	f.trusted.Keys = set
	v = must(New(Config{Verifiers: []Trusted{f.trusted}}))
	if c, err := v.Verify(t.Context(), input([]byte(f.token()))); err != nil || !c.Collateral.Current || c.Collateral.Stale {
		t.Errorf("%+v, %v", c, err)
	}
	unknown := f.withHeader(func(h claimSet) { h["kid"] = "x" })
	if _, err := v.Verify(t.Context(), input([]byte(unknown))); codeOf(t, err) != attest.CodeIssuerKey {
		t.Error(err)
	}
}

// TestConcurrent shares one verifier.
func TestConcurrent(t *testing.T) {
	p := newPKI()
	f, g := fakes()["ear"], fakes()["google"]
	f.trusted.Roots = pemOf(p.root)
	v, _ := verifierOf(t, f, g)
	token := sign(f.key, claimSet{"alg": "ES256", "x5c": encodeChain(std64, p.leaf(nil), p.middle)}, f.payload())
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 20 {
				for _, one := range []string{token, g.token()} {
					if _, err := v.Verify(t.Context(), input([]byte(one))); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wait.Wait()
}
