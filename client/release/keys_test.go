package release

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// signer signs with go-jose, which shares nothing with what verifies.
type signer struct {
	key *ecdsa.PrivateKey
	kid string
}

func newSigner(t testing.TB, kid string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, kid}
}

func (s signer) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: &s.key.PublicKey, KeyID: s.kid, Algorithm: "ES256", Use: "sig"}
}

func (s signer) sign(t testing.TB, typ string, payload []byte) []byte {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType(jose.ContentType(typ))
	made, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: s.kid}}, options)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := made.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(jws.FullSerialize())
}

func jwks(t testing.TB, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpen(t *testing.T) {
	a, b := newSigner(t, "a"), newSigner(t, "b")
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	others := []jose.JSONWebKey{
		{Key: &p384.PublicKey, KeyID: "p384", Algorithm: "ES384"}, {Key: &a.key.PublicKey, KeyID: "enc", Use: "enc"}, {Key: &a.key.PublicKey},
	}
	keys, err := ParseKeys(jwks(t, append(others, a.public(), b.public())...))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []signer{a, b} {
		if payload, err := keys.Open(s.sign(t, ReplyType, []byte(goodReply))); err != nil || string(payload) != goodReply {
			t.Errorf("%s: %q, %v", s.kid, payload, err)
		}
	}
	if _, err := keys.Open(newSigner(t, "c").sign(t, ReplyType, nil)); !errors.Is(err, ErrUnknownKey) || !errors.Is(err, ErrSignature) {
		t.Errorf("an unknown key: %v", err)
	}
	bad := map[string][]byte{
		"a key's id taken":      newSigner(t, "a").sign(t, ReplyType, []byte(goodReply)),
		"a token":               a.sign(t, "JWT", []byte(goodReply)),
		"a key for encryption":  signer{a.key, "enc"}.sign(t, ReplyType, nil),
		"nothing":               nil,
		"null":                  []byte("null"),
		"compact serialisation": []byte(`"a.b.c"`),
	}
	signed := a.sign(t, ReplyType, []byte(goodReply))
	var m map[string]string
	if err := json.Unmarshal(signed, &m); err != nil {
		t.Fatal(err)
	}
	change := func(name, member, value string) {
		c := map[string]string{}
		for k, v := range m {
			c[k] = v
		}
		c[member] = value
		bad[name], _ = json.Marshal(c)
	}
	header := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	change("no algorithm", "protected", header(`{"alg":"none","kid":"a","typ":"`+ReplyType+`"}`))
	change("HMAC with the public key", "protected", header(`{"alg":"HS256","kid":"a","typ":"`+ReplyType+`"}`))
	change("own key in the header", "protected", header(`{"alg":"ES256","kid":"a","jwk":{},"typ":"`+ReplyType+`"}`))
	change("unencoded payload", "protected", header(`{"alg":"ES256","kid":"a","b64":false,"crit":["b64"],"typ":"`+ReplyType+`"}`))
	change("long header", "protected", strings.Repeat("A", 2048))
	change("unprotected header", "header", "x")
	change("zero signature", "signature", base64.RawURLEncoding.EncodeToString(make([]byte, 64)))
	change("short signature", "signature", base64.RawURLEncoding.EncodeToString(make([]byte, 63)))
	change("no signature", "signature", "")
	change("other payload", "payload", header(strings.Replace(goodReply, "d-1", "d-2", 1)))
	for name, input := range bad {
		if _, err := keys.Open(input); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range signed {
		changed := bytes.Clone(signed)
		changed[i] ^= 1
		if _, err := keys.Open(changed); !errors.Is(err, ErrSignature) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
}

func TestParseKeysRefuses(t *testing.T) {
	a, b := newSigner(t, "a"), newSigner(t, "b")
	good := string(jwks(t, a.public()))
	x := good[strings.Index(good, `"x":"`)+5:][:43]
	tests := map[string]string{
		"empty":            ``,
		"null":             `null`,
		"no keys member":   `{}`,
		"keys is null":     `{"keys":null}`,
		"no keys":          `{"keys":[]}`,
		"keys twice":       strings.Replace(good, `{"keys"`, `{"keys":[],"keys"`, 1),
		"none usable":      `{"keys":[{"kty":"RSA","kid":"a"}]}`,
		"same kid":         string(jwks(t, a.public(), signer{b.key, "a"}.public())),
		"off the curve":    strings.Replace(good, x, strings.Repeat("A", 43), 1),
		"short coordinate": strings.Replace(good, x, x[:42], 1),
		"member twice":     strings.Replace(good, `"kid":"a"`, `"kid":"a","kid":"b"`, 1),
		"too many":         `{"keys":[` + strings.Repeat(`{"kty":"RSA"},`, 64) + `{"kty":"RSA"}]}`,
		"too large":        `{"keys":"` + strings.Repeat("A", MaxAnswer) + `"}`,
	}
	for name, text := range tests {
		if _, err := ParseKeys([]byte(text)); !errors.Is(err, ErrKeys) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func keySeeds(t testing.TB) (*Keys, [][]byte, [][]byte) {
	a := newSigner(t, "a")
	set := jwks(t, a.public(), newSigner(t, "b").public())
	keys, err := ParseKeys(set)
	if err != nil {
		t.Fatal(err)
	}
	return keys, [][]byte{set}, [][]byte{a.sign(t, ReplyType, []byte(goodReply)), a.sign(t, ReplyType, nil)}
}

func checkKeys(t testing.TB, input []byte) {
	if k, err := ParseKeys(input); err == nil && len(k.byID) == 0 {
		t.Errorf("%q: a set without keys", input)
	} else if err != nil && !errors.Is(err, ErrKeys) {
		t.Errorf("error %v does not wrap ErrKeys", err)
	}
}

func FuzzParseKeys(f *testing.F) {
	_, sets, _ := keySeeds(f)
	f.Add(sets[0])
	f.Fuzz(func(t *testing.T, input []byte) { checkKeys(t, input) })
}

func FuzzOpen(f *testing.F) {
	keys, _, signed := keySeeds(f)
	for _, seed := range signed {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if payload, err := keys.Open(input); err == nil && len(payload) > 0 && string(payload) != goodReply {
			t.Errorf("opened what was never signed: %q", input)
		}
	})
}

func TestMutationsKeys(t *testing.T) {
	keys, sets, signed := keySeeds(t)
	mutate.Run(t, sets, func(t *testing.T, input []byte) { checkKeys(t, input) })
	mutate.Run(t, signed, func(t *testing.T, input []byte) {
		payload, err := keys.Open(input)
		if err == nil && len(payload) > 0 && string(payload) != goodReply {
			t.Errorf("opened what was never signed: %q", input)
		}
	})
}
