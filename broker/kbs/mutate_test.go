package kbs_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/broker/kbs"
	"github.com/vouchsafe/vouchsafe/broker/kbs/kbstest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
)

// recorded is a transport that keeps requests as they went over the wire.
type recorded struct {
	http.RoundTripper
	requests [][]byte
}

func (r *recorded) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	var wire bytes.Buffer
	if err := request.Write(&wire); err != nil {
		return nil, err
	}
	r.requests = append(r.requests, bytes.Clone(wire.Bytes()))
	request.Body = io.NopCloser(bytes.NewReader(body))
	return r.RoundTripper.RoundTrip(request)
}

// TestMutatedRequests damages the requests of a whole exchange, as they were on the wire, and gives them to the whole server: it never panics,
// never answers 500, has an error body for every error, gives a secret only to who holds a session or token, and keeps no memory.
func TestMutatedRequests(t *testing.T) {
	bodies, err := intake.NewReader(0)
	if err != nil {
		t.Fatal(err)
	}
	var handler http.Handler
	b := brokertest.Start(t, brokertest.Config{
		Verifiers: func(*data.Data) []attest.Verifier { return []attest.Verifier{sample.New(), sample.NewDevice()} },
		Handler: func(core *broker.Broker) http.Handler {
			k, err := kbs.New(kbs.Config{Broker: core, Intake: bodies})
			if err != nil {
				t.Fatal(err)
			}
			handler = k.Handler()
			return handler
		},
	})
	b.PutSecret("res/type/tag", []byte(secret))
	b.ApplyPolicy(allowAll)

	wire := &recorded{RoundTripper: b.HTTP.Transport}
	c := client(t, b)
	c.HTTP = &http.Client{Transport: wire}
	c.InitData = nil
	if _, err := c.Get(t.Context(), "res/type/tag"); err != nil {
		t.Fatal(err)
	}
	token, err := c.Attest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetBearer(t.Context(), token, "res/type/tag"); err != nil {
		t.Fatal(err)
	}
	admin := &kbstest.Admin{URL: b.URL, HTTP: c.HTTP, Header: http.Header{"Authorization": {"Bearer vst_0123456789abcdef_0123456789"}}}
	_ = admin.SetResource(t.Context(), "res/type/tag", []byte("overwritten"))
	_ = admin.DeleteResource(t.Context(), "res/type/tag")
	var credentials []string // of attested sessions
	for _, request := range wire.requests {
		parsed, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
		if err != nil {
			t.Fatal(err)
		}
		if cookie, err := parsed.Cookie("kbs-session-id"); err == nil && parsed.Method == http.MethodGet {
			credentials = append(credentials, cookie.Value)
		}
	}
	credentials = append(credentials, token)

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	served, statuses := 0, map[int]int{}
	mutate.Run(t, wire.requests, func(t *testing.T, input []byte) {
		request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(input)))
		if err != nil {
			return // the server's HTTP refuses it before this
		}
		request.RemoteAddr = "192.0.2.1:1"
		served++
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request.WithContext(t.Context()))
		statuses[w.Code]++
		if bytes.Contains(w.Body.Bytes(), []byte(secret)) {
			t.Fatalf("the secret itself, for %q", input)
		}
		if w.Code != http.StatusOK {
			var e struct{ Type, Detail *string }
			if w.Code < 400 || w.Code == 500 || w.Header().Get("Content-Type") != "application/json" || json.Unmarshal(w.Body.Bytes(), &e) != nil || e.Type == nil || e.Detail == nil {
				t.Fatalf("%d %q for %q", w.Code, w.Body, input)
			}
			return
		}
		if !strings.Contains(request.URL.Path, "resource") {
			return
		}
		held := slices.ContainsFunc(credentials, func(credential string) bool {
			return strings.Contains(fmt.Sprint(request.Header["Cookie"], request.Header["Authorization"]), credential)
		})
		if request.Method != http.MethodGet || request.URL.Path != "/kbs/v0/resource/res/type/tag" || !held {
			t.Fatalf("200 for %q", input)
		}
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d served: %v", served, statuses)
	if served < mutate.Runs(t)/5 || statuses[200] == 0 || statuses[401] == 0 || statuses[400] == 0 {
		t.Error("the test does not test")
	}
	if bodies.Held() != 0 {
		t.Errorf("%d bytes of bodies are held", bodies.Held())
	}
	// Sessions that attested evidence made, and the log's and the store's own caches, may remain.
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("%d bytes remain", grown)
	}
	if got, err := c.Get(t.Context(), "res/type/tag"); err != nil || string(got) != secret {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}
