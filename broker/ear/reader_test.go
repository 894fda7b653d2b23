package ear

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	verifier "github.com/vouchsafe/vouchsafe/attest/token"
)

// TestReader has another broker read tokens as evidence, as it reads those of the reference verifier: what it finds in the evidence of each kind is
// what this broker proved.
func TestReader(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]any{"kty": "EC", "crv": "P-256", "kid": "k", "x": b64(point[1:33]), "y": b64(point[33:])}}})
	if err != nil {
		t.Fatal(err)
	}
	sign := func(payload []byte) []byte {
		input := b64([]byte(`{"alg":"ES256","kid":"k","typ":"JWT"}`)) + "." + b64(payload)
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		var signature [64]byte
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return []byte(input + "." + b64(signature[:]))
	}
	for name, test := range kinds() {
		if test.claims.Kind == attest.Token { // a token about a token says nothing of hardware
			continue
		}
		t.Run(name, func(t *testing.T) {
			want := token(test.claims)
			v, err := verifier.New(verifier.Config{Verifiers: []verifier.Trusted{{Name: "other", Format: verifier.EAR, Issuer: want.Issuer, Keys: set, Passport: true}}})
			if err != nil {
				t.Fatal(err)
			}
			passport, err := v.Passport(t.Context(), sign(encode(t, want)), issued.Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			c, got := test.claims, passport.Claims
			if got.Token.TEE != string(c.Kind) || got.ReportData != c.ReportData || got.InitData != c.InitData || got.Token.Recipient == "" {
				t.Errorf("read %+v", got)
			}
			if slices.Contains([]attest.Kind{attest.SNP, attest.AzSNPvTPM, attest.TDX, attest.AzTDXvTPM, attest.SGX}, c.Kind) {
				if got.Measurement != c.Measurement || got.Debug == nil || *got.Debug || c.Intel != nil && !slices.Equal(got.Token.Advisories, c.Intel.Advisories) {
					t.Errorf("read %+v", got)
				}
			}
			if c.Intel != nil && got.TCBStatus != attest.TCBUpToDate {
				t.Errorf("the TCB is read as %q", got.TCBStatus)
			}
			if len(got.Token.Submodules) < 1+len(c.Devices) {
				t.Errorf("read %v", got.Token.Submodules)
			}
		})
	}
}
