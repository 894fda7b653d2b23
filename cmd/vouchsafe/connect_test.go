package main

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/localca"
)

// TestUnreached reaches for brokers that a script cannot make: each time what is told says what to do, and the exit code is that of a failure.
func TestUnreached(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("vst_x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// answering serves with a certificate that was made at some time for some host.
	answering := func(at time.Time, host string, h http.HandlerFunc) (url, ca string) {
		files, err := localca.Ensure(filepath.Join(dir, host+at.Format("2006")), []string{host}, at)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewUnstartedServer(h)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
		s.Config.ErrorLog = nil
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL, files.CA
	}
	nothing := func(http.ResponseWriter, *http.Request) {}
	expired, expiredCA := answering(time.Now().AddDate(-2, 0, 0), "127.0.0.1", nothing)
	other, otherCA := answering(time.Now(), "broker.example.org", nothing)
	page, pageCA := answering(time.Now(), "127.0.0.1", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	busy, busyCA := answering(time.Now(), "127.0.0.1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"code":"unavailable","message":"the broker cannot answer now"}`))
	})
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	go func() {
		for {
			c, err := plain.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("220 mail.example.org ready\r\n"))
			_ = c.Close()
		}
	}()
	for name, test := range map[string]struct{ url, ca, want string }{
		"expired":      {expired, expiredCA, "and this machine's clock says"},
		"other name":   {other, otherCA, "is for other names"},
		"a page":       {page, pageCA, "answers, with status 502, but not as a broker does"},
		"busy":         {busy, busyCA, "the broker cannot do it now: the broker cannot answer now; try again in 7s"},
		"another port": {"https://" + plain.Addr().String(), pageCA, "does not speak TLS: is the port right?"},
	} {
		var out, errOut bytes.Buffer
		args := []string{"secret", "list", "--addr", test.url, "--cacert", test.ca, "--token-file", token}
		if code := execute(t.Context(), args, strings.NewReader(""), &out, &errOut); code != exitFailed || !strings.Contains(errOut.String(), test.want) {
			t.Errorf("%s: exit code %d\n%s", name, code, &errOut)
		}
		if strings.Contains(errOut.String(), "vst_x") {
			t.Errorf("%s: the token was told", name)
		}
	}
}
