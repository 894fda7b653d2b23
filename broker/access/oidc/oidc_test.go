package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// provider is an issuer with keys of every type.
type provider struct {
	tb   testing.TB
	keys map[string]crypto.Signer // by kid
	set  []byte
}

func newProvider(tb testing.TB) *provider {
	tb.Helper()
	p := &provider{tb: tb, keys: map[string]crypto.Signer{}}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	p.keys["ec"], p.keys["ed"], p.keys["rsa"] = ec, ed, r
	var set jose.JSONWebKeySet
	for kid, k := range p.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), KeyID: kid, Use: "sig"})
	}
	if p.set, err = json.Marshal(set); err != nil {
		tb.Fatal(err)
	}
	return p
}

// claimsOf are those of a good token.
func claimsOf(more map[string]any) map[string]any {
	c := map[string]any{
		"iss": "https://idp.test", "aud": "vouchsafe", "sub": "u1", "exp": now.Add(5 * time.Minute).Unix(), "iat": now.Unix(),
		"groups": []string{"all", "security"}, "email": "Alice@example.com", "email_verified": true,
		"realm": map[string]any{"a/b": map[string]any{"roles": []string{"deep"}}},
	}
	for name, value := range more {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	return c
}

// sign makes a token; header members are added to the usual ones.
func (p *provider) sign(alg jose.SignatureAlgorithm, kid string, header map[string]any, claims map[string]any) string {
	p.tb.Helper()
	o := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{"typ": "JWT"}}
	if kid != "" {
		o.ExtraHeaders["kid"] = kid
	}
	for name, value := range header {
		if o.ExtraHeaders[jose.HeaderKey(name)] = value; value == nil {
			delete(o.ExtraHeaders, jose.HeaderKey(name))
		}
	}
	key := p.keys[kid]
	if key == nil {
		key = p.keys["ec"]
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		p.tb.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		p.tb.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		p.tb.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		p.tb.Fatal(err)
	}
	return text
}

func (p *provider) issuer() Issuer {
	return Issuer{Name: "corp", Issuer: "https://idp.test", Audiences: []string{"vouchsafe"}, Keys: p.set, Rules: []Rule{
		{map[string]string{"groups": "security"}, access.Grant{Roles: access.SetOf(access.Author), Namespace: "default", Scope: access.Scope{"payments/"}}},
		{map[string]string{"groups": "security", "sub": "u1"}, access.Grant{Roles: access.SetOf(access.Auditor), Namespace: "default", Scope: access.Scope{"payments/"}}},
		{map[string]string{"groups": "all"}, access.Grant{Roles: access.SetOf(access.Custodian), Namespace: "default"}},
		{map[string]string{"/realm/a~1b/roles": "deep", "sub": "u2"}, access.Grant{Roles: access.SetOf(access.Operator), Namespace: "*"}},
	}}
}

func (p *provider) verifier(change func(*Issuer)) *Verifier {
	p.tb.Helper()
	i := p.issuer()
	if change != nil {
		change(&i)
	}
	v, err := New(Config{Issuers: []Issuer{i}})
	if err != nil {
		p.tb.Fatal(err)
	}
	return v
}

func TestAuthenticate(t *testing.T) {
	p := newProvider(t)
	v := p.verifier(nil)
	for alg, kid := range map[jose.SignatureAlgorithm]string{jose.ES256: "ec", jose.EdDSA: "ed", jose.RS256: "rsa"} {
		who, err := v.Authenticate(t.Context(), p.sign(alg, kid, nil, claimsOf(nil)), now)
		if err != nil || who.Subject != "corp:u1" || who.Via != access.ViaOIDC || who.Roles != access.SetOf(access.Author, access.Auditor) ||
			who.Namespace != "default" || !slices.Equal(who.Scope, access.Scope{"payments/"}) || !strings.HasPrefix(who.Token, "oidc:corp:") {
			t.Errorf("%s: %+v, %v", alg, who, err)
		}
	}
	// Claims below others, and a role in all namespaces only where the rule alone says so.
	who, err := v.Authenticate(t.Context(), p.sign(jose.ES256, "ec", nil, claimsOf(map[string]any{"sub": "u2", "groups": "x"})), now)
	if err != nil || who.Roles != access.SetOf(access.Operator) || who.Namespace != "*" {
		t.Errorf("%+v, %v", who, err)
	}
	// Known, and with nothing to do.
	who, err = v.Authenticate(t.Context(), p.sign(jose.ES256, "ec", nil, claimsOf(map[string]any{"groups": []any{1, map[string]any{"security": 1}}})), now)
	if err != nil || who.Roles != 0 || access.AuthorizeOn(who, access.Author, "default", access.Some()) == nil {
		t.Errorf("%+v, %v", who, err)
	}
	mail := p.verifier(func(i *Issuer) { i.Subject = "email" })
	if who, err = mail.Authenticate(t.Context(), p.sign(jose.ES256, "ec", nil, claimsOf(nil)), now); err != nil || who.Subject != "alice@example.com" {
		t.Errorf("%+v, %v", who, err)
	}
	for _, verified := range []any{false, nil, 1, "yes"} {
		if _, err := mail.Authenticate(t.Context(), p.sign(jose.ES256, "ec", nil, claimsOf(map[string]any{"email_verified": verified})), now); !refused(err) {
			t.Errorf("an address that is verified %v: %v", verified, err)
		}
	}
	untyped := p.verifier(func(i *Issuer) { i.Untyped = true })
	if _, err := untyped.Authenticate(t.Context(), p.sign(jose.ES256, "ec", map[string]any{"typ": nil}, claimsOf(nil)), now); err != nil {
		t.Error(err)
	}
}

func refused(err error) bool {
	var r *Refused
	return errors.As(err, &r) && errors.Is(err, access.ErrUnauthenticated)
}

func encoded(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// TestRefuses tries what an attacker, or a token of somebody else's, would.
func TestRefuses(t *testing.T) {
	p, stranger := newProvider(t), newProvider(t)
	v := p.verifier(nil)
	good := p.sign(jose.ES256, "ec", nil, claimsOf(nil))
	parts := strings.Split(good, ".")
	with := func(claims map[string]any) string { return p.sign(jose.ES256, "ec", nil, claimsOf(claims)) }
	header := func(h map[string]any) string { return p.sign(jose.ES256, "ec", h, claimsOf(nil)) }
	mac, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: p.set}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", "ec"))
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(claimsOf(nil))
	symmetric, err := mac.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	hs256, _ := symmetric.CompactSerialize()
	for name, token := range map[string]string{
		"nothing": "", "junk": "a.b.c", "two parts": parts[0] + "." + parts[1], "four parts": good + ".x", "no signature": parts[0] + "." + parts[1] + ".",
		"padding": good + "=", "a line break": good[:10] + "\n" + good[10:], "trailing": good + "A", "another's key": stranger.sign(jose.ES256, "ec", nil, claimsOf(nil)),
		"none": encoded(`{"alg":"none","typ":"JWT"}`) + "." + parts[1] + ".", "none signed": encoded(`{"alg":"none","typ":"JWT","kid":"ec"}`) + "." + parts[1] + "." + parts[2],
		"HMAC of the public keys": hs256, "not pinned": p.sign(jose.PS256, "rsa", nil, claimsOf(nil)), "key of another type": p.sign(jose.ES256, "ec", map[string]any{"kid": "rsa"}, claimsOf(nil)),
		"unknown key": header(map[string]any{"kid": "other"}), "no key": header(map[string]any{"kid": nil}),
		"jwk": header(map[string]any{"jwk": map[string]any{"kty": "EC"}}), "jku": header(map[string]any{"jku": "https://evil.test"}),
		"x5u": header(map[string]any{"x5u": "https://evil.test"}), "x5c": header(map[string]any{"x5c": []string{"AA"}}), "cty": header(map[string]any{"cty": "JWT"}),
		"crit":    encoded(`{"alg":"ES256","kid":"ec","typ":"JWT","crit":["exp"],"exp":1}`) + "." + parts[1] + "." + parts[2],
		"no type": header(map[string]any{"typ": nil}), "another type": header(map[string]any{"typ": "logout+jwt"}), "alg twice": encoded(`{"alg":"ES256","alg":"none","kid":"ec","typ":"JWT"}`) + "." + parts[1] + "." + parts[2],
		"issuer": with(map[string]any{"iss": "https://evil.test"}), "issuer with a slash": with(map[string]any{"iss": "https://idp.test/"}), "no issuer": with(map[string]any{"iss": nil}),
		"issuer list": with(map[string]any{"iss": []string{"https://idp.test"}}), "audience": with(map[string]any{"aud": "other"}), "no audience": with(map[string]any{"aud": nil}),
		"audiences": with(map[string]any{"aud": []string{"a", "vouchsafe2"}}), "expired": with(map[string]any{"exp": now.Add(-time.Minute).Unix()}),
		"no exp": with(map[string]any{"exp": nil}), "exp text": with(map[string]any{"exp": "9999999999"}), "exp far": with(map[string]any{"exp": 1e300}),
		"no iat": with(map[string]any{"iat": nil}), "iat to come": with(map[string]any{"iat": now.Add(time.Minute).Unix()}),
		"too old": with(map[string]any{"iat": now.Add(-2 * time.Hour).Unix()}), "nbf": with(map[string]any{"nbf": now.Add(time.Minute).Unix()}), "nbf null": rawClaims(p, `"nbf":null`),
		"no subject": with(map[string]any{"sub": nil}), "subject list": with(map[string]any{"sub": []string{"u1"}}), "empty subject": with(map[string]any{"sub": ""}),
		"subject that steers": with(map[string]any{"sub": "a\x1b[2J"}), "long subject": with(map[string]any{"sub": strings.Repeat("x", 300)}),
		"claim twice": rawClaims(p, `"sub":"u2"`), "large": with(map[string]any{"groups": strings.Repeat("x", MaxToken)}),
		"claims of another": parts[0] + "." + strings.Split(with(map[string]any{"sub": "root"}), ".")[1] + "." + parts[2],
	} {
		if who, err := v.Authenticate(t.Context(), token, now); !refused(err) || who.Subject != "" {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	if _, err := v.Authenticate(t.Context(), good, now); err != nil {
		t.Error(err)
	}
}

// rawClaims signs the good claims with some text put before them.
func rawClaims(p *provider, first string) string {
	p.tb.Helper()
	payload, _ := json.Marshal(claimsOf(nil))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.keys["ec"]}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", "ec"))
	if err != nil {
		p.tb.Fatal(err)
	}
	signed, err := signer.Sign([]byte("{" + first + "," + string(payload[1:])))
	if err != nil {
		p.tb.Fatal(err)
	}
	text, _ := signed.CompactSerialize()
	return text
}

// endorsements are key sets that can be replaced.
type endorsements struct {
	data    []byte
	fetched time.Time
	asked   int
}

func (e *endorsements) Endorsement(_ context.Context, name string) (*attest.Endorsement, error) {
	if e.data == nil || name != "jwks/caller-corp" {
		return nil, errors.New("not at hand")
	}
	return &attest.Endorsement{Name: name, Data: e.data, Fetched: e.fetched}, nil
}

func (e *endorsements) Refresh(string) bool { e.asked++; return true }

func TestKeySets(t *testing.T) {
	p, next := newProvider(t), newProvider(t)
	e := &endorsements{}
	i := p.issuer()
	i.Keys = nil
	v, err := New(Config{Issuers: []Issuer{i}, Endorsements: e})
	if err != nil {
		t.Fatal(err)
	}
	try := func(p *provider) error {
		_, err := v.Authenticate(t.Context(), p.sign(jose.ES256, "ec", nil, claimsOf(nil)), now)
		return err
	}
	if err := try(p); err == nil || refused(err) {
		t.Errorf("without keys: %v", err)
	}
	e.data, e.fetched = p.set, now
	if err := try(p); err != nil {
		t.Error(err)
	}
	e.data = next.set // the issuer replaced its keys
	if err := try(p); !refused(err) {
		t.Errorf("a key that is no more: %v", err)
	}
	if err := try(next); err != nil {
		t.Error(err)
	}
	e.fetched = now.Add(-DefaultKeySetAge - time.Second)
	if err := try(next); err == nil || refused(err) || e.asked == 0 {
		t.Errorf("an old key set: %v, asked %d times", err, e.asked)
	}
}

func TestNewRefuses(t *testing.T) {
	p := newProvider(t)
	for name, change := range map[string]func(*Issuer){
		"no name": func(i *Issuer) { i.Name = "" }, "name": func(i *Issuer) { i.Name = "a:b" }, "no issuer": func(i *Issuer) { i.Issuer = "" },
		"no audience": func(i *Issuer) { i.Audiences = nil }, "empty audience": func(i *Issuer) { i.Audiences = []string{""} },
		"none": func(i *Issuer) { i.Algorithms = []string{"none"} }, "HMAC": func(i *Issuer) { i.Algorithms = []string{"ES256", "HS256"} },
		"no rules": func(i *Issuer) { i.Rules = nil }, "rule of everyone": func(i *Issuer) { i.Rules[0].Claims = nil },
		"empty value": func(i *Issuer) { i.Rules[0].Claims = map[string]string{"groups": ""} }, "no roles": func(i *Issuer) { i.Rules[0].Roles = 0 },
		"operator for paths": func(i *Issuer) { i.Rules[0].Roles = access.SetOf(access.Operator) }, "namespace": func(i *Issuer) { i.Rules[0].Namespace = "sys" },
		"no keys": func(i *Issuer) { i.Keys = nil }, "bad keys": func(i *Issuer) { i.Keys = []byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`) },
		"age": func(i *Issuer) { i.MaxAge = 48 * time.Hour },
	} {
		i := p.issuer()
		i.Rules = slices.Clone(i.Rules)
		i.Rules[0].Claims = maps.Clone(i.Rules[0].Claims)
		change(&i)
		if _, err := New(Config{Issuers: []Issuer{i}}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	other := p.issuer()
	other.Issuer = "https://other.test"
	if _, err := New(Config{Issuers: []Issuer{p.issuer(), other}}); err == nil {
		t.Error("one name twice")
	}
}

// checkToken: what authenticates is the one good token, to the letter.
func checkToken(t testing.TB, v *Verifier, good []string, token string) {
	who, err := v.Authenticate(context.Background(), token, now)
	if err == nil && !slices.Contains(good, token) {
		t.Errorf("%q is %+v", token, who)
	}
	if err != nil && !refused(err) {
		t.Errorf("%q: %v", token, err)
	}
}

func FuzzAuthenticate(f *testing.F) {
	p := newProvider(f)
	v := p.verifier(nil)
	good := []string{p.sign(jose.ES256, "ec", nil, claimsOf(nil)), p.sign(jose.RS256, "rsa", nil, claimsOf(nil))}
	for _, seed := range good {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) { checkToken(t, v, good, token) })
}

func FuzzKeySet(f *testing.F) {
	f.Add(newProvider(f).set)
	f.Fuzz(func(t *testing.T, set []byte) {
		keys, err := parseKeySet(set)
		if err == nil && len(keys) == 0 {
			t.Error("a set without keys")
		}
	})
}

func TestMutations(t *testing.T) {
	p := newProvider(t)
	v := p.verifier(nil)
	good := []string{p.sign(jose.ES256, "ec", nil, claimsOf(nil)), p.sign(jose.EdDSA, "ed", nil, claimsOf(nil))}
	mutate.Run(t, [][]byte{[]byte(good[0]), []byte(good[1])}, func(t *testing.T, input []byte) { checkToken(t, v, good, string(input)) })
}

func BenchmarkAuthenticate(b *testing.B) {
	p := newProvider(b)
	v := p.verifier(nil)
	token := p.sign(jose.ES256, "ec", nil, claimsOf(nil))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Authenticate(b.Context(), token, now); err != nil {
			b.Fatal(err)
		}
	}
}
