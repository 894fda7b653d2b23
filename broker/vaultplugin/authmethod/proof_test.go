package authmethod

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

var good = Proof{Use: UseLogin, Audience: "https://vault.example/v1/auth/vouchsafe", Role: "payments", Nonce: "bm9uY2U=", Evidence: "sha256:00"}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signed(t testing.TB, key *ecdsa.PrivateKey) string {
	t.Helper()
	proof, err := good.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

// signAs signs any payload under any typ and algorithm.
func signAs(t *testing.T, key any, alg jose.SignatureAlgorithm, typ string, payload any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if typ != "" {
		options.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	text, ok := payload.(string)
	if !ok {
		b, err := json.Marshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	made, err := signer.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	compact, err := made.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

func TestProof(t *testing.T) {
	key := newKey(t)
	if err := good.verify(signed(t, key), &key.PublicKey); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"`+ProofType+`"}`)) + "." + base64.RawURLEncoding.EncodeToString(text) + "."
	for name, proof := range map[string]string{
		"nothing":             "",
		"no signature":        none,
		"another key":         signed(t, newKey(t)),
		"another algorithm":   signAs(t, p384, jose.ES384, ProofType, good),
		"a MAC":               signAs(t, []byte(strings.Repeat("k", 32)), jose.HS256, ProofType, good),
		"another typ":         signAs(t, key, jose.ES256, "JWT", good),
		"no typ":              signAs(t, key, jose.ES256, "", good),
		"a member twice":      signAs(t, key, jose.ES256, ProofType, strings.Replace(string(text), `{`, `{"use":"login",`, 1)),
		"a member more":       signAs(t, key, jose.ES256, ProofType, strings.Replace(string(text), `{`, `{"more":1,`, 1)),
		"a member less":       signAs(t, key, jose.ES256, ProofType, map[string]string{"use": "login"}),
		"no object":           signAs(t, key, jose.ES256, ProofType, `"login"`),
		"too long":            signed(t, key) + strings.Repeat("A", maxProof),
		"bytes behind it":     signed(t, key) + ".AA",
		"JSON serialisation":  `{"payload":"","signatures":[]}`,
		"an empty signature":  signed(t, key)[:strings.LastIndex(signed(t, key), ".")+1],
		"another's signature": signed(t, key)[:strings.LastIndex(signed(t, key), ".")] + signed(t, newKey(t))[strings.LastIndex(signed(t, key), "."):],
	} {
		if err := good.verify(proof, &key.PublicKey); err == nil {
			t.Errorf("%s is a proof", name)
		}
	}
}

// check holds that nothing but a signature over the very proof passes.
func check(t testing.TB, key *ecdsa.PrivateKey, proof string) {
	t.Helper()
	if err := good.verify(proof, &key.PublicKey); err != nil {
		return
	}
	made, err := jose.ParseSignedCompact(proof, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatalf("%q passes and is none", proof)
	}
	payload, err := made.Verify(&key.PublicKey)
	var said Proof
	if err != nil || json.Unmarshal(payload, &said) != nil || said != good {
		t.Fatalf("%q passes and says %+v", proof, said)
	}
}

func TestMutationsProof(t *testing.T) {
	key := newKey(t)
	mutate.Run(t, [][]byte{[]byte(signed(t, key))}, func(t *testing.T, input []byte) { check(t, key, string(input)) })
}

func FuzzProof(f *testing.F) {
	key := newKey(f)
	f.Add(signed(f, key))
	f.Fuzz(func(t *testing.T, proof string) { check(t, key, proof) })
}

func TestRecipientKey(t *testing.T) {
	const x, y = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"
	jwk := `{"kty":"EC","crv":"P-256","alg":"ECDH-ES+A256KW","x":"` + x + `","y":"` + y + `"}`
	if _, err := recipientKey([]byte(jwk)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"no JSON": "x", "another type": strings.Replace(jwk, `"EC"`, `"OKP"`, 1), "another curve": strings.Replace(jwk, "P-256", "P-521", 1),
		"not on the curve": strings.Replace(jwk, y, x, 1), "short": strings.Replace(jwk, x, x[:40], 1), "padded": strings.Replace(jwk, x, x+"=", 1), "absent": `{"kty":"EC","crv":"P-256"}`,
	} {
		if _, err := recipientKey([]byte(text)); err == nil {
			t.Errorf("%s is a key", name)
		}
	}
}
