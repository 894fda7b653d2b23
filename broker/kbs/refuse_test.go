package kbs_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/initdata"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/kbs"
	"github.com/vouchsafe/vouchsafe/broker/kbs/kbstest"
)

// reason returns why the operator is told that a request was refused.
func reason(t *testing.T, b *brokertest.Broker, refused *kbstest.Error) attest.Code {
	t.Helper()
	_, id, ok := strings.Cut(refused.Detail, "(decision ")
	if !ok {
		t.Fatalf("no decision in %q", refused.Detail)
	}
	e, err := b.Explain(t.Context(), b.Admin, "default", strings.TrimSuffix(id, ")"))
	if err != nil || e.Decision.Refusal == nil {
		t.Fatal(e, err)
	}
	return e.Decision.Refusal.Code
}

// TestMalformedMessages sends what is not as the protocol has it. Every answer is the error JSON.
func TestMalformedMessages(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	for body, want := range map[string]string{
		``: "SerdeError", `{`: "SerdeError", `[]`: "SerdeError", `null`: "SerdeError", `"x"`: "SerdeError", "\xff": "SerdeError",
		`{"version":"0.4.0","tee":"sample","extra-params":""} {}`:                                                                   "SerdeError",
		`{"version":"0.4.0","version":"0.4.0","tee":"sample","extra-params":""}`:                                                    "SerdeError",
		`{"version":"0.4.0","tee":"sample","tee":"snp","extra-params":""}`:                                                          "SerdeError",
		`{"version":0.4,"tee":"sample","extra-params":""}`:                                                                          "SerdeError",
		`{"tee":"sample","extra-params":""}`:                                                                                        "SerdeError",
		`{"version":"0.4.0","extra-params":""}`:                                                                                     "SerdeError",
		`{"version":"0.4.0","TEE":"sample","extra-params":""}`:                                                                      "SerdeError",
		`{"version":"0.4.0","tee":["sample"],"extra-params":""}`:                                                                    "SerdeError",
		`{"version":"0.4.0","tee":"sample","extra-params":{"supported-hash-algorithms":"sha384"}}`:                                  "SerdeError",
		`{"version":"0.4.0","tee":"sample","extra-params":{"supported-hash-algorithms":[],"supported-hash-algorithms":["sha384"]}}`: "SerdeError",
		`{"version":"0.4.0","tee":"sample","extra-params":` + deep[:4000] + `}`:                                                     "SerdeError",
		`{"version":"0.4.0","tee":"tdx","extra-params":""}`:                                                                         "UnsupportedTee",
		`{"version":"0.4.0","tee":"","extra-params":""}`:                                                                            "UnsupportedTee",
		`{"version":"0.4.0","tee":"` + strings.Repeat("x", 9000) + `","extra-params":""}`:                                           "UnsupportedTee",
		`{"version":"0.4.0","tee":"snp","extra-params":""}`:                                                                         "UnsupportedTee", // known, but not configured here
		`{"version":"0.4.0","tee":"sampledevice","extra-params":""}`:                                                                "SerdeError",     // not primary evidence
	} {
		_, err := post(t.Context(), client(t, b), "auth", body)
		refused := wantError(t, err, http.StatusBadRequest, want)
		if len(refused.Detail) > 500 {
			t.Errorf("%.60s: a detail of %d bytes", body, len(refused.Detail))
		}
	}
	// Unknown members are passed over, at every level.
	c := client(t, b)
	if _, err := post(t.Context(), c, "auth", ` {"new":{"a":[1,2]},"version":"0.4.0","tee":"sample","extra-params":{"x":1}} `); err != nil {
		t.Error(err)
	}
	_, err := post(t.Context(), c, "auth", `{"version":"0.4.0","tee":"sample","extra-params":"`+strings.Repeat("x", 17<<10)+`"}`)
	wantError(t, err, http.StatusRequestEntityTooLarge, "SerdeError")

	good := `{"runtime-data":{"nonce":%q,"tee-pubkey":{"kty":"EC"}},"tee-evidence":{"primary_evidence":{},"additional_evidence":""}}`
	for name, change := range map[string][2]string{
		"not JSON":                  {`{"runtime`, `{runtime`},
		"no runtime-data":           {`"runtime-data"`, `"Runtime-Data"`},
		"runtime-data of a string":  {`{"nonce":"N","tee-pubkey":{"kty":"EC"}}`, `"x"`},
		"no nonce":                  {`"nonce":"N",`, ``},
		"a number for a nonce":      {`"nonce":"N"`, `"nonce":1`},
		"two nonces":                {`"nonce":"N"`, `"nonce":"N","nonce":"N"`},
		"no key":                    {`,"tee-pubkey":{"kty":"EC"}`, ``},
		"no evidence":               {`"primary_evidence":{},`, ``},
		"evidence of old clients":   {`{"primary_evidence":{},"additional_evidence":""}`, `"eyJ4Ijoi"`},
		"no additional evidence":    {`,"additional_evidence":""`, ``},
		"additional as an object":   {`"additional_evidence":""`, `"additional_evidence":{}`},
		"two evidences":             {`"primary_evidence":{}`, `"primary_evidence":{},"primary_evidence":{}`},
		"two tee-evidences":         {`,"tee-evidence":`, `,"tee-evidence":{},"tee-evidence":`},
		"init-data of a string":     {`{"runtime`, `{"init-data":"x","runtime`},
		"init-data without a body":  {`{"runtime`, `{"init-data":{"format":"toml"},"runtime`},
		"init-data twice":           {`{"runtime`, `{"init-data":null,"init-data":null,"runtime`},
		"something after the value": {`""}}`, `""}}x`},
	} {
		challenge, err := c.Auth(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		body := strings.ReplaceAll(fmt.Sprintf(good, "N"), change[0], change[1])
		if body == fmt.Sprintf(good, "N") {
			t.Fatalf("%s: nothing changed", name)
		}
		_, err = post(t.Context(), c, "attest", strings.ReplaceAll(body, `"N"`, `"`+challenge.Nonce+`"`))
		wantError(t, err, http.StatusBadRequest, "SerdeError")
		// A message that could not be read has not spent the nonce.
		if _, err := c.Answer(t.Context(), challenge); err != nil {
			t.Errorf("%s: the nonce is gone: %v", name, err)
		}
	}
	if _, err := c.Auth(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = post(t.Context(), c, "attest", strings.Repeat("x", 4<<20))
	wantError(t, err, http.StatusRequestEntityTooLarge, "SerdeError")
}

// TestBadKeys presents keys that nothing may be encrypted to: refused at /attest, not at the first secret.
func TestBadKeys(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	hpke, err := envelope.GenerateKey(envelope.X25519)
	if err != nil {
		t.Fatal(err)
	}
	hybrid, err := envelope.GenerateKey(envelope.XWing)
	if err != nil {
		t.Fatal(err)
	}
	x, y := strings.Repeat("A", 43), strings.Repeat("A", 43)
	for name, key := range map[string]string{
		"a string":           `"key"`,
		"null":               `null`,
		"empty":              `{}`,
		"no kty":             `{"alg":"ECDH-ES+A256KW","crv":"P-256","x":"` + x + `","y":"` + y + `"}`,
		"a symmetric key":    `{"kty":"oct","alg":"A256KW","k":"AAAA"}`,
		"not on the curve":   `{"kty":"EC","alg":"ECDH-ES+A256KW","crv":"P-256","x":"` + x + `","y":"` + y + `"}`,
		"short coordinates":  `{"kty":"EC","alg":"ECDH-ES+A256KW","crv":"P-256","x":"AAAA","y":"AAAA"}`,
		"another curve":      `{"kty":"EC","alg":"ECDH-ES+A256KW","crv":"P-384","x":"` + x + `","y":"` + y + `"}`,
		"another algorithm":  `{"kty":"EC","alg":"ECDH-ES","crv":"P-256","x":"` + x + `","y":"` + y + `"}`,
		"a small modulus":    `{"kty":"RSA","alg":"RSA-OAEP-256","n":"` + strings.Repeat("_", 171) + `","e":"AQAB"}`,
		"an exponent of one": `{"kty":"RSA","alg":"RSA-OAEP-256","n":"` + strings.Repeat("_", 342) + `","e":"AQ"}`,
		"a huge modulus":     `{"kty":"RSA","alg":"RSA-OAEP-256","n":"` + strings.Repeat("_", 90_000) + `","e":"AQAB"}`,
		"OAEP with SHA-1":    `{"kty":"RSA","alg":"RSA-OAEP","n":"` + strings.Repeat("_", 342) + `","e":"AQAB"}`,
		"a private key":      `{"kty":"EC","alg":"ECDH-ES+A256KW","crv":"P-256","x":"` + x + `","y":"` + y + `","d":"` + x + `"}`,
		"a key twice":        `{"kty":"EC","kty":"RSA"}`,
		"HPKE":               string(hpke.PublicJWK()),
		"HPKE, hybrid":       string(hybrid.PublicJWK()),
	} {
		c := client(t, b)
		c.Tamper = func(a *kbstest.Attestation) { a.Runtime.PubKey = json.RawMessage(key) }
		_, err := c.Attest(t.Context())
		if refused := wantError(t, err, http.StatusBadRequest, "JweError"); len(refused.Detail) > 500 {
			t.Errorf("%s: a detail of %d bytes", name, len(refused.Detail))
		}
	}
	// RSA1_5 where it was turned on, and only there.
	c := client(t, b)
	c.Key = newKey(t, "RSA1_5")
	_, err = c.Attest(t.Context())
	wantError(t, err, http.StatusBadRequest, "JweError")
	lax := start(t, kbs.Config{AllowRSA15: true}, brokertest.Config{})
	c.URL, c.HTTP = lax.URL, lax.HTTP
	c.ForgetSession()
	if got, err := c.Get(t.Context(), "res/type/tag"); err != nil || string(got) != secret {
		t.Errorf("RSA1_5 turned on: %q, %v", got, err)
	}
}

// TestSessionsAreBoundToTheirChallenges mixes cookies, nonces, keys and evidence of several sessions.
func TestSessionsAreBoundToTheirChallenges(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	alice, mallory := client(t, b), client(t, b)
	challenge := func(c *kbstest.Client) *kbstest.Challenge {
		t.Helper()
		issued, err := c.Auth(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return issued
	}
	refused := func(name string, err error) *kbstest.Error {
		t.Helper()
		if nameOf(err) != "401 AttestationError" {
			t.Fatalf("%s: %v", name, err)
		}
		return wantError(t, err, http.StatusUnauthorized, "AttestationError")
	}

	_, err := post(t.Context(), client(t, b), "attest", `{}`)
	refused("no cookie", err)
	for _, id := range []string{"", "x", strings.Repeat("0", 32), strings.Repeat("f", 32), strings.Repeat("A", 32), strings.Repeat("0", 64)} {
		_, err := alice.Do(t.Context(), http.MethodPost, "attest", []byte(`{}`), http.Header{"Cookie": {"kbs-session-id=" + id}})
		if id == strings.Repeat("0", 32) { // the form of a challenge's id, for which nothing was issued
			wantError(t, err, http.StatusBadRequest, "SerdeError")
			continue
		}
		refused("cookie "+id, err)
	}

	// Mallory answers with her evidence to Alice's nonce, in her own session.
	issued := challenge(alice)
	challenge(mallory)
	_, err = mallory.Answer(t.Context(), issued)
	refused("a nonce of another session", err)
	if _, err := alice.Answer(t.Context(), issued); err != nil {
		t.Errorf("which did not spend it: %v", err)
	}
	_, err = alice.Answer(t.Context(), issued)
	refused("the same nonce again", err)

	// A challenge for another kind, in the same client.
	issued = challenge(alice)
	other := *alice
	other.Attester = virtualGuest(b.Device)
	_, err = other.Answer(t.Context(), issued)
	if code := reason(t, b, refused("evidence of another kind", err)); code != attest.CodeTooLarge { // for the kind of the challenge
		t.Errorf("evidence of another kind: %s", code)
	}

	// Evidence relayed with another recipient key.
	stolen := newKey(t, "P-256")
	relay := client(t, b)
	relay.Attester = virtualGuest(b.Device)
	relay.Tamper = func(a *kbstest.Attestation) {
		mine := client(t, b)
		mine.Key, mine.Attester = stolen, kbstest.Sample()
		mine.Tamper = func(theirs *kbstest.Attestation) { a.Runtime.PubKey = theirs.Runtime.PubKey }
		if _, err := mine.Attest(t.Context()); err != nil {
			t.Error(err)
		}
	}
	_, err = relay.Attest(t.Context())
	if code := reason(t, b, refused("relayed", err)); code != attest.CodeBinding {
		t.Errorf("relayed: %s", code)
	}

	// An attested session's id is new: who planted the challenge's cookie has nothing.
	victim := client(t, b)
	reply, err := post(t.Context(), victim, "auth", `{"version":"0.4.0","tee":"sample","extra-params":""}`)
	if err != nil {
		t.Fatal(err)
	}
	planted := reply.Cookies[0].Value
	var m struct{ Nonce string }
	if err := json.Unmarshal(reply.Body, &m); err != nil {
		t.Fatal(err)
	}
	if _, err := victim.Answer(t.Context(), &kbstest.Challenge{Nonce: m.Nonce, Hash: "sha384"}); err != nil {
		t.Fatal(err)
	}
	_, err = client(t, b).Do(t.Context(), http.MethodGet, "resource/res/type/tag", nil, http.Header{"Cookie": {"kbs-session-id=" + planted}})
	wantError(t, err, http.StatusUnauthorized, "TokenNotFound")

	// 64 at once with one nonce.
	racer := client(t, b)
	issued = challenge(racer)
	var good atomic.Int32
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if _, err := racer.Answer(t.Context(), issued); err == nil {
				good.Add(1)
			}
		})
	}
	wg.Wait()
	if good.Load() != 1 {
		t.Errorf("one nonce was good %d times", good.Load())
	}
}

// TestAdditionalEvidence presents devices beside the primary evidence.
func TestAdditionalEvidence(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	device := kbstest.Sample()
	device.TEE = "sampledevice"
	with := func(tamper func(*kbstest.Attestation)) (string, error) {
		c := client(t, b)
		c.Attester, c.Devices, c.Tamper = virtualGuest(b.Device), []kbstest.Attester{device}, tamper
		if tamper == nil {
			got, err := c.Get(t.Context(), "res/type/tag")
			if err != nil || string(got) != secret {
				t.Errorf("with a good device: %q, %v", got, err)
			}
		}
		return c.Attest(t.Context())
	}
	token, err := with(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, claims, err := kbstest.TokenClaims(token)
	if err != nil {
		t.Fatal(err)
	}
	if submods := claims["submods"].(map[string]any); len(submods) != 2 {
		t.Errorf("the token has the submods %v", submods)
	}
	// A device bound to another key: its evidence is good, and the primary covers it.
	c := client(t, b)
	c.Attester, c.Devices = virtualGuest(b.Device), []kbstest.Attester{{TEE: "sampledevice", Evidence: func([]byte) (json.RawMessage, error) {
		return sample.Evidence("1", make([]byte, 48)), nil
	}}}
	_, err = c.Attest(t.Context())
	if code := reason(t, b, wantError(t, err, http.StatusUnauthorized, "AttestationError")); code != attest.CodeBinding {
		t.Errorf("a device bound to another key: %s", code)
	}
	for name, test := range map[string]struct {
		tamper func(*kbstest.Attestation)
		code   attest.Code
	}{
		"removed":         {func(a *kbstest.Attestation) { a.Evidence.Additional = "" }, attest.CodeBinding},
		"spelled again":   {func(a *kbstest.Attestation) { a.Evidence.Additional += " " }, attest.CodeBinding},
		"an empty object": {func(a *kbstest.Attestation) { a.Evidence.Additional = "{}" }, attest.CodeBinding},
		"of a CPU": {func(a *kbstest.Attestation) {
			a.Evidence.Additional = strings.Replace(a.Evidence.Additional, "sampledevice", "sample", 1)
		}, attest.CodeNotADevice},
		"of no kind": {func(a *kbstest.Attestation) {
			a.Evidence.Additional = strings.Replace(a.Evidence.Additional, "sampledevice", "toaster", 1)
		}, attest.CodeKindUnknown},
	} {
		_, err := with(test.tamper)
		if code := reason(t, b, wantError(t, err, http.StatusUnauthorized, "AttestationError")); code != test.code {
			t.Errorf("%s: %s, want %s", name, code, test.code)
		}
	}
	for name, additional := range map[string]string{
		"twice": `{"sampledevice":{},"sampledevice":{}}`, "an array": `[]`, "not JSON": `{`, "a string": `"x"`, "null": `null`, "more": `{}{}`,
	} {
		_, err := with(func(a *kbstest.Attestation) { a.Evidence.Additional = additional })
		if nameOf(err) != "400 SerdeError" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const document = `algorithm = "sha384"
version = "0.1.0"

[data]
"policy.rego" = "package agent_policy"
`

// TestInitData presents documents to guests whose hardware carries their digest, another, or none.
func TestInitData(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	parsed, err := initdata.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	field, err := snp.HostData(parsed)
	if err != nil {
		t.Fatal(err)
	}
	carries, err := b.Device.With(func(c *virtual.Config) { c.HostData = field })
	if err != nil {
		t.Fatal(err)
	}
	get := func(device *virtual.Device, init *kbstest.InitData) error {
		c := client(t, b)
		c.Attester, c.InitData = virtualGuest(device), init
		got, err := c.Get(t.Context(), "res/type/tag")
		if err == nil && string(got) != secret {
			t.Errorf("%q", got)
		}
		return err
	}
	toml := func(body string) *kbstest.InitData { return &kbstest.InitData{Format: "toml", Body: body} }
	if err := get(carries, toml(document)); err != nil {
		t.Errorf("the document that the hardware carries: %v", err)
	}
	if err := get(carries, nil); err != nil {
		t.Errorf("none presented: %v", err)
	}
	for name, err := range map[string]error{
		"another document than the hardware's": get(carries, toml(document+"\n")),
		"a document and no digest":             get(b.Device, toml(document)),
	} {
		if nameOf(err) != "403 PolicyDeny" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"another format":    get(carries, &kbstest.InitData{Format: "json", Body: document}),
		"no format":         get(carries, &kbstest.InitData{Body: document}),
		"not TOML":          get(carries, toml("[")),
		"empty":             get(carries, toml("")),
		"an unknown member": get(carries, toml("extra = 1\n"+document)),
		"another algorithm": get(carries, toml(strings.Replace(document, "sha384", "md5", 1))),
		"too long":          get(carries, toml(document+strings.Repeat("#", initdata.MaxDocument))),
	} {
		if nameOf(err) != "400 SerdeError" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPaths asks an attested session for what is not a resource.
func TestPaths(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	c := client(t, b)
	_, err := c.Do(t.Context(), http.MethodGet, "resource/res/type/tag", nil, nil)
	wantError(t, err, http.StatusUnauthorized, "TokenNotFound") // before it attested
	if _, err := c.Attest(t.Context()); err != nil {
		t.Fatal(err)
	}
	size := b.Data.Log.Size()
	for _, path := range []string{
		"resource/", "resource//", "resource/res", "resource/res/type", "resource/res/type/tag/more", "resource/res/type/", "resource/res/type/tag/",
		"resource//type/tag", "resource/res//tag", "resource/./type/tag", "resource/res/../tag", "resource/../resource/res/type/tag",
		"resource/res/type/..", "resource/%2e%2e/type/tag", "resource/res%2Ftype/tag", "resource/res%2Ftype%2Ftag", "resource/res/type/%74ag",
		"resource/res/type/tag%00", "resource/res/type/tag%0a", "resource/res/type/.tag", "resource/res/type/t%20g", "resource/res/type/%ff",
		"resource/res/type/t*g", "resource/res/type/t:g", "resource/res/type/tag@1", "resource/res/type/" + strings.Repeat("a", 256),
		"resource/res/type/täg", "resource/res\\type\\tag/b/c", "./resource/res/type/tag", "/resource/res/type/tag",
	} {
		_, err := c.Do(t.Context(), http.MethodGet, path, nil, nil)
		if name := nameOf(err); name != "400 InvalidRequestPath" {
			t.Errorf("%s: %v", path, err)
		}
	}
	for path, method := range map[string]string{
		"": "GET", "resource": "GET", "auth": "GET", "attest": "GET", "nothing": "GET", "resource/res/type/tag": "PUT", "auth/": "POST",
		"attestation-policy": "GET", "plugin/resource/res/type/tag": "GET", "RESOURCE/res/type/tag": "GET",
	} {
		_, err := c.Do(t.Context(), method, path, nil, nil)
		want := "404 PluginNotFound"
		if path == "" || path == "auth/" {
			want = "400 InvalidRequestPath"
		}
		if name := nameOf(err); name != want {
			t.Errorf("%s %s: %v", method, path, err)
		}
	}
	// HEAD would release a secret to nobody.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodHead, b.URL+"/kbs/v0/resource/res/type/tag", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := b.HTTP.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("HEAD: %d", response.StatusCode)
	}
	if b.Data.Log.Size() != size {
		t.Error("something was judged")
	}
	if got, err := c.Get(t.Context(), "res/type/tag"); err != nil || string(got) != secret {
		t.Errorf("%q, %v", got, err)
	}
}

// TestAdmin writes resources as a custodian, and tries to as others.
func TestAdmin(t *testing.T) {
	b := start(t, kbs.Config{}, brokertest.Config{})
	admin := func(header ...string) *kbstest.Admin {
		return &kbstest.Admin{URL: b.URL, HTTP: b.HTTP, Header: http.Header{"Authorization": header}}
	}
	custodian := admin("Bearer " + b.CreateToken(access.Custodian))
	guest := client(t, b)
	token, err := guest.Attest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := custodian.SetResource(t.Context(), "res/type/missing", []byte("written over the protocol")); err != nil {
		t.Fatal(err)
	}
	if got, err := guest.Get(t.Context(), "res/type/missing"); err != nil || string(got) != "written over the protocol" {
		t.Errorf("%q, %v", got, err)
	}
	if err := custodian.SetResource(t.Context(), "res/type/missing", []byte{}); err != nil {
		t.Fatal(err)
	}
	if got, err := guest.Get(t.Context(), "res/type/missing"); err != nil || len(got) != 0 {
		t.Errorf("an empty resource: %q, %v", got, err)
	}
	for name, test := range map[string]struct {
		header []string
		status int
		name   string
	}{
		"nobody":          {nil, http.StatusUnauthorized, "AdminAuthAccess"},
		"not a token":     {[]string{"Bearer x"}, http.StatusUnauthorized, "AdminAuthAccess"},
		"no scheme":       {[]string{b.Token}, http.StatusUnauthorized, "AdminAuthAccess"},
		"another scheme":  {[]string{"Basic " + b.Token}, http.StatusUnauthorized, "AdminAuthAccess"},
		"two headers":     {[]string{"Bearer " + b.Token, "Bearer " + b.Token}, http.StatusUnauthorized, "AdminAuthAccess"},
		"a guest's token": {[]string{"Bearer " + token}, http.StatusUnauthorized, "AdminAuthAccess"},
		"an auditor":      {[]string{"Bearer " + b.CreateToken(access.Auditor)}, http.StatusForbidden, "AdminAuthAccess"},
		"an enroller":     {[]string{"Bearer " + b.CreateToken(access.Enroller)}, http.StatusForbidden, "AdminAuthAccess"},
	} {
		want := fmt.Sprint(test.status, " ", test.name)
		if err := admin(test.header...).SetResource(t.Context(), "res/type/tag", []byte("stolen")); nameOf(err) != want {
			t.Errorf("set by %s: %v", name, err)
		}
		if err := admin(test.header...).DeleteResource(t.Context(), "res/type/tag"); nameOf(err) != want {
			t.Errorf("delete by %s: %v", name, err)
		}
	}
	// An administrator's token is not an attestation, and no administrator reads.
	_, err = client(t, b).GetBearer(t.Context(), b.Token, "res/type/tag")
	wantError(t, err, http.StatusUnauthorized, "TokenVerifierError")
	for _, path := range []string{"res/type", "res/type/tag/more", "res/type/.tag", "res/type/%2e%2e"} {
		wantError(t, custodian.SetResource(t.Context(), path, nil), http.StatusBadRequest, "InvalidRequestPath")
		wantError(t, custodian.DeleteResource(t.Context(), path), http.StatusBadRequest, "InvalidRequestPath")
	}
	wantError(t, custodian.SetResource(t.Context(), "res/type/tag", make([]byte, broker.MaxSecret+1)), http.StatusRequestEntityTooLarge, "SerdeError")
	large := make([]byte, broker.MaxSecret)
	_, _ = rand.Read(large)
	if err := custodian.SetResource(t.Context(), "res/type/tag", large); err != nil {
		t.Fatal(err)
	}
	if got, err := guest.Get(t.Context(), "res/type/tag"); err != nil || string(got) != string(large) {
		t.Errorf("the largest resource: %d bytes, %v", len(got), err)
	}
	if err := custodian.DeleteResource(t.Context(), "res/type/tag"); err != nil {
		t.Fatal(err)
	}
	_, err = guest.Get(t.Context(), "res/type/tag")
	wantError(t, err, http.StatusNotFound, "ResourceNotFound")
	wantError(t, custodian.DeleteResource(t.Context(), "res/type/tag"), http.StatusNotFound, "ResourceNotFound")
}

// TestSessionsAreLimited fills the sessions: the next is told to come back, and nobody else's ends.
func TestSessionsAreLimited(t *testing.T) {
	b := start(t, kbs.Config{Sessions: 3}, brokertest.Config{})
	first := client(t, b)
	for _, c := range []*kbstest.Client{first, client(t, b), client(t, b)} {
		if _, err := c.Attest(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, err := client(t, b).Attest(t.Context())
	wantError(t, err, http.StatusServiceUnavailable, "Unavailable")
	if _, err := first.Do(t.Context(), http.MethodGet, "resource/res/type/tag", nil, nil); err != nil {
		t.Error(err)
	}
}
