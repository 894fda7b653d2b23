package vaultconn_test

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

// These tests are about answers that a real Vault does not give: those of something in its place. The peer is a server with TLS that answers what a test
// says; what a real Vault does is tested on one, in the other files.

const testToken = "hvs.test-token-that-must-not-be-told"

// peer is something that answers in Vault's place.
type peer struct {
	*httptest.Server
	ca string

	mu     sync.Mutex
	answer http.HandlerFunc // of all but lookup-self
	self   http.HandlerFunc
	paths  []string
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{}
	p.self = func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"data":{"ttl":0,"renewable":false,"policies":["test"]}}`)
	}
	p.answer = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"data":{"x":1}}`) }
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not see that a client is gone
		p.mu.Lock()
		answer := p.answer
		if r.URL.Path == "/v1/auth/token/lookup-self" {
			answer = p.self
		}
		p.paths = append(p.paths, r.Method+" "+r.URL.Path)
		p.mu.Unlock()
		answer(w, r)
	}))
	p.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	p.StartTLS()
	t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	p.ca = write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})))
	return p
}

func (p *peer) answers(f http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = f
}

func (p *peer) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, have := range p.paths {
		if have == path {
			n++
		}
	}
	return n
}

func (p *peer) config() vaultconn.Config {
	return vaultconn.Config{
		Address: p.URL, CACert: p.ca, Logger: slog.New(slog.DiscardHandler),
		Auth: vaultconn.Auth{Method: vaultconn.MethodToken, Token: testToken},
	}
}

func (p *peer) open(t *testing.T, change ...func(*vaultconn.Config)) *vaultconn.Conn {
	t.Helper()
	config := p.config()
	for _, f := range change {
		f(&config)
	}
	return open(t, config)
}

func open(t *testing.T, config vaultconn.Config) *vaultconn.Conn {
	t.Helper()
	c, err := vaultconn.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// write makes a file that its owner alone can read.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	replace(t, path, content)
	return path
}

// replace puts a file in the place of another, as those who rotate credentials do.
func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// until waits for something to come true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it took too long: %s", what)
		}
	}
}

// logged is a logger whose lines a test reads.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(io.Writer(l), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// holdsNone fails when a text holds a credential.
func holdsNone(t *testing.T, text string, credentials ...string) {
	t.Helper()
	for _, c := range credentials {
		if c != "" && strings.Contains(text, c) {
			t.Errorf("a credential is told: %s", text)
		}
	}
}
