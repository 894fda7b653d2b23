package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/sample"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/api"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/intake"
	"github.com/vouchsafe/vouchsafe/client/release"
)

// plaintext is a secret that must be seen nowhere.
const plaintext = "correct-horse-battery-staple-0123456789"

// fixture is a broker with the native front end, every answer of which is kept.
type fixture struct {
	*brokertest.Broker
	t      testing.TB
	api    *api.API
	intake *intake.Reader

	mu      sync.Mutex
	answers bytes.Buffer // headers and bodies of all answers
	logs    bytes.Buffer // of the front end
}

// logger keeps what the front end logs, at every level.
func (f *fixture) logger() *slog.Logger {
	write := writer(func(p []byte) (int, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.logs.Write(p)
	})
	return slog.New(slog.NewJSONHandler(write, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func start(t testing.TB, c brokertest.Config) *fixture {
	t.Helper()
	f := &fixture{t: t}
	var err error
	if f.intake, err = intake.NewReader(0); err != nil {
		t.Fatal(err)
	}
	c.Handler = func(b *broker.Broker) http.Handler {
		f.api, err = api.New(api.Config{
			Broker: b, Intake: f.intake, Logger: f.logger(),
			Backup: func(_ context.Context, w io.Writer, recipients []string) error {
				_, err := io.WriteString(w, "backup for "+strings.Join(recipients, ","))
				return err
			},
			RotateData: func(context.Context) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		return f.api.Handler()
	}
	c.Verifiers = func(*data.Data) []attest.Verifier { return []attest.Verifier{sample.New(), sample.NewDevice()} }
	f.Broker = brokertest.Start(t, c)
	next := f.HTTP.Transport
	f.HTTP.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		response.Body = io.NopCloser(bytes.NewReader(body))
		f.mu.Lock()
		defer f.mu.Unlock()
		_ = response.Header.Write(&f.answers)
		f.answers.Write(body)
		return response, err
	})
	return f
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// seen returns all that was answered and logged.
func (f *fixture) seen() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.answers.String() + f.logs.String() + f.Logs()
}

// admin returns a client with a token.
func (f *fixture) admin(token string) *admin.Client {
	f.t.Helper()
	c, err := admin.New(admin.Config{Address: f.URL, Token: token, HTTP: f.HTTP})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// send sends a request and returns the answer, its body read.
func (f *fixture) send(method, path, token string, body []byte) (status int, header http.Header, answer []byte) {
	f.t.Helper()
	request, err := http.NewRequest(method, f.URL+path, bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := f.HTTP.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	if answer, err = io.ReadAll(response.Body); err != nil {
		f.t.Fatal(err)
	}
	return response.StatusCode, response.Header, answer
}

// workload is one native exchange, step by step, so that a test can do each step wrong.
type workload struct {
	*fixture
	key     *envelope.PrivateKey
	device  *virtual.Device
	request release.Request
}

func (f *fixture) workload(t envelope.KeyType, secrets ...string) *workload {
	f.t.Helper()
	key, err := envelope.GenerateKey(t)
	if err != nil {
		f.t.Fatal(err)
	}
	w := &workload{fixture: f, key: key, device: f.Device}
	w.request.Recipient = key.PublicJWK()
	w.request.Evidence.Kind = attest.Virtual
	for _, name := range secrets {
		w.request.Secrets = append(w.request.Secrets, release.Want{Name: name})
	}
	return w
}

// challenge gets a nonce for a kind.
func (f *fixture) challenge(kind attest.Kind) string {
	f.t.Helper()
	status, _, body := f.send("POST", release.ChallengePath, "", []byte(`{"kind":"`+string(kind)+`"}`))
	challenge, err := release.DecodeChallenge(body)
	if status != http.StatusOK || err != nil || challenge.Hash != "sha384" {
		f.t.Fatalf("challenge: %d %s %v", status, body, err)
	}
	return challenge.Nonce
}

// attest gets a nonce and has the device sign for it and the key.
func (w *workload) attest() *workload {
	w.t.Helper()
	w.request.Nonce = w.challenge(w.request.Evidence.Kind)
	return w.quote()
}

func (w *workload) quote() *workload {
	w.t.Helper()
	digest, err := w.request.Binding("sha384", w.key.Recipient())
	if err != nil {
		w.t.Fatal(err)
	}
	if w.request.Evidence.Data, err = w.device.Evidence(rand.Reader, digest); err != nil {
		w.t.Fatal(err)
	}
	return w
}

func (w *workload) body() []byte {
	w.t.Helper()
	body, err := json.Marshal(w.request)
	if err != nil {
		w.t.Fatal(err)
	}
	return body
}

// release sends the request and verifies the reply with the published keys.
func (w *workload) release() *release.Reply {
	w.t.Helper()
	status, header, body := w.send("POST", release.ReleasePath, "", w.body())
	if status != http.StatusOK || header.Get("Content-Type") != release.ReplyMediaType {
		w.t.Fatalf("release: %d %s", status, body)
	}
	_, _, jwks := w.send("GET", release.KeysPath, "", nil)
	keys, err := release.ParseKeys(jwks)
	if err != nil {
		w.t.Fatal(err)
	}
	payload, err := keys.Open(body)
	if err != nil {
		w.t.Fatal(err)
	}
	reply, err := release.DecodeReply(payload)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := reply.Check(&w.request, w.key.Recipient(), ""); err != nil {
		w.t.Fatal(err)
	}
	if header.Get("Vouchsafe-Decision") != reply.Decision || header.Get("Cache-Control") != "no-store" ||
		header.Get("X-Content-Type-Options") != "nosniff" {
		w.t.Errorf("headers %v", header)
	}
	return reply
}

// refused sends the request and returns the error and status.
func (w *workload) refused() (int, *release.Error) {
	w.t.Helper()
	status, header, body := w.send("POST", release.ReleasePath, "", w.body())
	e, err := release.DecodeError(body)
	if status == http.StatusOK || err != nil {
		w.t.Fatalf("%d %s %v", status, body, err)
	}
	if header.Get("Vouchsafe-Decision") != e.Decision {
		w.t.Errorf("the header names decision %q, the body %q", header.Get("Vouchsafe-Decision"), e.Decision)
	}
	return status, e
}

// originOf returns the name of the audit log that the broker appends to.
func originOf(t *testing.T, f *fixture) string {
	t.Helper()
	key, err := f.Data.Keys.LogOf(f.OwnSlot())
	if err != nil {
		t.Fatal(err)
	}
	return key.Origin
}
