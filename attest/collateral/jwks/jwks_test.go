package jwks_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/collateral"
	"github.com/vouchsafe/vouchsafe/attest/collateral/jwks"
	"github.com/vouchsafe/vouchsafe/attest/collateral/vendortest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// keySet makes a key set of one key; private puts the private key into it.
func keySet(t testing.TB, private bool) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k := jose.JSONWebKey{Key: &key.PublicKey, KeyID: "1", Algorithm: "ES256", Use: "sig"}
	if private {
		k.Key = key
	}
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func name(t *testing.T, text string) collateral.Name {
	t.Helper()
	n, err := collateral.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCheck(t *testing.T) {
	good := string(keySet(t, false))
	key := strings.TrimSuffix(strings.TrimPrefix(good, `{"keys":[`), `]}`)
	unknown := `{"kty":"OKP","crv":"X999","x":"AA"}`
	for what, set := range map[string]string{
		"a key": good, "with one not understood": `{"keys":[` + unknown + `,` + key + `]}`, "more members": `{"x":1,"keys":[` + key + `]}`,
	} {
		if err := jwks.Check([]byte(set)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, set := range map[string]string{
		"nothing": "", "no keys": `{"keys":[]}`, "keys null": `{"keys":null}`, "no object": `[]`, "keys twice": `{"keys":[` + key + `],"keys":[]}`,
		"only unknown": `{"keys":[` + unknown + `]}`, "private": string(keySet(t, true)), "symmetric": `{"keys":[{"kty":"oct","k":"AAAA"}]}`,
		"not a key": `{"keys":[1]}`, "member twice": `{"keys":[` + strings.Replace(key, `"kid":"1"`, `"kid":"1","kid":"2"`, 1) + `]}`,
		"many": `{"keys":[` + strings.Repeat(key+",", 64) + key + `]}`, "large": good + strings.Repeat(" ", 256<<10),
	} {
		if err := jwks.Check([]byte(set)); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(keySet(f, false))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
	f.Fuzz(func(_ *testing.T, set []byte) { _ = jwks.Check(set) })
}

// TestMutations: what passes for a key set is an object with keys, at least one of which can be used, and none is private.
func TestMutations(t *testing.T) {
	seeds := [][]byte{keySet(t, false), keySet(t, true), []byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`)}
	mutate.Run(t, seeds, func(t *testing.T, input []byte) {
		if jwks.Check(input) != nil {
			return
		}
		var set struct{ Keys []map[string]any }
		if err := json.Unmarshal(input, &set); err != nil || len(set.Keys) == 0 {
			t.Fatalf("%d keys, %v: %q", len(set.Keys), err, input)
		}
		var usable jose.JSONWebKeySet
		if err := json.Unmarshal(input, &usable); err != nil {
			t.Errorf("%v: %q", err, input)
		}
		for _, key := range set.Keys {
			if key["d"] != nil || key["k"] != nil {
				t.Errorf("a key that is not public: %q", input)
			}
		}
	})
}

func TestFetch(t *testing.T) {
	s, other := vendortest.Start(t), vendortest.Start(t)
	set := keySet(t, false)
	s.Set("/keys?v=1", vendortest.Answer{Body: set})
	s.Set("/issuer/keys", vendortest.Answer{Body: set})
	u, err := url.Parse(other.URL)
	if err != nil {
		t.Fatal(err)
	}
	discovery := "/issuer/.well-known/openid-configuration"
	p, err := jwks.New(jwks.Config{Client: s.Client(t, 5*time.Second), Verifiers: []jwks.Verifier{
		{Name: "direct", URL: s.URL + "/keys?v=1"}, {Name: "discovered", Issuer: s.URL + "/issuer"},
		{Name: "elsewhere", Issuer: s.URL + "/issuer", Hosts: []string{u.Host}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Always) != 3 {
		t.Errorf("always %q", p.Always)
	}
	if got, err := p.Source.Fetch(t.Context(), name(t, "jwks/direct")); err != nil || string(got.Data) != string(set) {
		t.Errorf("direct: %v", err)
	}
	document := func(issuer, uri string) vendortest.Answer {
		return vendortest.Answer{Body: fmt.Appendf(nil, `{"issuer":%q,"jwks_uri":%q,"more":[]}`, issuer, uri)}
	}
	s.Set(discovery, document(s.URL+"/issuer", s.URL+"/issuer/keys"))
	if got, err := p.Source.Fetch(t.Context(), name(t, "jwks/discovered")); err != nil || string(got.Data) != string(set) {
		t.Errorf("discovered: %v", err)
	}
	for what, a := range map[string]vendortest.Answer{
		"another issuer": document("https://evil.test", s.URL+"/issuer/keys"), "another host": document(s.URL+"/issuer", other.URL+"/keys"),
		"plain HTTP": document(s.URL+"/issuer", "http"+strings.TrimPrefix(s.URL, "https")+"/issuer/keys"),
		"user":       document(s.URL+"/issuer", strings.Replace(s.URL, "https://", "https://a:b@", 1)+"/issuer/keys"),
		"no URL":     document(s.URL+"/issuer", "::"), "garbage": {Body: []byte("x")}, "twice": {Body: []byte(`{"issuer":"a","issuer":"b"}`)},
		"no set": {Body: fmt.Appendf(nil, `{"issuer":%q}`, s.URL+"/issuer")}, "redirect": {Redirect: other.URL + discovery},
	} {
		s.Set(discovery, a)
		if _, err := p.Source.Fetch(t.Context(), name(t, "jwks/discovered")); err == nil {
			t.Errorf("%s was followed", what)
		}
	}
	if n := other.Count(""); n != 0 {
		t.Errorf("another host was asked %d times", n)
	}
	s.Set(discovery, document(s.URL+"/issuer", other.URL+"/keys"))
	if _, err := p.Source.Fetch(t.Context(), name(t, "jwks/elsewhere")); err == nil || other.Count("") != 0 {
		// The other test server has a certificate of its own, which is the same: it is asked, and has no such path.
		if other.Count("/keys") == 0 {
			t.Errorf("a host that is allowed was not asked: %v", err)
		}
	}
	if _, err := p.Source.Fetch(t.Context(), name(t, "jwks/unknown")); err == nil {
		t.Error("the keys of a verifier that is not configured were fetched")
	}
}

// TestUsable: a set that its reader cannot use is not kept, and one that this package refuses is not shown to the reader.
func TestUsable(t *testing.T) {
	shown := 0
	unusable := errors.New("of no use")
	p, err := jwks.New(jwks.Config{Verifiers: []jwks.Verifier{{Name: "a", URL: "https://x.test/keys"}}, Usable: func([]byte) error {
		shown++
		return unusable
	}})
	if err != nil {
		t.Fatal(err)
	}
	check := func(set []byte) error {
		_, err := p.Check(name(t, "jwks/a"), &attest.Endorsement{Data: set}, time.Now())
		return err
	}
	if err := check(keySet(t, true)); err == nil || shown != 0 {
		t.Errorf("a private key: %v, shown %d times", err, shown)
	}
	if err := check(keySet(t, false)); !errors.Is(err, unusable) || shown != 1 {
		t.Errorf("%v, shown %d times", err, shown)
	}
}

func TestNewRefuses(t *testing.T) {
	for what, v := range map[string][]jwks.Verifier{
		"no place": {{Name: "a"}}, "two places": {{Name: "a", URL: "https://x.test", Issuer: "https://x.test"}}, "name": {{Name: "A/B", URL: "https://x.test"}},
		"plain": {{Name: "a", URL: "http://x.test"}}, "plain issuer": {{Name: "a", Issuer: "http://x.test"}},
		"twice": {{Name: "a", URL: "https://x.test"}, {Name: "a", URL: "https://x.test"}}, "user": {{Name: "a", URL: "https://u:p@x.test"}},
	} {
		if _, err := jwks.New(jwks.Config{Verifiers: v}); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}
