package kbstest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// server answers as the protocol's description says, just enough to see what the client does. It keeps what it was asked.
type server struct {
	t        *testing.T
	asked    []string
	attested bool
	body     Attestation

	alwaysUnauthorized bool
	challenge          string // sent instead of a good one
	jwe                func(plaintext []byte) []byte
}

const nonce = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked = append(s.asked, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/kbs/v0/"))
	fail := func(status int, name string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"type":"https://github.com/confidential-containers/kbs/errors/%s","detail":"no"}`, name)
	}
	cookie, _ := r.Cookie("kbs-session-id")
	switch {
	case r.URL.Path == "/kbs/v0/auth":
		w.Header().Set("Set-Cookie", "kbs-session-id=00112233445566778899aabbccddeeff")
		challenge := s.challenge
		if challenge == "" {
			challenge = `{"nonce":"` + nonce + `","extra-params":""}`
		}
		io.WriteString(w, challenge)
	case cookie == nil && r.Header.Get("Authorization") == "":
		fail(http.StatusUnauthorized, "TokenNotFound")
	case r.URL.Path == "/kbs/v0/attest":
		if err := json.NewDecoder(r.Body).Decode(&s.body); err != nil {
			s.t.Error(err)
		}
		s.attested = true
		w.Header().Set("Set-Cookie", "kbs-session-id=00112233445566778899aabbccddeeff")
		io.WriteString(w, `{"token":"a.b.c"}`)
	case !s.attested || s.alwaysUnauthorized:
		fail(http.StatusUnauthorized, "TokenNotFound")
	case strings.HasSuffix(r.URL.Path, "/absent"):
		fail(http.StatusNotFound, "ResourceNotFound")
	case strings.HasSuffix(r.URL.Path, "/bare"):
		http.Error(w, "no", http.StatusForbidden)
	default:
		if s.jwe != nil {
			w.Write(s.jwe([]byte("secret")))
			return
		}
		recipient, err := envelope.ParseRecipient(s.body.Runtime.PubKey, envelope.Options{AllowRSA15: true})
		if err != nil {
			s.t.Error(err)
			return
		}
		sealed, err := recipient.SealJWE([]byte("secret"))
		if err != nil {
			s.t.Error(err)
		}
		w.Write(sealed)
	}
}

func start(t *testing.T, kind string) (*server, *Client) {
	t.Helper()
	s := &server{t: t}
	ts := httptest.NewServer(s)
	t.Cleanup(ts.Close)
	key, err := NewKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	return s, &Client{URL: ts.URL, Key: key, Attester: Sample()}
}

func TestGet(t *testing.T) {
	for _, kind := range []string{"P-256", "P-521", "RSA-OAEP-256", "RSA1_5"} {
		t.Run(kind, func(t *testing.T) {
			s, c := start(t, kind)
			c.Key.Extra = map[string]any{"kid": "ignored"}
			for range 2 {
				if got, err := c.Get(t.Context(), "a/b/c"); err != nil || string(got) != "secret" {
					t.Fatalf("got %q, %v", got, err)
				}
			}
			want := "[GET resource/a/b/c POST auth POST attest GET resource/a/b/c GET resource/a/b/c]"
			if got := fmt.Sprint(s.asked); got != want {
				t.Errorf("asked %s, want %s", got, want)
			}
			if got, err := c.GetBearer(t.Context(), "a.b.c", "a/b/c"); err != nil || string(got) != "secret" {
				t.Errorf("by bearer: %q, %v", got, err)
			}
		})
	}
}

func TestGetFails(t *testing.T) {
	s, c := start(t, "P-256")
	var refused *Error
	if _, err := c.Get(t.Context(), "a/b/absent"); !errors.As(err, &refused) || refused.Status != 404 || refused.Name != "ResourceNotFound" {
		t.Errorf("absent: %v", err)
	}
	if _, err := c.Get(t.Context(), "a/b/bare"); !errors.Is(err, ErrProtocol) {
		t.Errorf("a refusal without the error JSON: %v", err)
	}
	s.alwaysUnauthorized, s.asked = true, nil
	if _, err := c.Get(t.Context(), "a/b/c"); !errors.As(err, &refused) || refused.Status != 401 {
		t.Errorf("always 401: %v", err)
	}
	if n := strings.Count(fmt.Sprint(s.asked), "GET"); n != maxAttempts {
		t.Errorf("asked %d times, want %d", n, maxAttempts)
	}
}

// TestHeaderTrap: a JWE whose header the client would write differently does not open.
func TestHeaderTrap(t *testing.T) {
	s, c := start(t, "P-256")
	if _, err := c.Get(t.Context(), "a/b/c"); err != nil {
		t.Fatal(err)
	}
	good, err := c.Do(t.Context(), "GET", "resource/a/b/c", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]string
	if err := json.Unmarshal(good.Body, &m); err != nil {
		t.Fatal(err)
	}
	header, _ := b64.DecodeString(m["protected"])
	m["protected"] = b64.EncodeToString(bytes.Replace(header, []byte(`{"alg"`), []byte(`{ "alg"`), 1))
	spaced, _ := json.Marshal(m)
	// The client drops the space, so that the AAD is the original one again: it opens, which shows that it serialises anew.
	if plaintext, err := c.Key.Open(spaced); err != nil || string(plaintext) != "secret" {
		t.Errorf("did not serialise the header again: %v", err)
	}
	m["aad"] = "AA"
	withAAD, _ := json.Marshal(m)
	if _, err := c.Key.Open(withAAD); !errors.Is(err, ErrProtocol) {
		t.Errorf("a JWE with aad: %v", err)
	}
	s.jwe = func([]byte) []byte { return []byte("secret") }
	if _, err := c.Get(t.Context(), "a/b/c"); !errors.Is(err, ErrProtocol) {
		t.Errorf("plaintext taken for a JWE: %v", err)
	}
}

func TestChallengeForm(t *testing.T) {
	s, c := start(t, "P-256")
	for _, bad := range []string{
		`{}`, `{"nonce":"` + nonce + `"}`, `{"nonce":"AAAA","extra-params":""}`, `{"nonce":"` + nonce + `","extra-params":"x"}`,
		`{"nonce":"` + nonce + `","extra-params":{"selected-hash-algorithm":"md5"}}`, `null`, `x`,
	} {
		s.challenge = bad
		if _, err := c.Auth(t.Context()); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	s.challenge = `{"nonce":"` + nonce + `","extra-params":{"selected-hash-algorithm":"sha512"}}`
	if challenge, err := c.Auth(t.Context()); err != nil || challenge.Hash != "sha512" {
		t.Errorf("%+v, %v", challenge, err)
	}
}

type known struct {
	P256, P521 struct {
		BobD string          `json:"bob_d"`
		JWE  json.RawMessage `json:"jwe"`
	}
	Runtime struct {
		Primary string `json:"primary_sha384"`
		Device  string `json:"device_sha384"`
	}
}

// TestKnownAnswers holds this client, like the server, to numbers that neither of them computed.
func TestKnownAnswers(t *testing.T) {
	var all known
	if err := json.Unmarshal(vectors.Read(t, "kbs-known-answers.json"), &all); err != nil {
		t.Fatal(err)
	}
	open := func(crv, d string, jwe []byte) *Key {
		scalar, err := b64.DecodeString(d)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ECKey(crv, scalar)
		if err != nil {
			t.Fatal(err)
		}
		if plaintext, err := key.Open(jwe); err != nil || len(plaintext) == 0 {
			t.Errorf("%s: opened %q, %v", crv, plaintext, err)
		}
		return key
	}
	open("P-521", all.P521.BobD, all.P521.JWE)
	key := open("P-256", all.P256.BobD, all.P256.JWE)

	digests := map[string]string{}
	record := func(tee string) Attester {
		return Attester{TEE: tee, Evidence: func(digest []byte) (json.RawMessage, error) {
			digests[tee] = hex.EncodeToString(digest)
			return json.RawMessage(`{}`), nil
		}}
	}
	c := &Client{Key: key, Attester: record("cpu")}
	if _, err := c.evidence(&Challenge{Nonce: nonce, Hash: "sha384"}); err != nil {
		t.Fatal(err)
	}
	c.Devices = []Attester{record("gpu")}
	c.Attester = record("other")
	a, err := c.evidence(&Challenge{Nonce: nonce, Hash: "sha384"})
	if err != nil || a.Evidence.Additional != `{"gpu":{}}` {
		t.Fatalf("additional evidence %q, %v", a.Evidence.Additional, err)
	}
	if digests["cpu"] != all.Runtime.Primary || digests["gpu"] != all.Runtime.Device {
		t.Errorf("digests %v, want %+v", digests, all.Runtime)
	}
	if digests["other"] == digests["cpu"] {
		t.Error("the primary evidence does not cover the additional")
	}
}

func TestTokenClaims(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	header := fmt.Sprintf(`{"alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":"%s","y":"%s"}}`,
		b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:]))
	signed := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(`{"iss":"x"}`))
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	token := signed + "." + b64.EncodeToString(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
	if _, claims, err := TokenClaims(token); err != nil || claims["iss"] != "x" {
		t.Errorf("claims %v, %v", claims, err)
	}
	other := strings.Replace(token, b64.EncodeToString([]byte(`{"iss":"x"}`)), b64.EncodeToString([]byte(`{"iss":"y"}`)), 1)
	if _, _, err := TokenClaims(other); !errors.Is(err, ErrProtocol) {
		t.Errorf("a token with other claims: %v", err)
	}
}

func TestAdmin(t *testing.T) {
	s, c := start(t, "P-256")
	s.attested = true
	s.jwe = func([]byte) []byte { return nil }
	admin := &Admin{URL: c.URL, Header: http.Header{"Authorization": {"Bearer t"}}}
	if err := errors.Join(admin.SetResource(t.Context(), "a/b/c", []byte("x")), admin.DeleteResource(t.Context(), "a/b/c")); err != nil {
		t.Error(err)
	}
	var refused *Error
	if err := (&Admin{URL: c.URL}).SetResource(t.Context(), "a/b/c", nil); !errors.As(err, &refused) || refused.Status != 401 {
		t.Errorf("without a token: %v", err)
	}
	if got := fmt.Sprint(s.asked); got != "[POST resource/a/b/c DELETE resource/a/b/c POST resource/a/b/c]" {
		t.Errorf("asked %s", got)
	}
}
