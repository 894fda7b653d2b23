package localca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestEnsure(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	now := time.Now()
	hosts := []string{"broker.test", "127.0.0.1", "::1"}
	files, err := Ensure(dir, hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	ca := read(t, files.CA)
	verify(t, files, hosts, now)
	for _, name := range []string{"ca.key", "server.key"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, error %v", name, info.Mode(), err)
		}
	}

	for _, test := range []struct {
		name  string
		hosts []string
		at    time.Time
		same  bool
	}{
		{"again", hosts, now, true},
		{"a year later, before its last month", hosts, now.Add(serverLifetime - renewBefore - time.Hour), true},
		{"in its last month", hosts, now.Add(serverLifetime - renewBefore + time.Hour), false},
		{"for another name", []string{"other.test"}, now, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := read(t, files.Certificate)
			if _, err := Ensure(dir, test.hosts, test.at); err != nil {
				t.Fatal(err)
			}
			if same := bytes.Equal(before, read(t, files.Certificate)); same != test.same {
				t.Errorf("the same certificate: %v, want %v", same, test.same)
			}
			verify(t, files, test.hosts, test.at)
			if !bytes.Equal(ca, read(t, files.CA)) {
				t.Error("the authority changed, which leaves every client behind")
			}
		})
	}
}

func TestEnsureKeepsAnAuthorityThatLostItsKey(t *testing.T) {
	dir := t.TempDir()
	if _, err := Ensure(dir, []string{"a.test"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	ca := read(t, filepath.Join(dir, "ca.pem"))
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := Ensure(dir, []string{"a.test"}, time.Now()); err == nil {
		t.Error("an authority without its key was accepted")
	}
	if !bytes.Equal(ca, read(t, filepath.Join(dir, "ca.pem"))) {
		t.Error("the authority's certificate was replaced")
	}
}

// TestCertificateLost removes the authority's certificate, as a crash before it was written does: the next has the same key, so that a client
// which has the first believes a server certificate by either.
func TestCertificateLost(t *testing.T) {
	dir := t.TempDir()
	files, err := Ensure(dir, []string{"a.test"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	first := read(t, files.CA)
	if err := os.Remove(files.CA); err != nil {
		t.Fatal(err)
	}
	if files, err = Ensure(dir, []string{"b.test"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	verify(t, files, []string{"b.test"}, time.Now())
	files.CA = filepath.Join(dir, "first.pem")
	if err := os.WriteFile(files.CA, first, 0o600); err != nil {
		t.Fatal(err)
	}
	verify(t, files, []string{"b.test"}, time.Now())
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func verify(t *testing.T, files Files, hosts []string, at time.Time) {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(read(t, files.CA)) {
		t.Fatal("the authority's file holds no certificate")
	}
	pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range hosts {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: at}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}
