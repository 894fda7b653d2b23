package tokendevice

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
)

const audience = "https://broker.example.org"

var (
	digest = bytes.Repeat([]byte{0xd1}, 48)
	nonce  = base64.RawURLEncoding.EncodeToString(digest)
)

// asked is a request as the launcher reads it, which takes no member that it does not know.
type asked struct {
	Audience string   `json:"audience"`
	Nonces   []string `json:"nonces"`
	Type     string   `json:"token_type"`
}

// launch starts a launcher, and returns its socket.
func launch(t *testing.T, answer func(w http.ResponseWriter, request asked)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "launcher") // the name of a socket has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "teeserver.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request asked
		decoder := json.NewDecoder(r.Body)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&request); err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/token" {
			http.Error(w, "failed to parse POST body as TokenOptions", http.StatusBadRequest)
			return
		}
		answer(w, request)
	}))
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return socket
}

// token is one that nobody signed, with claims of an audience and nonces.
func token(aud, nonces any) string {
	claims, _ := json.Marshal(map[string]any{"aud": aud, "eat_nonce": nonces})
	return "e30." + base64.RawURLEncoding.EncodeToString(claims) + ".c2ln"
}

// TestEvidence: what is asked for, in both types, and what the launcher may answer with. That a token which is signed verifies is tested where the
// verifier is: in package attest/token.
func TestEvidence(t *testing.T) {
	var got asked
	socket := launch(t, func(w http.ResponseWriter, request asked) {
		got = request
		w.Header().Set("Content-Type", "text/html") // as it does
		fmt.Fprintln(w, token(request.Audience, request.Nonces[0]))
	})
	for _, kind := range []string{"", OIDC, PKI} {
		d, err := Open(Config{Socket: socket, Audience: audience, Type: kind})
		if err != nil {
			t.Fatal(err)
		}
		evidence, err := d.Evidence(t.Context(), digest)
		if err != nil || string(evidence) != token(audience, nonce) || d.Kind() != attest.Token {
			t.Errorf("%v: %s", err, evidence)
		}
		if kind == "" {
			kind = OIDC
		}
		if got.Type != kind || got.Audience != audience || len(got.Nonces) != 1 || got.Nonces[0] != nonce {
			t.Errorf("asked for %+v", got)
		}
		for _, size := range []int{0, 31, 56, 64} {
			if _, err := d.Evidence(t.Context(), make([]byte, size)); err == nil {
				t.Errorf("a digest of %d bytes", size)
			}
		}
	}
}

func TestAnswers(t *testing.T) {
	write := func(text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { _, _ = w.Write([]byte(text)) }
	}
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter)
		says   string // "" when it is good
	}{
		"lists":                 {write(token([]string{"other", audience}, []string{"other", nonce})), ""},
		"another audience":      {write(token("https://sts.googleapis.com", nonce)), "is for"},
		"no audience":           {write(token(nil, nonce)), "is for"},
		"another nonce":         {write(token(audience, strings.ToUpper(nonce))), "other data"},
		"no nonce":              {write(token(audience, nil)), "other data"},
		"a nonce that is none":  {write(token(audience, 7)), "no token"},
		"nothing":               {write(""), "no token"},
		"two parts":             {write("e30.e30"), "no token"},
		"four parts":            {write("e30.e30.e30.e30"), "no token"},
		"no base64url":          {write("e30.e+30.e30"), "no token"},
		"no JSON":               {write("e30.e.e30"), "no token"},
		"too much":              {write(strings.Repeat("e", maxToken+1)), "over 65536 bytes"},
		"an error":              {func(w http.ResponseWriter) { http.Error(w, "no ITA\x1b[31m client", http.StatusPreconditionFailed) }, `status 412: "no ITA\x1b[31m client`},
		"a long error":          {func(w http.ResponseWriter) { http.Error(w, strings.Repeat("x", 1<<20), 500) }, "status 500"},
		"another place":         {func(w http.ResponseWriter) { w.Header().Set("Location", "http://192.0.2.1/"); w.WriteHeader(302) }, "status 302"},
		"one that breaks off":   {func(w http.ResponseWriter) { w.Header().Set("Content-Length", "99"); w.WriteHeader(200) }, "EOF"},
		"one that takes longer": {func(http.ResponseWriter) { time.Sleep(time.Second) }, "Timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Open(Config{Socket: launch(t, func(w http.ResponseWriter, _ asked) { test.answer(w) }), Audience: audience, Timeout: 300 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			evidence, err := d.Evidence(t.Context(), digest)
			if (err == nil) != (test.says == "") || err != nil && (evidence != nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("%v: %s", err, evidence)
			}
			if err != nil && len(err.Error()) > 4*maxReason {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

func TestOpen(t *testing.T) {
	socket := launch(t, func(http.ResponseWriter, asked) {})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Config{
		"no audience":          {Socket: socket},
		"a long audience":      {Socket: socket, Audience: strings.Repeat("x", maxAudience+1)},
		"another type":         {Socket: socket, Audience: audience, Type: "LIMITED_AWS"},
		"a negative time":      {Socket: socket, Audience: audience, Timeout: -1},
		"a file":               {Socket: file, Audience: audience},
		"no launcher":          {Socket: file + "2", Audience: audience},
		"no default, probably": {Audience: audience},
	} {
		if _, err := Open(c); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := Open(Config{Socket: file + "2", Audience: audience}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	d, err := Open(Config{Socket: socket, Audience: audience})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Evidence(ctx, digest); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
