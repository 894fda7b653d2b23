package kbs_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/attest/token"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/kbs"
	"github.com/vouchsafe/vouchsafe/broker/kbs/kbstest"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/store"
)

const allowPassports = `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata: {name: passports}
spec:
  secrets: ["res/type/passport"]
  require:
    - {name: verifier, that: 'claims.kind == "token" && claims.token.verifier == "elsewhere" && claims.token.tee == "snp"'}
    - {name: status, that: 'claims.token.status == "affirming"'}
`

const waivePassports = `  waive:
    - {rule: no-passport, reason: guests of the other cluster attest there}
`

const elsewhere = "https://as.example"

// issuer is another verifier, which signs what tests want.
type issuer struct {
	key   *ecdsa.PrivateKey
	clock *clock
}

func newIssuer(t *testing.T) *issuer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{key: key, clock: &clock{at: time.Now().Truncate(time.Second)}}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// jwk is the issuer's public key.
func (is *issuer) jwk(t *testing.T) map[string]any {
	t.Helper()
	point, err := is.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return map[string]any{"kty": "EC", "crv": "P-256", "kid": "as-1", "x": b64(point[1:33]), "y": b64(point[33:])}
}

// ear signs a result for a workload's key, good for five minutes, that edit changed.
func (is *issuer) ear(t *testing.T, key any, edit func(claims map[string]any)) string {
	t.Helper()
	now := is.clock.now()
	claims := map[string]any{
		"eat_profile": "tag:github.com,2024:confidential-containers/Trustee", "iss": elsewhere, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"submods": map[string]any{"cpu0": map[string]any{
			"ear.status": "affirming", "ear.trustworthiness-vector": map[string]any{"hardware": 2}, "ear.appraisal-policy-id": "default",
			"ear.veraison.annotated-evidence": map[string]any{
				"snp":                 map[string]any{"measurement": strings.Repeat("6a", 48), "policy_debug_allowed": false, "vmpl": 0},
				"report_data":         strings.Repeat("00", 64),
				"runtime_data_claims": map[string]any{"nonce": "their nonce", "tee-pubkey": key},
			},
		}},
	}
	if edit != nil {
		edit(claims)
	}
	input := encode(t, map[string]any{"alg": "ES256", "kid": "as-1", "typ": "JWT"}) + "." + encode(t, claims)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, is.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(signature[:])
}

// workload is a client with a key that it never showed this broker, and the key as another verifier attests it.
func workload(t *testing.T, b *brokertest.Broker) (*kbstest.Client, map[string]any) {
	t.Helper()
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, b)
	if c.Key, err = kbstest.ECKey("P-256", private.Bytes()); err != nil {
		t.Fatal(err)
	}
	point, b64 := private.PublicKey().Bytes(), base64.RawURLEncoding.EncodeToString
	return c, map[string]any{"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": b64(point[1:33]), "y": b64(point[33:])}
}

// startPassports runs a broker that takes passports of is, if passport says so, beside sample evidence.
func startPassports(t *testing.T, is *issuer, passport bool, policy string) *brokertest.Broker {
	t.Helper()
	set, err := json.Marshal(map[string]any{"keys": []any{is.jwk(t)}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := token.New(token.Config{Verifiers: []token.Trusted{{Name: "elsewhere", Format: token.EAR, Issuer: elsewhere, Keys: set, Passport: passport}}})
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, kbs.Config{}, brokertest.Config{
		Now: is.clock.now, Verifiers: func(*data.Data) []attest.Verifier { return []attest.Verifier{sample.New(), v} },
	})
	b.PutSecret("res/type/passport", []byte(secret))
	b.ApplyPolicy(policy)
	return b
}

// decisionOf returns the record of what a failed request was judged.
func decisionOf(t *testing.T, b *brokertest.Broker, err error) broker.Decision {
	t.Helper()
	var refused *kbstest.Error
	if !errors.As(err, &refused) {
		t.Fatalf("not an answer: %v", err)
	}
	_, id, ok := strings.Cut(refused.Detail, "(decision ")
	if !ok {
		t.Fatalf("no decision in %q", refused.Detail)
	}
	explained, err := b.Explain(t.Context(), b.Admin, store.DefaultNamespace, strings.TrimSuffix(id, ")"))
	if err != nil {
		t.Fatal(err)
	}
	return explained.Decision
}

// TestPassport has a guest fetch a secret with the token of another verifier, without attesting here.
func TestPassport(t *testing.T) {
	is := newIssuer(t)
	b := startPassports(t, is, true, allowPassports+waivePassports)
	c, key := workload(t, b)
	passport := is.ear(t, key, nil)
	for range 2 { // as often as it likes, until it expires
		if got, err := c.GetBearer(t.Context(), passport, "res/type/passport"); err != nil || string(got) != secret {
			t.Fatalf("%q, %v", got, err)
		}
		is.clock.add(time.Minute)
	}
	decisions, _, err := b.Decisions(t.Context(), b.Admin, store.DefaultNamespace, broker.DecisionFilter{}, "", 0)
	if err != nil || len(decisions) != 2 {
		t.Fatalf("%d decisions, %v", len(decisions), err)
	}
	for _, d := range decisions {
		explained, err := b.Explain(t.Context(), b.Admin, store.DefaultNamespace, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		r := explained.Decision
		if r.Outcome != broker.OutcomeReleased || r.Kind != attest.Token || r.Claims.Bound == nil || *r.Claims.Bound || !r.Claims.Token.Passport || r.Recipient == "" ||
			r.AttestedAt.After(r.Time) || r.Secrets[0].Lease == nil {
			t.Errorf("%+v", r)
		}
	}
	// Whoever else has it gets what he cannot read.
	thief := client(t, b)
	if got, err := thief.GetBearer(t.Context(), passport, "res/type/passport"); err == nil {
		t.Errorf("a thief reads %q", got)
	}
	is.clock.add(4 * time.Minute)
	_, err = c.GetBearer(t.Context(), passport, "res/type/passport")
	wantError(t, err, http.StatusUnauthorized, "AttestationError")
	if d := decisionOf(t, b, err); d.Outcome != broker.OutcomeRefused || d.Refusal.Code != attest.CodeTokenTime || d.Recipient != "" || d.Kind != attest.Token {
		t.Errorf("%+v", d)
	}
	// The broker still issues and takes its own.
	own := client(t, b)
	if got, err := own.Get(t.Context(), "res/type/tag"); err != nil || string(got) != secret {
		t.Errorf("%q, %v", got, err)
	}
}

// TestPassportNotWaived: without a policy that waives the rule, a passport releases nothing.
func TestPassportNotWaived(t *testing.T) {
	is := newIssuer(t)
	b := startPassports(t, is, true, allowPassports)
	c, key := workload(t, b)
	_, err := c.GetBearer(t.Context(), is.ear(t, key, nil), "res/type/passport")
	wantError(t, err, http.StatusForbidden, "PolicyDeny")
	failed := map[string]bool{}
	for _, p := range decisionOf(t, b, err).Secrets[0].Policies {
		for _, rule := range p.Rules {
			if p.Policy == "passports" && rule.Outcome != "pass" {
				failed[rule.Rule] = true
			}
		}
	}
	if len(failed) != 1 || !failed["baseline.no-passport"] {
		t.Errorf("rules that refuse: %v", failed)
	}
}

// TestPassportRefused presents tokens that are no passports.
func TestPassportRefused(t *testing.T) {
	is := newIssuer(t)
	b := startPassports(t, is, true, allowPassports+waivePassports)
	c, key := workload(t, b)
	stranger := newIssuer(t)
	stranger.clock = is.clock
	good := is.ear(t, key, nil)
	annotated := func(claims map[string]any) map[string]any {
		return claims["submods"].(map[string]any)["cpu0"].(map[string]any)["ear.veraison.annotated-evidence"].(map[string]any)
	}
	for name, test := range map[string]struct {
		token string
		code  attest.Code
	}{
		"another key":    {stranger.ear(t, key, nil), attest.CodeSignature},
		"another issuer": {is.ear(t, key, func(c map[string]any) { c["iss"] = "https://other.example" }), attest.CodeIssuer},
		"for another":    {is.ear(t, key, func(c map[string]any) { c["aud"] = "https://other.example" }), attest.CodeAudience},
		"cut off":        {good[:len(good)-1], attest.CodeMalformed},
		"nonsense":       {"nonsense", attest.CodeMalformed},
		"without a key":  {is.ear(t, nil, nil), attest.CodeBinding},
		"with a bad key": {is.ear(t, map[string]any{"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": "AA", "y": "AA"}, nil), attest.CodeBinding},
		"of sample":      {is.ear(t, key, func(c map[string]any) { delete(annotated(c), "snp"); annotated(c)["sample"] = map[string]any{} }), attest.CodeNotVerifiable},
		"contraindicated": {is.ear(t, key, func(c map[string]any) {
			c["submods"].(map[string]any)["gpu0"] = map[string]any{"ear.status": "contraindicated"}
		}), attest.CodeVerdict},
		"of the future": {is.ear(t, key, func(c map[string]any) { c["iat"] = is.clock.now().Add(2 * time.Minute).Unix() }), attest.CodeTokenTime},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.GetBearer(t.Context(), test.token, "res/type/passport")
			wantError(t, err, http.StatusUnauthorized, "AttestationError")
			if d := decisionOf(t, b, err); d.Outcome != broker.OutcomeRefused || d.Refusal.Code != test.code {
				t.Errorf("%+v %+v", d, d.Refusal)
			}
		})
	}
	// A key of the native protocol.
	hpke := map[string]any{"kty": "OKP", "crv": "X25519", "alg": "HPKE-0", "x": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}
	if _, err := c.GetBearer(t.Context(), is.ear(t, hpke, nil), "res/type/passport"); err == nil {
		t.Error("a key that the protocol does not encrypt to")
	}
}

// TestPassportOff: without the operator's word for the verifier, its tokens are evidence with a nonce and nothing else; and so is everything where no
// verifier of tokens is configured.
func TestPassportOff(t *testing.T) {
	is := newIssuer(t)
	b := startPassports(t, is, false, allowPassports+waivePassports)
	c, key := workload(t, b)
	_, err := c.GetBearer(t.Context(), is.ear(t, key, nil), "res/type/passport")
	wantError(t, err, http.StatusUnauthorized, "TokenVerifierError")
	if decisions, _, err := b.Decisions(t.Context(), b.Admin, store.DefaultNamespace, broker.DecisionFilter{}, "", 0); err != nil || len(decisions) != 0 {
		t.Errorf("%d decisions, %v", len(decisions), err)
	}
}

// TestPassportOwnTokens: a token of this broker that is no longer good is not tried as a passport, also when the broker is configured to trust itself.
func TestPassportOwnTokens(t *testing.T) {
	is := newIssuer(t)
	b := startPassports(t, is, true, allowPassports+waivePassports)
	c := client(t, b)
	own, err := c.Attest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before, _, err := b.Decisions(t.Context(), b.Admin, store.DefaultNamespace, broker.DecisionFilter{}, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	is.clock.add(broker.DefaultSessionLifetime)
	_, err = c.GetBearer(t.Context(), own, "res/type/passport")
	wantError(t, err, http.StatusUnauthorized, "TokenVerifierError")
	if after, _, err := b.Decisions(t.Context(), b.Admin, store.DefaultNamespace, broker.DecisionFilter{}, "", 0); err != nil || len(after) != len(before) {
		t.Errorf("%d decisions after %d, %v", len(after), len(before), err)
	}
	// What this broker says of sample evidence, another that trusts it does not take.
	v, err := token.New(token.Config{Verifiers: []token.Trusted{{Name: "sister", Format: token.EAR, Issuer: brokertest.Issuer, Keys: b.Keys().JWKS(keys.Token), Passport: true}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Passport(t.Context(), []byte(own), is.clock.now().Add(-time.Minute))
	var refusal *attest.Refusal
	if !errors.As(err, &refusal) || refusal.Code != attest.CodeVerdict && refusal.Code != attest.CodeNotVerifiable {
		t.Errorf("%v", err)
	}
}

// TestPassportAge: a passport is as old as the other verifier's appraisal, and a policy's limit on that age is 401, at which clients attest.
func TestPassportAge(t *testing.T) {
	is := newIssuer(t)
	b := startPassports(t, is, true, allowPassports+waivePassports+"  release: {maxEvidenceAge: 60s}\n")
	c, key := workload(t, b)
	passport := is.ear(t, key, nil)
	if _, err := c.GetBearer(t.Context(), passport, "res/type/passport"); err != nil {
		t.Fatal(err)
	}
	is.clock.add(61 * time.Second)
	_, err := c.GetBearer(t.Context(), passport, "res/type/passport")
	wantError(t, err, http.StatusUnauthorized, "TokenVerifierError")
}
