package enrol_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest/tpm"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/enrol"
)

// The whole enrolment, with a software TPM and a real broker, is tested with the agent. These are the answers a real
// broker does not give.

// TestWire holds the messages here against those of the administrative API, which this package does not link.
func TestWire(t *testing.T) {
	if enrol.BeginPath != wire.BeginEnrolment.Path || enrol.CompletePath != wire.CompleteEnrolment.Path {
		t.Error("the paths are others")
	}
	var asked []string
	_, err := enrol.Host(t.Context(), config(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, r.URL.Path+" "+r.Header.Get("Authorization")+" "+string(body))
		if r.URL.Path == enrol.BeginPath {
			_ = json.NewEncoder(w).Encode(wire.EnrolmentChallenge{ID: "e-1", Challenge: tpm.Challenge{CredentialBlob: []byte("blob")}})
			return
		}
		_ = json.NewEncoder(w).Encode(tpm.Enrolment{Host: "node-1"})
	}), "node-1", device{})
	if err != nil {
		t.Fatal(err)
	}
	begin, _ := json.Marshal(wire.EnrolmentBegin{Host: "node-1", Request: request})
	complete, _ := json.Marshal(wire.EnrolmentComplete{ID: "e-1", Secret: []byte("opened blob")})
	want := enrol.BeginPath + " Bearer token-1 " + string(begin) + "\n" + enrol.CompletePath + " Bearer token-1 " + string(complete)
	if got := strings.Join(asked, "\n"); got != want {
		t.Errorf("asked\n%s\nnot\n%s", got, want)
	}
}

var request = tpm.Request{EKCertificate: []byte{1}, EKPublic: []byte{2}, AKPublic: []byte{3}}

// device is a TPM that opens everything, or fails.
type device struct{ err error }

func (d device) EnrolRequest() (*tpm.Request, error) { return &request, d.err }
func (d device) Activate(c *tpm.Challenge) ([]byte, error) {
	return append([]byte("opened "), c.CredentialBlob...), d.err
}

// config is one for a server that answers so, over TLS.
func config(t *testing.T, answer http.HandlerFunc) enrol.Config {
	t.Helper()
	server := httptest.NewTLSServer(answer)
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return enrol.Config{URL: server.URL, CA: ca, Token: "token-1"}
}

func TestAnswers(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	refused := func(code string) func(error) bool {
		return func(err error) bool {
			var r *client.Refused
			return errors.As(err, &r) && string(r.Code) == code
		}
	}
	is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
	tests := map[string]struct {
		answer http.HandlerFunc
		want   func(error) bool
	}{
		"forbidden":       {answer(403, `{"code":"forbidden","message":"no"}`), refused("forbidden")},
		"not a token":     {answer(401, `{"code":"unauthenticated","message":"no"}`), refused("unauthenticated")},
		"overloaded":      {answer(429, `{"code":"overloaded","message":"later"}`), is(client.ErrUnavailable)},
		"unavailable":     {answer(503, `{"code":"unavailable","message":"later"}`), is(client.ErrUnavailable)},
		"a load balancer": {answer(502, `<html>`), is(client.ErrUnavailable)},
		"broken off":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, is(client.ErrUnavailable)},
		"no broker":       {answer(404, `<html>`), is(client.ErrReply)},
		"not JSON":        {answer(200, `<html>`), is(client.ErrReply)},
		"a member twice":  {answer(200, `{"id":"a","id":"b"}`), is(client.ErrReply)},
		"endless":         {answer(200, strings.Repeat(" ", 1<<20)), is(client.ErrReply)},
	}
	for name, test := range tests {
		if _, err := enrol.Host(t.Context(), config(t, test.answer), "node-1", device{}); err == nil || !test.want(err) || strings.Contains(err.Error(), "token-1") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRedirect: the token goes to no other host.
func TestRedirect(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed, with Authorization %q", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	c := config(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	if _, err := enrol.Host(t.Context(), c, "node-1", device{}); !errors.Is(err, client.ErrReply) {
		t.Error(err)
	}
}

func TestStranger(t *testing.T) {
	c := config(t, func(http.ResponseWriter, *http.Request) { t.Error("a server with a strange certificate was asked") })
	c.CA = nil
	if _, err := enrol.Host(t.Context(), c, "node-1", device{}); !errors.Is(err, client.ErrReply) {
		t.Error(err)
	}
}

func TestDeviceError(t *testing.T) {
	broken := errors.New("no TPM")
	c := config(t, func(http.ResponseWriter, *http.Request) { t.Error("asked") })
	if _, err := enrol.Host(t.Context(), c, "node-1", device{broken}); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestConfigRefused(t *testing.T) {
	good := enrol.Config{URL: "https://broker.example", Token: "token-1"}
	for name, change := range map[string]func(*enrol.Config){
		"no URL":             func(c *enrol.Config) { c.URL = "" },
		"credentials in URL": func(c *enrol.Config) { c.URL = "https://u:p@h/" },
		"query":              func(c *enrol.Config) { c.URL = "https://h/?x" },
		"scheme":             func(c *enrol.Config) { c.URL = "ftp://h/" },
		"in the clear":       func(c *enrol.Config) { c.URL = "http://192.0.2.1" },
		"no token":           func(c *enrol.Config) { c.Token = "" },
		"two lines of token": func(c *enrol.Config) { c.Token = "a\nb" },
		"CA is not PEM":      func(c *enrol.Config) { c.CA = []byte("x") },
		"CA beside HTTP":     func(c *enrol.Config) { c.CA, c.HTTP = []byte("x"), http.DefaultClient },
		"negative":           func(c *enrol.Config) { c.Timeout = -1 },
	} {
		c := good
		change(&c)
		used := errors.New("the TPM was asked")
		if _, err := enrol.Host(t.Context(), c, "node-1", device{used}); err == nil || errors.Is(err, used) || strings.Contains(err.Error(), "token-1") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
