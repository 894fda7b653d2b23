package kbs_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/kbs"
	"github.com/vouchsafe/vouchsafe/broker/kbs/kbstest"
	"github.com/vouchsafe/vouchsafe/broker/keys"
)

// TestProtocol has a client that was written from the protocol's description fetch a secret, for each kind of evidence and key.
func TestProtocol(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	for _, attester := range []kbstest.Attester{kbstest.Sample(), virtualGuest(b.Device)} {
		for _, kind := range []string{"P-256", "P-521", "RSA-OAEP-256"} {
			t.Run(attester.TEE+" "+kind, func(t *testing.T) {
				c := client(t, b)
				c.Attester, c.Key = attester, newKey(t, kind)
				c.Key.Extra = map[string]any{"kid": "dropped before it is hashed", "use": "enc"}

				// As guests do it: ask first, attest at 401, ask again by cookie.
				got, err := c.Get(t.Context(), "res/type/tag")
				if err != nil || string(got) != secret {
					t.Fatalf("by cookie: %q, %v", got, err)
				}
				if got, err = c.Get(t.Context(), "res/type/tag"); err != nil || string(got) != secret {
					t.Fatalf("again, in the same session: %q, %v", got, err)
				}
				token, err := c.Attest(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if got, err = c.GetBearer(t.Context(), token, "res/type/tag"); err != nil || string(got) != secret {
					t.Fatalf("by bearer: %q, %v", got, err)
				}
				checkToken(t, b, token)
			})
		}
	}
}

// checkToken reads a token as relying parties do.
func checkToken(t *testing.T, b *brokertest.Broker, token string) {
	t.Helper()
	header, claims, err := kbstest.TokenClaims(token)
	if err != nil {
		t.Fatal(err)
	}
	if claims["iss"] != brokertest.Issuer || claims["exp"].(float64)-claims["iat"].(float64) != 300 {
		t.Errorf("claims %v", claims)
	}
	if !strings.Contains(string(b.Keys().JWKS(keys.Token)), header["jwk"].(map[string]any)["x"].(string)) {
		t.Error("the token's key is not a published one")
	}
	at := any(claims)
	for _, name := range []string{"submods", "cpu0", "ear.veraison.annotated-evidence", "runtime_data_claims", "tee-pubkey"} {
		at = at.(map[string]any)[name]
	}
	sent := struct{ X, Y, N string }{}
	text, err := json.Marshal(at)
	if err != nil || json.Unmarshal(text, &sent) != nil || sent.X+sent.N == "" || strings.Contains(string(text), "dropped") {
		t.Errorf("tee-pubkey is %s, %v", text, err)
	}
}

// TestHashes lets the client say which algorithms it has, and attests by the one selected.
func TestHashes(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	for supported, selected := range map[string]string{
		`{"supported-hash-algorithms":["sha256"]}`:          "sha256",
		`{"supported-hash-algorithms":["sha512","sha256"]}`: "sha512",
		`{"supported-hash-algorithms":["sm3","sha384"]}`:    "sha384",
		`{"supported-hash-algorithms":null}`:                "sha384",
		`{}`:                                                "sha384", `""`: "sha384", `null`: "sha384", `[]`: "sha384", `5`: "sha384", `{"other":{"deeply":[1]}}`: "sha384",
	} {
		for _, attester := range []kbstest.Attester{kbstest.Sample(), virtualGuest(b.Device)} {
			c := client(t, b)
			c.Attester = attester
			reply, err := post(t.Context(), c, "auth", fmt.Sprintf(`{"version":"0.4.0","tee":%q,"extra-params":%s}`, attester.TEE, supported))
			if err != nil {
				t.Fatalf("%s: %v", supported, err)
			}
			challenge := &kbstest.Challenge{Hash: "sha384"}
			var m struct {
				Nonce string
				Extra json.RawMessage `json:"extra-params"`
			}
			if err := json.Unmarshal(reply.Body, &m); err != nil {
				t.Fatal(err)
			}
			want := `""`
			if selected != "sha384" {
				want = `{"selected-hash-algorithm":"` + selected + `"}`
				challenge.Hash = selected
			}
			if string(m.Extra) != want {
				t.Errorf("%s: extra-params %s, want %s", supported, m.Extra, want)
			}
			challenge.Nonce = m.Nonce
			if _, err := c.Answer(t.Context(), challenge); err != nil {
				t.Errorf("%s, %s: %v", supported, attester.TEE, err)
			}
			// The same evidence by another hash than was selected is not bound.
			again, err := post(t.Context(), c, "auth", fmt.Sprintf(`{"version":"0.4.0","tee":%q,"extra-params":%s}`, attester.TEE, supported))
			if err != nil || json.Unmarshal(again.Body, &m) != nil {
				t.Fatal(err)
			}
			challenge.Nonce, challenge.Hash = m.Nonce, map[string]string{"sha256": "sha384", "sha384": "sha512", "sha512": "sha256"}[selected]
			_, err = c.Answer(t.Context(), challenge)
			wantError(t, err, http.StatusUnauthorized, "AttestationError")
		}
	}
	c := client(t, b)
	for _, none := range []string{`{"supported-hash-algorithms":[]}`, `{"supported-hash-algorithms":["sm3"]}`, `{"supported-hash-algorithms":["SHA256"]}`} {
		_, err := post(t.Context(), c, "auth", `{"version":"0.4.0","tee":"sample","extra-params":`+none+`}`)
		wantError(t, err, http.StatusBadRequest, "UnsupportedHash")
	}
}

func TestVersions(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	for version, accepted := range map[string]bool{
		"0.4.0": true, "0.4.1": true, "0.4.7": true, "0.4.123": true,
		"": false, "0.4": false, "0.3.0": false, "0.3.9": false, "0.1.1": false, "0.5.0": false, "0.40.0": false, "1.4.0": false, "0.4.00": false, "0.4.x": false,
		"0.4.0 ": false, "v0.4.0": false, "0.4.0\n": false, "0.4.0-rc1": false, strings.Repeat("0", 5000): false,
	} {
		text, err := json.Marshal(version)
		if err != nil {
			t.Fatal(err)
		}
		_, err = post(t.Context(), client(t, b), "auth", `{"version":`+string(text)+`,"tee":"sample","extra-params":""}`)
		if accepted {
			if err != nil {
				t.Errorf("%s: %v", version, err)
			}
			continue
		}
		refused := wantError(t, err, http.StatusBadRequest, "ProtocolVersion")
		if !strings.Contains(refused.Detail, "0.4.0 to 0.4.x") || len(refused.Detail) > 400 {
			t.Errorf("%.20q: the refusal does not name the range: %s", version, refused.Detail)
		}
	}
}

// TestSessionsAndTokensExpire sees that what is no longer good is 401, at which clients attest again.
func TestSessionsAndTokensExpire(t *testing.T) {
	clock := &clock{at: time.Now()}
	b := start(t, kbs.Config{}, brokertest.Config{Now: clock.now})
	c := client(t, b)
	token, err := c.Attest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(t.Context(), http.MethodGet, "resource/res/type/tag", nil, nil); err != nil {
		t.Fatal(err)
	}
	clock.add(broker.DefaultSessionLifetime)
	_, err = c.GetBearer(t.Context(), token, "res/type/tag")
	wantError(t, err, http.StatusUnauthorized, "TokenVerifierError")
	_, err = c.Do(t.Context(), http.MethodGet, "resource/res/type/tag", nil, nil)
	wantError(t, err, http.StatusUnauthorized, "TokenNotFound")
	if got, err := c.Get(t.Context(), "res/type/tag"); err != nil || string(got) != secret {
		t.Errorf("attesting again: %q, %v", got, err)
	}

	// A challenge that is too old is 401 with the error JSON, and a new one is good.
	challenge, err := c.Auth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	clock.add(broker.DefaultChallengeLifetime + 2*time.Second)
	_, err = c.Answer(t.Context(), challenge)
	wantError(t, err, http.StatusUnauthorized, "AttestationError")
	if _, err := c.Attest(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestAttestsAgainForYoungerEvidence lets evidence grow older than a policy accepts: the guest, which attests again at 401 only, gets the
// secret without being told to.
func TestAttestsAgainForYoungerEvidence(t *testing.T) {
	clock := &clock{at: time.Now()}
	b := start(t, kbs.Config{}, brokertest.Config{Now: clock.now})
	b.ApplyPolicy(allowAll + "  release: {maxEvidenceAge: 60s}\n")
	c := client(t, b)
	if _, err := c.Get(t.Context(), "res/type/tag"); err != nil {
		t.Fatal(err)
	}
	clock.add(61 * time.Second)
	_, err := c.Do(t.Context(), http.MethodGet, "resource/res/type/tag", nil, nil)
	wantError(t, err, http.StatusUnauthorized, "TokenVerifierError")
	_, err = c.Do(t.Context(), http.MethodGet, "resource/res/type/denied", nil, nil)
	wantError(t, err, http.StatusForbidden, "PolicyDeny")
	if got, err := c.Get(t.Context(), "res/type/tag"); err != nil || string(got) != secret {
		t.Errorf("attesting again: %q, %v", got, err)
	}
}

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// TestAnswersAreSigned checks Vouchsafe-Signature, by which a guest knows that it got what it asked for.
func TestAnswersAreSigned(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	c := client(t, b)
	if _, err := c.Attest(t.Context()); err != nil {
		t.Fatal(err)
	}
	reply, err := c.Do(t.Context(), http.MethodGet, "resource/res/type/tag", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, _, err := b.Keys().Verify(keys.Reply, "vouchsafe-resource+json", reply.Header.Get("Vouchsafe-Signature"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(reply.Body)
	var answer struct {
		Decision, Secret, Policy, Nonce, Recipient, Body string
		Version                                          uint64
		Issued                                           int64
	}
	if err := json.Unmarshal(payload, &answer); err != nil {
		t.Fatal(err)
	}
	if answer.Body != "sha256:"+hex.EncodeToString(sum[:]) || answer.Secret != "res/type/tag" || answer.Version != 1 || answer.Decision == "" ||
		answer.Decision != reply.Header.Get("Vouchsafe-Decision") || len(answer.Nonce) != 44 || len(answer.Recipient) != 43 || !strings.HasPrefix(answer.Policy, "sha256:") {
		t.Errorf("%+v", answer)
	}
	if _, _, err := b.Keys().Verify(keys.Token, "vouchsafe-resource+json", reply.Header.Get("Vouchsafe-Signature")); err == nil {
		t.Error("a reply is a token")
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		if got := reply.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if _, err := base64.StdEncoding.DecodeString(answer.Nonce); err != nil {
		t.Error(err)
	}
	// The decision is the operator's to read.
	explained, err := b.Explain(t.Context(), b.Admin, "default", answer.Decision)
	if err != nil || explained.Decision.Protocol != broker.ProtocolKBS || explained.Decision.Remote != "127.0.0.1" {
		t.Errorf("%+v, %v", explained, err)
	}
}

// TestDenyStatus tells denied from missing, or not, as it is set.
func TestDenyStatus(t *testing.T) {
	for status, want := range map[int][2]struct {
		status int
		name   string
	}{
		0:                       {{http.StatusForbidden, "PolicyDeny"}, {http.StatusNotFound, "ResourceNotFound"}},
		http.StatusForbidden:    {{http.StatusForbidden, "PolicyDeny"}, {http.StatusNotFound, "ResourceNotFound"}},
		http.StatusUnauthorized: {{http.StatusUnauthorized, "PolicyDeny"}, {http.StatusUnauthorized, "PolicyDeny"}},
	} {
		b := start(t, kbs.Config{DenyStatus: status}, brokertest.Config{})
		c := client(t, b)
		_, err := c.Get(t.Context(), "res/type/denied")
		if status != http.StatusUnauthorized {
			denied := wantError(t, err, want[0].status, want[0].name)
			_, err = c.Get(t.Context(), "no/such/thing") // which no policy allows either: the same answer
			if other := wantError(t, err, want[0].status, want[0].name); len(other.Detail) != len(denied.Detail) {
				t.Errorf("%q and %q", denied.Detail, other.Detail)
			}
			_, err = c.Get(t.Context(), "res/type/missing")
			wantError(t, err, want[1].status, want[1].name)
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "asked 3 times") {
			t.Errorf("a client that is told 401: %v", err)
		}
		for _, path := range []string{"res/type/denied", "res/type/missing", "no/such/thing"} {
			_, err := c.Do(t.Context(), http.MethodGet, "resource/"+path, nil, nil)
			wantError(t, err, http.StatusUnauthorized, "PolicyDeny")
		}
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]kbs.Config{
		"nothing": {}, "no intake": {Broker: new(broker.Broker)},
	} {
		if _, err := kbs.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
