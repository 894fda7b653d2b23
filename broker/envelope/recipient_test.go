package envelope

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// oneRSAKey is made once: it takes longer than all the rest.
var oneRSAKey = sync.OnceValues(func() (*PrivateKey, error) { return GenerateKey(RSA) })

func rsaKey(t testing.TB) *PrivateKey {
	t.Helper()
	key, err := oneRSAKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newKey(t testing.TB, kind KeyType) *PrivateKey {
	t.Helper()
	if kind == RSA {
		return rsaKey(t)
	}
	key, err := GenerateKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// jwkOf returns a valid JWK as a map, to be damaged.
func jwkOf(t testing.TB, kind KeyType) map[string]any {
	t.Helper()
	var m map[string]any
	unmarshal(t, newKey(t, kind).PublicJWK(), &m)
	return m
}

func with(m map[string]any, changes ...any) map[string]any {
	m = maps.Clone(m)
	for i := 0; i < len(changes); i += 2 {
		if m[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
			delete(m, changes[i].(string))
		}
	}
	return m
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRuntimeData holds the canonical form to the digests that KBS guests compute.
func TestRuntimeData(t *testing.T) {
	var known struct {
		P256    knownAnswer
		Runtime struct {
			PrimarySHA384 string `json:"primary_sha384"`
			DeviceSHA384  string `json:"device_sha384"`
		}
	}
	unmarshal(t, vectors.Read(t, "kbs-known-answers.json"), &known)
	var jwk map[string]any
	unmarshal(t, known.P256.TEEPubKey, &jwk)
	// Members that do not define the key are dropped, whatever they are.
	r, err := ParseRecipient(marshal(t, with(jwk, "kid", "me", "use", "enc", "x5c", []int{1}, "key_ops", map[string]any{})), Options{})
	if err != nil {
		t.Fatal(err)
	}
	data := attest.RuntimeData{Hash: crypto.SHA384, Nonce: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", Recipient: r.Canonical()}
	primary, err1 := data.Primary()
	device, err2 := data.Device()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(primary); got != known.Runtime.PrimarySHA384 {
		t.Errorf("primary digest %s, want %s", got, known.Runtime.PrimarySHA384)
	}
	if got := hex.EncodeToString(device); got != known.Runtime.DeviceSHA384 {
		t.Errorf("device digest %s, want %s", got, known.Runtime.DeviceSHA384)
	}
}

// TestThumbprint holds ours to go-jose's where go-jose knows the type of key.
func TestThumbprint(t *testing.T) {
	for _, kind := range []KeyType{P256, P521, RSA} {
		key := newKey(t, kind)
		var theirs jose.JSONWebKey
		unmarshal(t, key.PublicJWK(), &theirs)
		sum, err := theirs.Thumbprint(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if want := base64.RawURLEncoding.EncodeToString(sum); key.Recipient().Thumbprint() != want {
			t.Errorf("%s: thumbprint %s, want %s", kind, key.Recipient().Thumbprint(), want)
		}
	}
	// go-jose knows no X25519 keys: this one was computed by hand, with SHA-256 over the members RFC 8037 names.
	x := "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08" // RFC 8037, appendix A.6
	r, err := ParseRecipient(fmt.Appendf(nil, `{"x":%q,"kty":"OKP","alg":%q,"crv":"X25519"}`, x, HPKEX), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "giQqigT_IKcuzHl0FVJ3k5ts3_TWNAxvsC08UZsfcM8"; r.Thumbprint() != want {
		t.Errorf("thumbprint %s, want %s", r.Thumbprint(), want)
	}
	if want := `{"alg":"` + HPKEX + `","crv":"X25519","kty":"OKP","x":"` + x + `"}`; string(r.Canonical()) != want {
		t.Errorf("canonical form %s, want %s", r.Canonical(), want)
	}
}

func TestParseRecipientRefuses(t *testing.T) {
	ec, p521, rsa, okp, akp := jwkOf(t, P256), jwkOf(t, P521), jwkOf(t, RSA), jwkOf(t, X25519), jwkOf(t, XWing)
	flip := func(m map[string]any, name string) string {
		b := must64(t, m[name].(string))
		b[len(b)-1] ^= 1
		return encode64(b)
	}
	pad := func(m map[string]any, name string, n int) string {
		return encode64(append(make([]byte, n), must64(t, m[name].(string))...))
	}
	number := func(bits uint, add int64) string {
		n := new(big.Int).Lsh(big.NewInt(1), bits)
		return encode64(n.Add(n, big.NewInt(add)).Bytes())
	}
	tests := []struct {
		name string
		jwk  any
		want string
	}{
		{"not an object", []int{1}, "not a JSON object"},
		{"no members", map[string]any{}, `"kty" is missing`},
		{"unknown type", with(ec, "kty", "oct"), `kty "oct" is not one of`},
		{"type in another case", with(ec, "kty", "ec"), `kty "ec" is not one of`},
		{"type is a number", with(ec, "kty", 1), `"kty" is not a string`},
		{"type is null, which Go reads as empty", with(ec, "kty", json.RawMessage("null")), `"kty" is not a string`},
		{"no algorithm", with(ec, "alg", nil), `"alg" is missing`},
		{"algorithm of another type", with(ec, "alg", RSAOAEP), "of an EC key is not"},
		{"direct agreement", with(ec, "alg", "ECDH-ES"), "of an EC key is not"},
		{"P-384", with(ec, "crv", "P-384"), `crv "P-384" is not one of`},
		{"other curve than the coordinates'", with(ec, "crv", "P-521"), "coordinates of 32 and 32 bytes, those of P-521 have 66"},
		{"no y", with(ec, "y", nil), `"y" is missing`},
		{"off the curve", with(ec, "y", flip(ec, "y")), "not a point of P-256"},
		{"at infinity", with(ec, "x", encode64(make([]byte, 32)), "y", encode64(make([]byte, 32))), "not a point"},
		{"x shortened", with(ec, "x", ec["x"].(string)[:40]), "coordinates of 30"},
		{"x with a zero byte before", with(ec, "x", pad(ec, "x", 1)), "coordinates of 33"},
		{"off P-521", with(p521, "x", flip(p521, "x")), "not a point of P-521"},
		{"padded base64", with(ec, "x", ec["x"].(string)+"="), "not unpadded base64url"},
		{"line break in base64", with(ec, "x", ec["x"].(string)+"\n"), "not unpadded base64url"},
		{"spare bits set", with(ec, "x", ec["x"].(string)[:42]+"B"), "not unpadded base64url"},
		{"private EC key", with(ec, "d", "c2VjcmV0"), `"d", a private member`},
		{"private RSA key", with(rsa, "p", "c2VjcmV0"), `"p", a private member`},
		{"private AKP key", with(akp, "priv", "c2VjcmV0"), `"priv", a private member`},
		{"private member that is null", with(ec, "d", json.RawMessage("null")), `"d", a private member`},
		{"RSA1_5", with(rsa, "alg", RSA15), "deprecated and not turned on"},
		{"RSA-OAEP with SHA-1", with(rsa, "alg", "RSA-OAEP"), "is not RSA-OAEP-256"},
		{"RSA 1024", with(rsa, "n", number(1023, 1)), "modulus of 1024 bits"},
		{"RSA 2047", with(rsa, "n", number(2046, 1)), "modulus of 2047 bits"},
		{"RSA 8193", with(rsa, "n", number(8192, 1)), "modulus of 8193 bits"},
		{"even modulus", with(rsa, "n", number(2047, 2)), "even modulus"},
		{"modulus with a zero byte before", with(rsa, "n", pad(rsa, "n", 1)), "starts with a zero byte"},
		{"empty modulus", with(rsa, "n", ""), "empty"},
		{"exponent 1", with(rsa, "e", "AQ"), "not an odd number"},
		{"exponent 0", with(rsa, "e", "AA"), "zero byte"},
		{"even exponent", with(rsa, "e", number(16, 0)), "not an odd number"},
		{"exponent 2^31+1", with(rsa, "e", number(31, 1)), "not an odd number"},
		{"exponent 2^64+1", with(rsa, "e", number(64, 1)), "not an odd number"},
		{"exponent of 1000 bytes", with(rsa, "e", number(8000, 1)), "not an odd number"},
		{"Ed25519", with(okp, "crv", "Ed25519"), "are not X25519"},
		{"X25519 for a JWE", with(okp, "alg", ECDHES), "are not X25519"},
		{"X25519 of 31 bytes", with(okp, "x", encode64(make([]byte, 31))), "32 bytes"},
		{"ML-KEM algorithm of KBS clients", with(akp, "alg", "ML-KEM-768+A192KW"), "of an AKP key is not"},
		{"AKP cut", with(akp, "pub", akp["pub"].(string)[:400]), "1184 bytes"},
		{"AKP with coefficients over the modulus", with(akp, "pub", encode64(bytes.Repeat([]byte{255}, 1216))), "1184 bytes"},
		{"AKP with a small-order half", with(akp, "pub",
			encode64(append(must64(t, akp["pub"].(string))[:1184], make([]byte, 32)...))), "small order"},
		{"too large", with(ec, "x5c", strings.Repeat("A", MaxJWK)), "at most 16384"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseRecipient(marshal(t, test.jwk), Options{})
			if !errors.Is(err, ErrRecipient) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), "c2VjcmV0") || len(err.Error()) > 250) {
				t.Errorf("the error echoes or is too long: %v", err)
			}
		})
	}
	for _, text := range []string{"", "{", `{"kty":"EC","kty":"EC"}`, "{}{}", strings.Repeat("[", 10000)} {
		if _, err := ParseRecipient([]byte(text), Options{}); !errors.Is(err, ErrRecipient) {
			t.Errorf("%.20q: error %v", text, err)
		}
	}
}

// TestDuplicateMember: the last one counts for encoding/json, the first for others, so neither may.
func TestDuplicateMember(t *testing.T) {
	good := string(newKey(t, P256).PublicJWK())
	other := string(newKey(t, P256).PublicJWK())
	x := other[strings.Index(other, `"x":`):strings.LastIndex(other, `,"y"`)]
	for _, name := range []string{x, strings.Replace(x, `"x"`, `"\u0078"`, 1)} {
		_, err := ParseRecipient([]byte(strings.Replace(good, "}", ","+name+"}", 1)), Options{})
		if err == nil || !strings.Contains(err.Error(), "twice") {
			t.Errorf("error %v", err)
		}
	}
}

func TestSmallOrder(t *testing.T) {
	private, err := ecdh.X25519().GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for point := range smallOrderPoints {
		for _, high := range []byte{0, 0x80} {
			x := []byte(point)
			x[31] |= high
			// The list is right: each of them makes a zero secret.
			public, err := ecdh.X25519().NewPublicKey(x)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := private.ECDH(public); err == nil {
				t.Errorf("%x is not of small order", x)
			}
			jwk := with(jwkOf(t, X25519), "x", encode64(x))
			if _, err := ParseRecipient(marshal(t, jwk), Options{}); err == nil || !strings.Contains(err.Error(), "small order") {
				t.Errorf("%x: error %v", x, err)
			}
		}
	}
}

func TestRSA15OnlyWhenAllowed(t *testing.T) {
	jwk := marshal(t, with(jwkOf(t, RSA), "alg", RSA15))
	r, err := ParseRecipient(jwk, Options{AllowRSA15: true})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := r.SealJWE([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	object, err := jose.ParseEncryptedJSON(string(sealed), []jose.KeyAlgorithm{jose.RSA1_5}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		t.Fatal(err)
	}
	if plaintext, err := object.Decrypt(rsaKey(t).rsa); err != nil || string(plaintext) != "secret" {
		t.Errorf("decrypted %q, %v", plaintext, err)
	}
}

// parserSeeds are JWKs of every type, good ones and ones on the edge.
func parserSeeds(t testing.TB) [][]byte {
	seeds := [][]byte{
		[]byte(`{"kty":"AKP","alg":"ML-KEM-768+A192KW","pub":"AAAA"}`),
		[]byte(`{"kty":"EC","crv":"P-256","alg":"ECDH-ES+A256KW","x":"weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ",` +
			`"y":"e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck","kid":"x","x5c":["a",{"b":1}]}`),
	}
	for _, kind := range KeyTypes() {
		seeds = append(seeds, newKey(t, kind).PublicJWK())
	}
	return seeds
}

// checkRecipient holds what is accepted to: it can be sealed to, and its canonical form is a fixed point.
func checkRecipient(t testing.TB, input []byte) {
	r, err := ParseRecipient(input, Options{AllowRSA15: true})
	if err != nil {
		if !errors.Is(err, ErrRecipient) {
			t.Errorf("error %v does not wrap ErrRecipient", err)
		}
		return
	}
	again, err := ParseRecipient(r.Canonical(), Options{AllowRSA15: true})
	if err != nil || !bytes.Equal(again.Canonical(), r.Canonical()) || again.Thumbprint() != r.Thumbprint() {
		t.Errorf("%q: the canonical form %q is not a fixed point: %v", input, r.Canonical(), err)
	}
	if !slices.Contains([]string{ECDHES, RSAOAEP, RSA15, HPKEX, HPKEXWing}, r.Algorithm()) {
		t.Errorf("%q: algorithm %q", input, r.Algorithm())
	}
	if _, err := r.Seal(Context{}, nil); err != nil {
		t.Errorf("%q was accepted and cannot be sealed to: %v", input, err)
	}
}

func FuzzParseRecipient(f *testing.F) {
	for _, seed := range parserSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) { checkRecipient(t, input) })
}

func TestMutationsRecipient(t *testing.T) {
	mutate.Run(t, parserSeeds(t), func(t *testing.T, input []byte) { checkRecipient(t, input) })
}
