package envelope

import (
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// knownAnswer is one entry of kbs-known-answers.json. The ephemeral private key and the content key are not in it.
type knownAnswer struct {
	BobD      string          `json:"bob_d"`
	TEEPubKey json.RawMessage `json:"tee_pubkey"`
	Z         string          `json:"Z"`
	KEK       string          `json:"kek"`
	Protected string          `json:"protected_json"`
	JWE       json.RawMessage `json:"jwe"`
}

func (a knownAnswer) private(t *testing.T) *PrivateKey {
	t.Helper()
	recipient, err := ParseRecipient(a.TEEPubKey, Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := must64(t, a.BobD)
	key, err := recipient.jwe.(*ecdhWrapper).curve.NewPrivateKey(d)
	if err != nil {
		t.Fatal(err)
	}
	if !key.PublicKey().Equal(recipient.jwe.(*ecdhWrapper).key) {
		t.Fatal("bob_d is not the private key of tee_pubkey")
	}
	return &PrivateKey{recipient: recipient, ecdh: key}
}

// agreed stands in for the ephemeral key, whose private half the vectors do not have: it gives the header and the KEK that
// the real one gave.
type agreed struct {
	header, kek []byte
}

func (w agreed) wrap(contentKey []byte) (header, encrypted []byte, err error) {
	encrypted, err = wrapKey(w.kek, contentKey)
	return w.header, encrypted, err
}

func TestKnownAnswers(t *testing.T) {
	var all struct{ P256, P521 knownAnswer }
	if err := json.Unmarshal(vectors.Read(t, "kbs-known-answers.json"), &all); err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]knownAnswer{"P-256": all.P256, "P-521": all.P521} {
		t.Run(name, func(t *testing.T) {
			key := a.private(t)
			var m, header map[string]any
			var protected struct{ EPK struct{ X, Y string } }
			unmarshal(t, a.JWE, &m)
			unmarshal(t, []byte(a.Protected), &header)
			unmarshal(t, []byte(a.Protected), &protected)

			// Key agreement and derivation, from the recipient's side of it.
			curve := key.recipient.jwe.(*ecdhWrapper).curve
			epk, err := ecPoint(curve, must64(t, protected.EPK.X), must64(t, protected.EPK.Y))
			if err != nil {
				t.Fatal(err)
			}
			z, err := key.ecdh.ECDH(epk)
			if err != nil || hex.EncodeToString(z) != a.Z {
				t.Errorf("Z is %x, want %s (%v)", z, a.Z, err)
			}
			kek := deriveKEK(z)
			if hex.EncodeToString(kek) != a.KEK {
				t.Errorf("KEK is %x, want %s", kek, a.KEK)
			}
			contentKey, err := unwrapKey(kek, must64(t, m["encrypted_key"].(string)))
			if err != nil {
				t.Fatal(err)
			}

			plaintext, err := key.Open(a.JWE, Context{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := sealJWE(agreed{[]byte(a.Protected), kek}, contentKey, must64(t, m["iv"].(string)), plaintext)
			if err != nil {
				t.Fatal(err)
			}
			var want bytes.Buffer
			if err := json.Compact(&want, a.JWE); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want.Bytes()) {
				t.Errorf("sealed\n%s\nwant\n%s", got, want.Bytes())
			}
		})
	}
}

// TestHeaderBytes fixes the header that real key wrapping writes, with the ephemeral key of RFC 7518, appendix C, whose public half
// is the one of the known answers.
func TestHeaderBytes(t *testing.T) {
	ephemeral, err := ecdh.P256().NewPrivateKey(must64(t, "0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo"))
	if err != nil {
		t.Fatal(err)
	}
	bob, err := ParseRecipient([]byte(`{"kty":"EC","crv":"P-256","alg":"ECDH-ES+A256KW",`+
		`"x":"weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ","y":"e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck"}`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := *bob.jwe.(*ecdhWrapper)
	w.ephemeral = ephemeral
	header, encrypted, err := w.wrap(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{"crv":"P-256","kty":"EC",` +
		`"x":"gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0","y":"SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps"}}`
	if string(header) != want {
		t.Errorf("header\n%s\nwant\n%s", header, want)
	}
	kek, _ := hex.DecodeString("89ab838633757805bd678cb164f2427776824e8f784152f23747096449921f46")
	if key, err := unwrapKey(kek, encrypted); err != nil || !bytes.Equal(key, make([]byte, 32)) {
		t.Errorf("the wrapped key is not under the known KEK: %v", err)
	}
	oaep, err := (&rsaWrapper{alg: RSAOAEP, key: &rsaKey(t).rsa.PublicKey}).headerOnly()
	if err != nil || oaep != `{"alg":"RSA-OAEP-256","enc":"A256GCM"}` {
		t.Errorf("header %s, %v", oaep, err)
	}
}

func (w *rsaWrapper) headerOnly() (string, error) {
	header, _, err := w.wrap(make([]byte, 32))
	return string(header), err
}

// TestKeyWrapVectors holds the key wrap to RFC 3394, section 4, where the key-encryption key has 256 bits, and 192 and 128 for good measure.
func TestKeyWrapVectors(t *testing.T) {
	const kek = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"
	tests := []struct{ section, kek, key, wrapped string }{
		{"4.1", kek[:32], "00112233445566778899AABBCCDDEEFF", "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5"},
		{"4.2", kek[:48], "00112233445566778899AABBCCDDEEFF", "96778B25AE6CA435F92B5B97C050AED2468AB8A17AD84E5D"},
		{"4.3", kek, "00112233445566778899AABBCCDDEEFF", "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7"},
		{"4.4", kek[:48], "00112233445566778899AABBCCDDEEFF0001020304050607",
			"031D33264E15D33268F24EC260743EDCE1C6C7DDEE725A936BA814915C6762D2"},
		{"4.5", kek, "00112233445566778899AABBCCDDEEFF0001020304050607",
			"A8F9BC1612C68B3FF6E6F4FBE30E71E4769C8B80A32CB8958CD5D17D6B254DA1"},
		{"4.6", kek, "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F",
			"28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"},
	}
	for _, test := range tests {
		t.Run(test.section, func(t *testing.T) {
			kek, key, want := mustHex(t, test.kek), mustHex(t, test.key), mustHex(t, test.wrapped)
			wrapped, err := wrapKey(kek, key)
			if err != nil || !bytes.Equal(wrapped, want) {
				t.Errorf("wrapped %X, want %X (%v)", wrapped, want, err)
			}
			back, err := unwrapKey(kek, want)
			if err != nil || !bytes.Equal(back, key) {
				t.Errorf("unwrapped %X, want %X (%v)", back, key, err)
			}
			for i := range want {
				bad := bytes.Clone(want)
				bad[i] ^= 1
				if _, err := unwrapKey(kek, bad); err == nil {
					t.Errorf("unwrapped with byte %d flipped", i)
				}
			}
		})
	}
	for _, n := range []int{0, 8, 15, 16, 23, 25} {
		if _, err := unwrapKey(mustHex(t, kek), make([]byte, n)); err == nil {
			t.Errorf("unwrapped %d bytes", n)
		}
		if _, err := wrapKey(mustHex(t, kek), make([]byte, n)); err == nil && n != 16 {
			t.Errorf("wrapped %d bytes", n)
		}
	}
}

func must64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unmarshal(t testing.TB, text []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}
