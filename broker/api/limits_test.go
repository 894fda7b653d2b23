package api_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/client/release"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

func statusOf(err error) int {
	var e *admin.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// TestStrict sends what is almost right.
func TestStrict(t *testing.T) {
	f := start(t, brokertest.Config{})
	w := f.workload(envelope.X25519, "app/key").attest()
	good := string(w.body())
	put := "/v1/admin/secrets/app/key"
	tests := []struct {
		name, method, path, body string
		status                   int
	}{
		{"unknown member", "POST", put, `{"value":"","values":""}`, 400},
		{"member twice", "POST", put, `{"value":"","value":""}`, 400},
		{"another case", "POST", put, `{"Value":""}`, 400},
		{"trailing data", "POST", put, `{"value":""}{}`, 400},
		{"null", "POST", put, `null`, 400},
		{"array", "POST", put, `[]`, 400},
		{"empty", "POST", put, ``, 415}, // nothing says what it is
		{"not UTF-8", "POST", put, "{\"content_type\":\"\xff\"}", 400},
		{"not base64", "POST", put, `{"value":"*"}`, 400},
		{"too deep", "POST", put, `{"labels":` + strings.Repeat(`{"a":`, 1000) + `""` + strings.Repeat(`}`, 1000) + `}`, 400},
		{"name with a dot", "POST", "/v1/admin/secrets/app/.key", `{"value":""}`, 400},
		{"name of nine segments", "POST", "/v1/admin/secrets/1/2/3/4/5/6/7/8/9", `{"value":""}`, 400},
		{"name with a line break", "POST", "/v1/admin/secrets/a%0ab", `{"value":""}`, 400},
		{"name with an encoded slash", "GET", "/v1/admin/secrets/a%2Fb", "", 404}, // a/b, which is not there
		{"encoded way out", "GET", "/v1/admin/secrets/%2e%2e%2f%2e%2e%2fsys", "", 404},
		{"relative path", "GET", "/v1/admin/secrets/../../sys", "", 404},
		{"double slash", "GET", "/v1/admin//secrets", "", 404},
		{"trailing slash", "GET", "/v1/admin/secrets/", "", 404},
		{"unknown path", "GET", "/v1/admin/nothing", "", 404},
		{"unknown method", "PATCH", put, `{}`, 404},
		{"unknown parameter", "GET", "/v1/admin/secrets?prefx=a", "", 400},
		{"parameter twice", "GET", "/v1/admin/secrets?prefix=a&prefix=b", "", 400},
		{"parameter with a sign", "GET", "/v1/admin/secrets?limit=-1", "", 400},
		{"parameter with a zero", "GET", "/v1/admin/secrets?limit=010", "", 400},
		{"malformed query", "GET", "/v1/admin/secrets?a;b", "", 400},
		{"parameter on a post", "POST", put + "?activate=true", `{"value":""}`, 400},
		{"neither version nor all", "POST", "/v1/admin/secret-destroy/app/key", `{}`, 400},
		{"both version and all", "POST", "/v1/admin/secret-destroy/app/key", `{"version":1,"all":true}`, 400},
		{"generate short", "POST", "/v1/admin/secret-generate/app/key", `{"length":15,"encoding":"hex"}`, 400},
		{"generate nothing known", "POST", "/v1/admin/secret-generate/app/key", `{"length":16,"encoding":"rot13"}`, 400},
		{"activate no version", "POST", "/v1/admin/policy-activate/x", `{}`, 400},
		{"put as retired", "POST", "/v1/admin/references/x", `{"values":[{"value":"x","state":"retired"}]}`, 400},
		{"body where none is", "POST", "/v1/admin/policy-retire/x", `{"version":1}`, 400},
		{"decision that is none", "GET", "/v1/admin/decisions/x", "", 400},
		{"tile that is none", "GET", "/v1/audit/tile/9/000", "", 400},
		{"tile not yet", "GET", "/v1/audit/tile/0/x001/000", "", 404},
		{"entry not yet", "GET", "/v1/audit/receipt/999999", "", 404},
		{"entry that is none", "GET", "/v1/audit/receipt/-1", "", 400},
		{"sizes the wrong way round", "GET", "/v1/audit/consistency?old=2&new=1", "", 400},
		{"challenge of no kind", "POST", release.ChallengePath, `{}`, 400},
		{"challenge of an unknown kind", "POST", release.ChallengePath, `{"kind":"snp2"}`, 400},
		{"challenge of a device", "POST", release.ChallengePath, `{"kind":"sampledevice"}`, 400},
		{"release with an unknown member", "POST", release.ReleasePath, strings.Replace(good, `{`, `{"x":1,`, 1), 400},
		{"release with a member twice", "POST", release.ReleasePath, strings.Replace(good, `{`, `{"nonce":"",`, 1), 400},
		{"release with trailing data", "POST", release.ReleasePath, good + "x", 400},
		{"release of a secret twice", "POST", release.ReleasePath, strings.Replace(good, `{"name":"app/key"}`, `{"name":"app/key"},{"name":"app/key"}`, 1), 400},
		{"release of no path", "POST", release.ReleasePath, strings.Replace(good, `app/key`, `app//key`, 1), 400},
		{"release to a private key", "POST", release.ReleasePath, strings.Replace(good, `"kty":"OKP"`, `"kty":"OKP","d":"AA"`, 1), 400},
		{"release with bad devices", "POST", release.ReleasePath, strings.Replace(good, `{`, `{"additional_evidence":"[]",`, 1), 400},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var body []byte
			if test.body != "" {
				body = []byte(test.body)
			}
			status, header, answer := f.send(test.method, test.path, f.Token, body)
			var e wire.Error
			if err := json.Unmarshal(answer, &e); err != nil || status != test.status || e.Code == "" || e.Message == "" {
				t.Errorf("%d %s, want %d", status, answer, test.status)
			}
			if header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "no-store" || header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers %v", header)
			}
		})
	}
	w.request.Secrets[0].Name = "none/here"
	if reply := w.release(); reply.Results[0].Code != release.CodeDenied {
		t.Errorf("a malformed request must not spend the nonce: %+v", reply)
	}
	// The init-data document is read only by whoever has a nonce to spend: see broker.TestInvariant5InitDataIsReadAfterTheNonceIsSpent.
	status, _, answer := f.send("POST", release.ReleasePath, "", []byte(strings.Replace(good, `{`, `{"init_data":"x",`, 1)))
	if status != http.StatusForbidden || !strings.Contains(string(answer), string(broker.CodeNonce)) {
		t.Errorf("bad init-data with a spent nonce: %d %s", status, answer)
	}
}

func TestContentType(t *testing.T) {
	f := start(t, brokertest.Config{})
	for media, want := range map[string]int{
		"application/json": 200, "application/json; charset=utf-8": 200, "APPLICATION/JSON": 200,
		"": 415, "text/plain": 415, "application/json; boundary=x": 415, "application/x-www-form-urlencoded": 415, "application/json, text/plain": 415, ";": 415,
	} {
		r := httptest.NewRequest("POST", release.ChallengePath, strings.NewReader(`{"kind":"virtual"}`))
		if media != "" {
			r.Header.Set("Content-Type", media)
		}
		w := httptest.NewRecorder()
		f.api.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d %s", media, w.Code, w.Body)
		}
	}
	r := httptest.NewRequest("GET", "/v1/admin/secrets", nil)
	r.Header["Authorization"] = []string{"Bearer " + f.Token, "Bearer " + f.Token}
	w := httptest.NewRecorder()
	if f.api.Handler().ServeHTTP(w, r); w.Code != 401 {
		t.Errorf("two Authorization headers: %d", w.Code)
	}
}

// TestHugeBodies: a body over its operation's limit is refused, announced or not, and nothing of it is held afterwards.
func TestHugeBodies(t *testing.T) {
	f := start(t, brokertest.Config{})
	for _, op := range f.api.Operations() {
		if op.Method != "POST" {
			continue
		}
		limit := op.Limit
		if limit == 0 {
			limit = wire.DefaultLimit
		}
		for _, announced := range []bool{true, false} {
			body := io.Reader(bytes.NewReader(bytes.Repeat([]byte(" "), int(limit)+1)))
			if !announced {
				body = io.MultiReader(body) // hides its length
			}
			request, err := http.NewRequest("POST", f.URL+target(op), body)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("Authorization", "Bearer "+f.Token)
			response, err := f.HTTP.Do(request)
			if err != nil {
				t.Errorf("%s: %v", op.ID, err)
				continue
			}
			if response.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("%s: %d for a body of %d bytes", op.ID, response.StatusCode, limit+1)
			}
		}
	}
	if held := f.intake.Held(); held != 0 {
		t.Errorf("%d bytes are held", held)
	}
}

// TestSlowBodies: many clients that announce large bodies and send none hold next to nothing, and do not keep others out.
func TestSlowBodies(t *testing.T) {
	f := start(t, brokertest.Config{})
	const clients = 200
	address := strings.TrimPrefix(f.URL, "https://")
	for range clients {
		c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) // a test server's own certificate
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{", release.ReleasePath, 2<<20)
	}
	deadline := time.Now().Add(20 * time.Second)
	for f.intake.Held() < clients*4<<10 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if held := f.intake.Held(); held != clients*4<<10 {
		t.Errorf("%d clients hold %d bytes", clients, held)
	}
	f.challenge("virtual")
}

// TestStrangersHoldNothing: without a token the body of an administrative request is not read.
func TestStrangersHoldNothing(t *testing.T) {
	f := start(t, brokertest.Config{})
	body := &counting{}
	r := httptest.NewRequest("POST", "/v1/admin/secrets/app/key", body)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	f.api.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized || body.reads != 0 {
		t.Errorf("%d after %d reads", w.Code, body.reads)
	}
}

type counting struct{ reads int }

func (c *counting) Read([]byte) (int, error) { c.reads++; return 0, io.EOF }

// TestMutations damages requests: no answer is 500, none is a release, and every error is one of this API.
func TestMutations(t *testing.T) {
	f := start(t, brokertest.Config{Limits: broker.Limits{RefusalsPerSecond: 10}})
	f.PutSecret("app/key", []byte(plaintext))
	f.ApplyPolicy(brokertest.AllowVirtual("app/*"))
	good := f.workload(envelope.P256, "app/key").attest()
	good.request.Additional = `{"sampledevice":{"svn":"1","report_data":"AAEC"}}`
	good.request.InitData = "algorithm = \"sha256\"\nversion = \"0.1.0\"\n[data]\n"
	hpke := f.workload(envelope.X25519, "app/key", "app/other").attest()
	handler := f.api.Handler()
	post := func(path string, body []byte, token string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", path, bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	check := func(t *testing.T, w *httptest.ResponseRecorder, input []byte) {
		var e wire.Error
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Code == "" || w.Code < 400 || w.Code >= 500 {
			t.Errorf("%d %s for %.300q", w.Code, w.Body, input)
		}
	}
	if w := post(release.ReleasePath, good.body(), ""); w.Code != http.StatusForbidden {
		t.Fatalf("the seed is refused with %d %s, not by its evidence", w.Code, w.Body)
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range mutate.Runs(t) / 4 { // a request costs several times what parsing it does
		input := mutate.Input(random, [][]byte{good.body(), hpke.body()})
		// The second seed is good: it, or what means the same, is released once.
		if w := post(release.ReleasePath, input, ""); w.Code != http.StatusOK {
			check(t, w, input)
		} else if strings.Contains(w.Body.String(), plaintext) {
			t.Error("a secret in the clear")
		}
	}
	for _, op := range f.api.Operations() {
		if bodies[op.ID] == "" {
			continue
		}
		for range 100 {
			input := mutate.Input(random, [][]byte{[]byte(bodies[op.ID])})
			if w := post(target(op), input, f.Token); w.Code != http.StatusOK {
				check(t, w, input)
			}
		}
	}
	if held := f.intake.Held(); held != 0 {
		t.Errorf("%d bytes are held", held)
	}
}

// TestMutationsTargets damages paths and queries of everything that is read: no answer is 500, and none says that the broker is not available.
func TestMutationsTargets(t *testing.T) {
	f := start(t, brokertest.Config{})
	f.PutSecret("app/key", []byte(plaintext))
	f.ApplyPolicy(brokertest.AllowVirtual("app/*"))
	f.workload(envelope.X25519, "app/key").attest().release()
	handler := f.api.Handler()
	var seeds [][]byte
	for _, op := range f.api.Operations() {
		if op.Method == "GET" {
			seeds = append(seeds, []byte(target(op)), []byte(target(op)+"?prefix=app/&after=app/a&limit=10"), []byte(target(op)+"?old=1&new=2&version=1&secret=app/key"))
		}
	}
	random := rand.New(rand.NewPCG(5, 6))
	for range mutate.Runs(t) / 4 {
		input := string(mutate.Input(random, seeds))
		u, err := url.ParseRequestURI(input)
		if err != nil || !strings.HasPrefix(input, "/") {
			continue // net/http refuses it
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL, r.RequestURI = u, input
		r.Header.Set("Authorization", "Bearer "+f.Token)
		w := httptest.NewRecorder()
		if handler.ServeHTTP(w, r); w.Code >= 500 || w.Code >= 300 && w.Code < 400 || strings.Contains(w.Body.String(), plaintext) {
			t.Errorf("%d %s for %q", w.Code, w.Body, input)
		}
	}
}
