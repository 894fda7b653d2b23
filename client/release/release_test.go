package release

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

const (
	nonce       = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	goodRequest = `{"nonce":"` + nonce + `","recipient":{"kty":"EC"},"evidence":{"kind":"snp","data":"AAEC"},` +
		`"additional_evidence":"","init_data":"x = 1","secrets":[{"name":"payments/db/password","version":0},{"name":"a"}]}`
	goodReply = `{"decision":"d-1","issued":"2026-11-23T12:00:00Z","nonce":"` + nonce + `","recipient":"thumb","evidence":"sha256:00",` +
		`"results":[{"secret":"a","version":3,"policy":"sha256:01","content_type":"text/plain",` +
		`"lease":{"id":"l","expires":"2026-11-23T13:00:00Z"},"envelope":{"alg":"x"}},{"secret":"b","code":"denied"}],"receipt":"r"}`
	goodChallenge = `{"nonce":"` + nonce + `","expires":"2026-11-23T12:00:00Z","hash":"sha384"}`
	goodError     = `{"code":"evidence_refused","message":"no","decision":"d-1","retry_after":3}`
)

func TestDecode(t *testing.T) {
	r, err := DecodeRequest([]byte(goodRequest))
	if err != nil {
		t.Fatal(err)
	}
	want := &Request{
		Nonce: nonce, Recipient: json.RawMessage(`{"kty":"EC"}`), Evidence: Evidence{Kind: "snp", Data: []byte{0, 1, 2}}, InitData: "x = 1",
		Secrets: []Want{{Name: "payments/db/password"}, {Name: "a"}},
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("decoded %+v, want %+v", r, want)
	}
	reply, err := DecodeReply([]byte(goodReply))
	if err != nil || reply.Results[0].Version != 3 || reply.Results[1].Code != CodeDenied || reply.Results[0].Lease.ID != "l" {
		t.Errorf("decoded %+v, %v", reply, err)
	}
	if again, err := json.Marshal(reply); err != nil || string(again) != goodReply {
		t.Errorf("encoded again\n%s\nwant\n%s", again, goodReply)
	}
	if c, err := DecodeChallenge([]byte(goodChallenge)); err != nil || !c.Expires.Equal(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("decoded %+v, %v", c, err)
	}
	if c, err := DecodeChallengeRequest([]byte(`{"kind":"snp"}`)); err != nil || c.Kind != "snp" {
		t.Errorf("decoded %+v, %v", c, err)
	}
	if e, err := DecodeError([]byte(goodError)); err != nil || *e != (Error{CodeEvidence, "no", "d-1", 3}) {
		t.Errorf("decoded %+v, %v", e, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	request := func(b []byte) error { _, err := DecodeRequest(b); return err }
	challengeRequest := func(b []byte) error { _, err := DecodeChallengeRequest(b); return err }
	challenge := func(b []byte) error { _, err := DecodeChallenge(b); return err }
	reply := func(b []byte) error { _, err := DecodeReply(b); return err }
	failure := func(b []byte) error { _, err := DecodeError(b); return err }
	swap := func(text, old, new string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not in %q", old, text)
		}
		return strings.Replace(text, old, new, 1)
	}
	tests := []struct {
		name   string
		decode func([]byte) error
		input  string
		want   string
	}{
		{"null", request, `null`, "not a JSON object"},
		{"empty", request, ``, "not a JSON object"},
		{"array", reply, `[]`, "not a JSON object"},
		{"unknown member", request, swap(goodRequest, `"init_data"`, `"initdata"`), `"initdata" is not known`},
		{"unknown in secret", request, swap(goodRequest, `"version":0`, `"verzion":0`), `"verzion" is not known`},
		{"member twice", request, swap(goodRequest, `"init_data"`, `"nonce":"x","init_data"`), "twice"},
		{"nonce short", request, swap(goodRequest, nonce, "AAAA"), "nonce"},
		{"nonce unpadded", request, swap(goodRequest, "=", ""), "nonce"},
		{"nonce with spare bits", request, swap(goodRequest, "h8=", "h9="), "nonce"},
		{"nonce with line break", request, swap(goodRequest, nonce, nonce+`\n`), "nonce"},
		{"nonce base64url", request, swap(goodRequest, "AAEC", "__-_"), "nonce"},
		{"recipient is text", request, swap(goodRequest, `{"kty":"EC"}`, `"{}"`), "recipient"},
		{"recipient is null", request, swap(goodRequest, `{"kty":"EC"}`, `null`), "recipient"},
		{"recipient twice inside", request, swap(goodRequest, `"kty":"EC"`, `"kty":"EC","kty":"RSA"`), "twice"},
		{"evidence not base64", request, swap(goodRequest, `"AAEC"}`, `"A*EC"}`), "base64"},
		{"evidence empty", request, swap(goodRequest, `"AAEC"}`, `""}`), "evidence"},
		{"no kind", request, swap(goodRequest, `"snp"`, `""`), "evidence"},
		{"no secrets", request, swap(goodRequest, `{"name":"payments/db/password","version":0},{"name":"a"}`, ``), "0 secrets"},
		{"too many secrets", request, swap(goodRequest, `{"name":"a"}`, strings.Repeat(`{"name":"a"},`, 64)+`{"name":"a"}`), "66 secrets"},
		{"nameless", request, swap(goodRequest, `{"name":"a"}`, `{"version":1}`), "secret 1 has no name"},
		{"negative version", request, swap(goodRequest, `"version":0`, `"version":-1`), "cannot unmarshal"},
		{"too large", request, `{"nonce":"` + strings.Repeat("A", MaxRequest) + `"}`, "at most"},
		{"no kind", challengeRequest, `{}`, "kind"},
		{"long", challengeRequest, `{"kind":"` + strings.Repeat("A", MaxChallengeRequest) + `"}`, "at most"},
		{"hash", challenge, swap(goodChallenge, "sha384", "md5"), "hash"},
		{"nonce", challenge, swap(goodChallenge, "AAEC", "AA"), "nonce"},
		{"time", challenge, swap(goodChallenge, "2026-", "26-"), "time"},
		{"envelope and code", reply, swap(goodReply, `"secret":"b"`, `"secret":"b","envelope":{}`), "both"},
		{"neither", reply, swap(goodReply, `"code":"denied"`, `"code":""`), "neither"},
		{"other case", reply, swap(goodReply, `"nonce"`, `"NONCE"`), `"NONCE" is not known`},
		{"code", failure, `{"message":"x"}`, "code"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.decode([]byte(test.input))
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestNewerBroker: a client passes over what a newer broker adds, and a broker nothing.
func TestNewerBroker(t *testing.T) {
	_, err1 := DecodeReply([]byte(strings.Replace(goodReply, `"receipt"`, `"hint":{"x":1},"receipt"`, 1)))
	_, err2 := DecodeChallenge([]byte(strings.Replace(goodChallenge, `"hash"`, `"hint":1,"hash"`, 1)))
	_, err3 := DecodeError([]byte(strings.Replace(goodError, `"code"`, `"hint":1,"code"`, 1)))
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	key, err := envelope.GenerateKey(envelope.P256)
	if err != nil {
		t.Fatal(err)
	}
	request := &Request{Nonce: nonce, Secrets: []Want{{Name: "a"}, {Name: "b", Version: 7}}}
	good := func() *Reply {
		return &Reply{Nonce: nonce, Recipient: key.Recipient().Thumbprint(), Evidence: "sha256:00", Results: []Result{
			{Secret: "a", Version: 3, Envelope: []byte(`{}`)}, {Secret: "b", Version: 7, Envelope: []byte(`{}`)}}}
	}
	if err := good().Check(request, key.Recipient(), "sha256:00"); err != nil {
		t.Fatal(err)
	}
	if err := good().Check(request, key.Recipient(), ""); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Reply){
		"nonce":           func(r *Reply) { r.Nonce = "other" },
		"key":             func(r *Reply) { r.Recipient = "other" },
		"evidence":        func(r *Reply) { r.Evidence = "sha256:01" },
		"one less":        func(r *Reply) { r.Results = r.Results[:1] },
		"one more":        func(r *Reply) { r.Results = append(r.Results, r.Results[0]) },
		"none":            func(r *Reply) { r.Results = nil },
		"order":           func(r *Reply) { r.Results[0], r.Results[1] = r.Results[1], r.Results[0] },
		"same twice":      func(r *Reply) { r.Results[1] = r.Results[0] },
		"name":            func(r *Reply) { r.Results[0].Secret = "c" },
		"pinned version":  func(r *Reply) { r.Results[1].Version = 8 },
		"no version":      func(r *Reply) { r.Results[0].Version = 0 },
		"version of none": func(r *Reply) { r.Results[1].Version = 0 },
	} {
		r := good()
		change(r)
		if err := r.Check(request, key.Recipient(), "sha256:00"); !errors.Is(err, ErrNotOurs) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	denied := good()
	denied.Results[1] = Result{Secret: "b", Code: CodeDenied}
	if err := denied.Check(request, key.Recipient(), "sha256:00"); err != nil {
		t.Errorf("a denied secret is a result: %v", err)
	}
}

// TestBinding writes the digest out once more, from its definition.
func TestBinding(t *testing.T) {
	key, err := envelope.GenerateKey(envelope.X25519)
	if err != nil {
		t.Fatal(err)
	}
	r := &Request{Nonce: nonce, Additional: `{"gpu":1}`}
	got, err := r.Binding("sha384", key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	want := sha512.Sum384([]byte(`{"additional-evidence":"{\"gpu\":1}","nonce":"` + nonce + `","tee-pubkey":` + string(key.PublicJWK()) + `}`))
	if !bytes.Equal(got, want[:]) {
		t.Errorf("binding %x, want %x", got, want)
	}
	if _, err := r.Binding("sha1", key.Recipient()); !errors.Is(err, ErrMalformed) {
		t.Errorf("sha1: %v", err)
	}
}

var decodeSeeds = [][]byte{[]byte(goodRequest), []byte(goodReply), []byte(goodChallenge), []byte(goodError), []byte(`{"kind":"snp"}`)}

// checkDecoders holds what is accepted to: it encodes to something that is accepted as the same.
func checkDecoders(t testing.TB, input []byte) {
	fixed(t, input, DecodeRequest)
	fixed(t, input, DecodeReply)
	fixed(t, input, DecodeChallenge)
	fixed(t, input, DecodeChallengeRequest)
	fixed(t, input, DecodeError)
}

func fixed[T any](t testing.TB, input []byte, decode func([]byte) (*T, error)) {
	v, err := decode(input)
	if err != nil {
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("error %v does not wrap ErrMalformed", err)
		}
		return
	}
	once, err := json.Marshal(v)
	if err != nil {
		t.Errorf("%q decodes to what cannot be encoded: %v", input, err)
		return
	}
	again, err := decode(once)
	if err != nil {
		t.Errorf("%q is encoded as %q: %v", input, once, err)
		return
	}
	twice, err := json.Marshal(again)
	if err != nil || !bytes.Equal(once, twice) {
		t.Errorf("%q and then %q (%v)", once, twice, err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range decodeSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) { checkDecoders(t, input) })
}

func TestMutationsDecode(t *testing.T) {
	mutate.Run(t, decodeSeeds, func(t *testing.T, input []byte) { checkDecoders(t, input) })
}

// TestEvidenceDigest: each part counts, and where it stands.
func TestEvidenceDigest(t *testing.T) {
	digest := func(primary, additional string) string {
		t.Helper()
		r := &Request{Evidence: Evidence{Kind: "virtual", Data: []byte(primary)}, Additional: additional}
		d, err := r.EvidenceDigest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	alone := sha256.Sum256([]byte("p"))
	if want := "sha256:" + hex.EncodeToString(alone[:]); digest("p", "") != want || digest("p", "{}") != want {
		t.Errorf("primary evidence alone: %s", digest("p", ""))
	}
	seen := map[string]string{}
	for _, parts := range [][2]string{
		{"p", ""}, {"q", ""}, {"p", `{"tpm":1}`}, {"q", `{"tpm":1}`}, {"p", `{"tpm":2}`}, {"p", `{"tpm":1,"nvidia":2}`}, {"p", `{"nvidia":2,"tpm":1}`},
	} {
		d := digest(parts[0], parts[1])
		if seen[d] != "" {
			t.Errorf("%v has the digest of %s", parts, seen[d])
		}
		seen[d] = strings.Join(parts[:], " ")
	}
	if _, err := (&Request{Additional: "["}).EvidenceDigest(); !errors.Is(err, ErrMalformed) {
		t.Errorf("no object: %v", err)
	}
}
