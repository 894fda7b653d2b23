package dial_test

import (
	"crypto/tls"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/internal/dial"
)

func TestParseTakesAddressesOnly(t *testing.T) {
	for _, good := range []string{"https://broker", "https://broker:8443/prefix/", "http://[::1]:1"} {
		if u, err := dial.Parse(good); err != nil || dial.Base(u) != strings.TrimSuffix(good, "/") {
			t.Errorf("%s: %v, %v", good, u, err)
		}
	}
	for _, bad := range []string{
		"", "broker", "https://", "https:///x", "ftp://broker", "https://u:hunter2@broker", "https://u:hunter2@broker:port", "https://broker?x", "https://broker#x",
	} {
		if _, err := dial.Parse(bad); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.8.8.8": true, "::1": true,
		"": false, "broker": false, "localhost.example": false, "192.0.2.1": false, "0.0.0.0": false, "::": false,
	} {
		if got := dial.Loopback(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

func TestCheckToken(t *testing.T) {
	if err := dial.CheckToken("vs_abc-123"); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"secret\nHost: x", "secret one", "secret\x00", "secrét"} {
		if err := dial.CheckToken(bad); err == nil || strings.Contains(err.Error(), "secr") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestNew holds clients against real servers: one whose authority is trusted or not, one that redirects, one with TLS 1.2 only.
func TestNew(t *testing.T) {
	server := httptest.NewTLSServer(http.RedirectHandler("/elsewhere", http.StatusFound))
	defer server.Close()
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS12}
	old.StartTLS()
	defer old.Close()
	ca := func(s *httptest.Server) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	}
	for name, test := range map[string]struct {
		config dial.Config
		url    string
		ok     bool
	}{
		"the CA's":            {dial.Config{CA: ca(server)}, server.URL, true},
		"the system's":        {dial.Config{}, server.URL, false},
		"the caller's client": {dial.Config{HTTP: server.Client()}, server.URL, true},
		"TLS 1.2":             {dial.Config{CA: ca(old)}, old.URL, false},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := dial.New(test.config)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Get(test.url)
			if (err == nil) != test.ok {
				t.Fatal(err)
			}
			if err == nil {
				response.Body.Close()
				if response.StatusCode != http.StatusFound {
					t.Errorf("status %d: the redirect was followed", response.StatusCode)
				}
			}
		})
	}
	if server.Client().CheckRedirect != nil {
		t.Error("the caller's own client was changed")
	}
	for name, bad := range map[string]dial.Config{
		"not PEM": {CA: []byte("x")}, "both": {CA: ca(server), HTTP: server.Client()},
	} {
		if _, err := dial.New(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
