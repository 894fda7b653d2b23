package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/broker/localca"
	"github.com/vouchsafe/vouchsafe/broker/server"
)

// logs is a log that can be read while it is written.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// running is a server over a test's broker.
type running struct {
	*brokertest.Broker
	url, address string
	client       *http.Client
	metrics      *server.Metrics
	log          *logs
	end          func() error // ends Run and returns what it returned
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// start serves routes beside the server's own.
func start(t *testing.T, routes map[string]http.Handler) *running {
	t.Helper()
	files, err := localca.Ensure(t.TempDir(), []string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Broker: brokertest.Start(t, brokertest.Config{}), metrics: server.NewMetrics(), log: &logs{}}
	s, err := server.New(server.Config{
		Listener: listen(t, "127.0.0.1:0"), Certificate: files.Certificate, Key: files.Key,
		Broker: r.Broker.Broker, Routes: routes, Metrics: r.metrics, Logger: slog.New(slog.NewJSONHandler(r.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.address = s.Addr().String()
	r.url = "https://" + r.address
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // who it is does not matter here
	r.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r.end = sync.OnceValue(func() error { stop(); return <-done })
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := r.end(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return r
}

func (r *running) do(t *testing.T, method, path string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, r.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.URL.Opaque = "//" + r.address + path // as it is, without escaping anew
	response, err := r.client.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestNewRefuses(t *testing.T) {
	files, err := localca.Ensure(t.TempDir(), []string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b := brokertest.Start(t, brokertest.Config{})
	good := func() server.Config {
		return server.Config{Listener: listen(t, "127.0.0.1:0"), HTTP: true, Broker: b.Broker, Metrics: server.NewMetrics()}
	}
	if _, err := server.New(good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*server.Config){
		"no listener":                 func(c *server.Config) { c.Listener = nil },
		"no broker":                   func(c *server.Config) { c.Broker = nil },
		"no metrics":                  func(c *server.Config) { c.Metrics = nil },
		"neither TLS nor HTTP":        func(c *server.Config) { c.HTTP = false },
		"TLS and HTTP":                func(c *server.Config) { c.Certificate, c.Key = files.Certificate, files.Key },
		"a certificate without a key": func(c *server.Config) { c.HTTP, c.Certificate = false, files.Certificate },
		"another's key":               func(c *server.Config) { c.HTTP, c.Certificate, c.Key = false, files.Certificate, files.CA },
		"HTTP on all addresses":       func(c *server.Config) { c.Listener = listen(t, "0.0.0.0:0") },
		"HTTP on all, IPv6":           func(c *server.Config) { c.Listener = listen(t, ":0") },
	} {
		c := good()
		spoil(&c)
		if _, err := server.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestTLS: nothing older than 1.3, and no plain HTTP.
func TestTLS(t *testing.T) {
	r := start(t, nil)
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: false, tls.VersionTLS13: true} {
		c, err := tls.Dial("tcp", r.address, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if err == nil {
			_ = c.Close()
		}
		if err == nil != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
	response, err := http.Get("http://" + r.address + "/healthz")
	if err == nil {
		_ = response.Body.Close()
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("plain HTTP: %s", response.Status)
		}
	}
}

// TestPanic: a bug ends its own request only, is counted and logged, and nothing of the request gets into the log.
func TestPanic(t *testing.T) {
	const secret = "correct-horse-battery"
	r := start(t, map[string]http.Handler{
		"/bug": http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { panic("a bug near " + r.Header.Get("Authorization")) }),
		"/half": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"items":[`)
			_ = http.NewResponseController(w).Flush()
			panic(errors.New(secret))
		}),
		"/abort": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		"/ok":    http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }),
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/bug?"+secret, strings.NewReader(secret))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", secret)
	response, err := r.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || response.StatusCode != http.StatusInternalServerError || strings.Contains(string(body), secret) {
		t.Errorf("%s, %q, %v", response.Status, body, err)
	}
	// Half an answer is broken off, so that it cannot be taken for a whole one.
	response, err = r.client.Get(r.url + "/half")
	if err == nil {
		body, err = io.ReadAll(response.Body)
		_ = response.Body.Close()
	}
	if err == nil {
		t.Errorf("half an answer ended well: %q", body)
	}
	if response, err := r.client.Get(r.url + "/abort"); err == nil {
		_ = response.Body.Close()
		t.Errorf("broken off: %s", response.Status)
	}
	if code, body := r.do(t, "GET", "/ok"); code != http.StatusOK || body != "ok" {
		t.Errorf("afterwards %d %q", code, body)
	}
	log := r.log.String()
	if strings.Contains(log, secret) {
		t.Errorf("the request got into the log:\n%s", log)
	}
	if strings.Count(log, "a request ended in a bug") != 2 || !strings.Contains(log, "server_test.go") {
		t.Errorf("the log does not say where:\n%s", log)
	}
	if _, text := r.do(t, "GET", "/metrics"); !strings.Contains(text, "vouchsafe_http_panics_total 2\n") {
		t.Error("the bugs were not counted")
	}
}

// TestShutdown: a request in hand is finished, and a new one is not begun.
func TestShutdown(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	r := start(t, map[string]http.Handler{"/slow": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-finish
		_, _ = io.WriteString(w, "whole")
	})})
	answer := make(chan string, 1)
	go func() {
		response, err := r.client.Get(r.url + "/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		answer <- fmt.Sprint(string(body), err)
	}()
	<-begun
	ended := make(chan error, 1)
	go func() { ended <- r.end() }()
	for refused := false; !refused; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", r.address)
		if refused = err != nil; !refused {
			_ = c.Close()
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("the server ended with a request in hand: %v", err)
	default:
	}
	close(finish)
	if got := <-answer; got != "whole<nil>" {
		t.Errorf("the request in hand got %q", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

// TestReady: a broker that could not release says so, without saying why to strangers.
func TestReady(t *testing.T) {
	r := start(t, nil)
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, _ := r.do(t, "GET", path); code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
	}
	if err := r.Data.Store.Close(); err != nil {
		t.Fatal(err)
	}
	code, body := r.do(t, "GET", "/readyz")
	if code != http.StatusServiceUnavailable || strings.Contains(body, "closed") {
		t.Errorf("with its store closed: %d %q", code, body)
	}
	if !strings.Contains(r.log.String(), "not ready") {
		t.Error("the log does not say why")
	}
	if code, _ := r.do(t, "GET", "/healthz"); code != http.StatusOK {
		t.Errorf("the process serves, and says %d", code)
	}
}

// TestMetricLabels: what strangers send never becomes a label.
func TestMetricLabels(t *testing.T) {
	nested := http.NewServeMux()
	nested.HandleFunc("GET /v1/things/{name}/{rest...}", func(http.ResponseWriter, *http.Request) {})
	r := start(t, map[string]http.Handler{"/": nested})
	const mark = "Z9"
	for i := range 300 {
		name := fmt.Sprintf("%s%d", mark, i)
		for _, path := range []string{"/" + name, "/v1/things/" + name, "/v1/things/" + name + "/x", "//v1/../" + name, "/v1/things/" + name + "/", "/%2e%2e/" + name} {
			r.do(t, "GET", path)
		}
		r.do(t, mark+"METHOD"+fmt.Sprint(i), "/v1/things/a/b")
		connect(t, r, "/v1/things/"+name)
		r.metrics.Attested("kbs", attest.Kind(name), "accepted", time.Millisecond)
		r.metrics.Unrecorded(attest.Kind(name))
	}
	code, text := r.do(t, "GET", "/metrics")
	if code != http.StatusOK {
		t.Fatal(code)
	}
	if i := strings.Index(text, mark); i >= 0 {
		t.Errorf("a label holds what was sent: %.200s", text[max(0, i-100):])
	}
	routes := map[string]bool{}
	for _, m := range regexp.MustCompile(`route="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		routes[m[1]] = true
	}
	for route := range routes {
		if route != "none" && route != "/" && route != "GET /v1/things/{name}/{rest...}" && route != "GET /metrics" {
			t.Errorf("route %q", route)
		}
	}
	if !routes["GET /v1/things/{name}/{rest...}"] {
		t.Errorf("the routes are %v", routes)
	}
}

// connect sends a CONNECT with a path, which http.Client does not.
func connect(t *testing.T, r *running, path string) {
	t.Helper()
	c, err := tls.Dial("tcp", r.address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, c)
}
