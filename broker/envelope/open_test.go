package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

var someContext = Context{
	Secret: "payments/db/password", Version: 3, PolicyDigest: "sha256:00ff", Nonce: "AAECAw==", Decision: "d-1",
}

func TestSealOpen(t *testing.T) {
	sizes := []int{0, 1, 15, 16, 17, 4096, MaxPlaintext}
	for _, kind := range KeyTypes() {
		t.Run(string(kind), func(t *testing.T) {
			key := newKey(t, kind)
			for _, size := range sizes {
				plaintext := bytes.Repeat([]byte{0xa5}, size)
				sealed, err := key.Recipient().Seal(someContext, plaintext)
				if err != nil {
					t.Fatal(err)
				}
				opened, err := key.Open(sealed, someContext)
				if err != nil || !bytes.Equal(opened, plaintext) {
					t.Errorf("%d bytes: opened %d bytes, %v", size, len(opened), err)
				}
				if _, err := newKey(t, P256).Open(sealed, someContext); err == nil {
					t.Error("opened with another key")
				}
			}
			if _, err := key.Recipient().Seal(someContext, make([]byte, MaxPlaintext+1)); !errors.Is(err, ErrPlaintext) {
				t.Errorf("sealed over the limit: %v", err)
			}
		})
	}
}

// TestFresh: the same plaintext to the same key is never the same envelope.
func TestFresh(t *testing.T) {
	for _, kind := range KeyTypes() {
		key := newKey(t, kind)
		a, err1 := key.Recipient().Seal(someContext, []byte("x"))
		b, err2 := key.Recipient().Seal(someContext, []byte("x"))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		var ma, mb map[string]string
		unmarshal(t, a, &ma)
		unmarshal(t, b, &mb)
		for name := range ma {
			constant := name == "alg" || name == "protected" && kind == RSA
			if !constant && ma[name] == mb[name] {
				t.Errorf("%s: %s is the same twice", kind, name)
			}
		}
	}
}

func TestWrongForm(t *testing.T) {
	if _, err := newKey(t, X25519).Recipient().SealJWE(nil); err == nil {
		t.Error("an HPKE key took a JWE")
	}
	if _, err := newKey(t, P256).Recipient().SealHPKE(someContext, nil); err == nil {
		t.Error("an EC key took an HPKE envelope")
	}
	if _, err := GenerateKey("rot13"); err == nil || !strings.Contains(err.Error(), "x-wing") {
		t.Errorf("error %v does not say which types there are", err)
	}
}

// TestContext: an HPKE envelope opens in its own context and in none that differs in one member.
func TestContext(t *testing.T) {
	others := map[string]Context{"empty": {}}
	for name, change := range map[string]func(*Context){
		"secret":   func(c *Context) { c.Secret = "payments/db/other" },
		"version":  func(c *Context) { c.Version++ },
		"policy":   func(c *Context) { c.PolicyDigest = "sha256:00fe" },
		"nonce":    func(c *Context) { c.Nonce = "AAECBA==" },
		"decision": func(c *Context) { c.Decision = "" },
		"moved":    func(c *Context) { c.Decision, c.Nonce = c.Nonce, c.Decision },
	} {
		c := someContext
		change(&c)
		others[name] = c
	}
	for _, kind := range []KeyType{X25519, XWing} {
		key := newKey(t, kind)
		sealed, err := key.Recipient().SealHPKE(someContext, []byte("secret"))
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range others {
			if _, err := key.Open(sealed, c); !errors.Is(err, ErrOpen) {
				t.Errorf("%s, context with another %s: error %v", kind, name, err)
			}
		}
		if _, err := key.Recipient().SealHPKE(Context{Secret: "\xff"}, nil); err == nil {
			t.Error("sealed in a context that is not UTF-8")
		}
		if _, err := key.Recipient().SealHPKE(Context{Version: 1<<53 + 1}, nil); err == nil {
			t.Error("sealed in a context whose version JSON cannot hold")
		}
	}
}

// TestEveryByte: no change to any one byte of an envelope leaves something that opens.
func TestEveryByte(t *testing.T) {
	for _, kind := range KeyTypes() {
		t.Run(string(kind), func(t *testing.T) {
			key := newKey(t, kind)
			sealed, err := key.Recipient().Seal(someContext, []byte("s"))
			if err != nil {
				t.Fatal(err)
			}
			masks := []byte{1, 0x20, 0x80}
			if kind != P256 && kind != X25519 {
				masks = masks[:1] // the others take long, and are read by the same parsers
			}
			for i := range sealed {
				for _, mask := range masks {
					bad := bytes.Clone(sealed)
					bad[i] ^= mask
					if _, err := key.Open(bad, someContext); !errors.Is(err, ErrOpen) && !errors.Is(err, ErrEnvelope) {
						t.Errorf("byte %d ^ %#x: error %v\n%s", i, mask, err, bad)
					}
				}
			}
			for i := range len(sealed) {
				if _, err := key.Open(sealed[:i], someContext); err == nil {
					t.Errorf("opened when cut at %d", i)
				}
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	key := newKey(t, P256)
	sealed, err := key.Recipient().SealJWE([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	unmarshal(t, sealed, &m)
	header := func(text string) string { return encode64([]byte(text)) }
	good := string(must64(t, m["protected"].(string)))
	tests := []struct {
		name     string
		envelope map[string]any
		want     string
	}{
		{"additional data", with(m, "aad", "AA"), "members other than"},
		{"unprotected header", with(m, "header", map[string]string{"alg": "none"}), "members other than"},
		{"no tag", with(m, "tag", nil), `"tag" is missing`},
		{"short tag", with(m, "tag", encode64(make([]byte, 12))), "tag of another length"},
		{"long nonce", with(m, "iv", encode64(make([]byte, 16))), "iv or tag"},
		{"member is a number", with(m, "iv", 1), "not a string"},
		{"other algorithm", with(m, "protected", header(strings.Replace(good, ECDHES, "dir", 1))), `alg "dir"`},
		{"other cipher", with(m, "protected", header(strings.Replace(good, "A256GCM", "A128GCM", 1))), `enc "A128GCM"`},
		{"compression", with(m, "protected", header(strings.Replace(good, `{"alg"`, `{"zip":"DEF","alg"`, 1))), "members other than"},
		{"critical extension", with(m, "protected", header(strings.Replace(good, `{"alg"`, `{"crit":["b"],"alg"`, 1))), "members other than"},
		{"party information", with(m, "protected", header(strings.Replace(good, `{"alg"`, `{"apu":"AA","alg"`, 1))), "members other than"},
		{"no ephemeral key", with(m, "protected", header(`{"alg":"ECDH-ES+A256KW","enc":"A256GCM"}`)), `"epk" is missing`},
		{"ephemeral key of P-521", with(m, "protected", header(strings.Replace(good, "P-256", "P-521", 1))), "not an EC key of P-256"},
		{"ephemeral key off the curve", with(m, "protected", header(`{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{"crv":"P-256","kty":"EC",`+
			`"x":"`+encode64(make([]byte, 32))+`","y":"`+encode64(make([]byte, 32))+`"}}`)), "not a point"},
		{"private ephemeral key", with(m, "protected", header(strings.Replace(good, `{"crv"`, `{"d":"AA","crv"`, 1))), "members other than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := key.Open(marshal(t, test.envelope), Context{})
			if !errors.Is(err, ErrEnvelope) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
	if _, err := key.Open(make([]byte, maxEnvelope+1), Context{}); !errors.Is(err, ErrEnvelope) {
		t.Errorf("too large: %v", err)
	}
	hpkeKey := newKey(t, XWing)
	if _, err := hpkeKey.Open(sealed, Context{}); !errors.Is(err, ErrEnvelope) {
		t.Errorf("a JWE with an HPKE key: %v", err)
	}
	x, err := newKey(t, X25519).Recipient().Seal(Context{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hpkeKey.Open(x, Context{}); !errors.Is(err, ErrEnvelope) || !strings.Contains(err.Error(), "alg") {
		t.Errorf("an envelope of another suite: %v", err)
	}
}

var joseAlgorithms = []jose.KeyAlgorithm{jose.ECDH_ES_A256KW, jose.RSA_OAEP_256}

// joseKey returns go-jose's idea of the private key.
func joseKey(t testing.TB, key *PrivateKey) any {
	t.Helper()
	if key.rsa != nil {
		return key.rsa
	}
	var m map[string]string
	unmarshal(t, key.PublicJWK(), &m)
	m["d"] = encode64(key.ecdh.Bytes())
	var jwk jose.JSONWebKey
	unmarshal(t, marshal(t, m), &jwk)
	return jwk.Key
}

// TestGoJose: an implementation that shares nothing with this one opens what we seal, and we open what it seals.
func TestGoJose(t *testing.T) {
	for _, kind := range []KeyType{P256, P521, RSA} {
		t.Run(string(kind), func(t *testing.T) {
			key := newKey(t, kind)
			for _, plaintext := range []string{"", "secret", strings.Repeat("long ", 1000)} {
				sealed, err := key.Recipient().SealJWE([]byte(plaintext))
				if err != nil {
					t.Fatal(err)
				}
				object, err := jose.ParseEncryptedJSON(string(sealed), joseAlgorithms, []jose.ContentEncryption{jose.A256GCM})
				if err != nil {
					t.Fatal(err)
				}
				if opened, err := object.Decrypt(joseKey(t, key)); err != nil || string(opened) != plaintext {
					t.Errorf("go-jose opened %.20q, %v", opened, err)
				}

				theirs := joseSeal(t, key, plaintext)
				if opened, err := key.Open(theirs, Context{}); err != nil || string(opened) != plaintext {
					t.Errorf("opened %.20q of go-jose's, %v", opened, err)
				}
			}
		})
	}
}

func joseSeal(t testing.TB, key *PrivateKey, plaintext string) []byte {
	t.Helper()
	var jwk jose.JSONWebKey
	unmarshal(t, key.PublicJWK(), &jwk)
	encrypter, err := jose.NewEncrypter(jose.A256GCM,
		jose.Recipient{Algorithm: jose.KeyAlgorithm(key.Recipient().Algorithm()), Key: jwk.Key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	object, err := encrypter.Encrypt([]byte(plaintext))
	if err != nil {
		t.Fatal(err)
	}
	// FullSerialize of an empty plaintext leaves ciphertext out, so write the members from the compact form.
	compact, err := object.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(compact, ".")
	return marshal(t, map[string]string{
		"protected": parts[0], "encrypted_key": parts[1], "iv": parts[2], "ciphertext": parts[3], "tag": parts[4],
	})
}

// TestGoJoseHeaderDiffers records why JWEs are written here: clients that serialise the header again, with the members of epk in
// alphabetical order, cannot open go-jose's.
func TestGoJoseHeaderDiffers(t *testing.T) {
	var m struct{ Protected string }
	unmarshal(t, joseSeal(t, newKey(t, P256), "x"), &m)
	header := string(must64(t, m.Protected))
	if strings.HasPrefix(header, `{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{"crv":"P-256","kty":"EC","x":`) {
		t.Errorf("go-jose writes the header as KBS clients need it now: %s", header)
	}
}

// openSeeds returns a key and envelopes for it.
func openSeeds(t testing.TB, kind KeyType) (*PrivateKey, [][]byte) {
	key := newKey(t, kind)
	var seeds [][]byte
	for _, plaintext := range []string{"", "secret", strings.Repeat("x", 200)} {
		sealed, err := key.Recipient().Seal(someContext, []byte(plaintext))
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, sealed)
	}
	if key.hpke == nil {
		seeds = append(seeds, joseSeal(t, key, "secret"))
	}
	return key, seeds
}

// checkOpen holds what opens to: its members are those of one of the seeds.
func checkOpen(t testing.TB, key *PrivateKey, seeds [][]byte, input []byte) {
	_, err := key.Open(input, someContext)
	if err != nil {
		if !errors.Is(err, ErrEnvelope) && !errors.Is(err, ErrOpen) {
			t.Errorf("error %v is of neither kind", err)
		}
		return
	}
	var got map[string]string
	unmarshal(t, input, &got)
	for _, seed := range seeds {
		var want map[string]string
		unmarshal(t, seed, &want)
		if bytes.Equal(marshal(t, got), marshal(t, want)) {
			return
		}
	}
	t.Errorf("opened what was never sealed: %s", input)
}

func fuzzOpen(f *testing.F, kind KeyType) {
	key, seeds := openSeeds(f, kind)
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		// Each worker process has a key of its own, so an envelope among the inputs may open in none.
		if _, err := key.Open(input, someContext); err == nil && !json.Valid(input) {
			t.Errorf("opened what is not JSON: %q", input)
		}
	})
}

func FuzzOpenJWE(f *testing.F)  { fuzzOpen(f, P256) }
func FuzzOpenHPKE(f *testing.F) { fuzzOpen(f, XWing) }

func TestMutationsOpen(t *testing.T) {
	for _, kind := range []KeyType{P256, X25519} { // one of each form: the others take the same path, only slower
		t.Run(string(kind), func(t *testing.T) {
			key, seeds := openSeeds(t, kind)
			mutate.Run(t, seeds, func(t *testing.T, input []byte) { checkOpen(t, key, seeds, input) })
		})
	}
}
