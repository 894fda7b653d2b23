package server

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/localca"
)

// pair makes a certificate with its key in a folder of its own.
func pair(t *testing.T, hosts ...string) localca.Files {
	t.Helper()
	files, err := localca.Ensure(t.TempDir(), append(hosts, "localhost", "127.0.0.1"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// put replaces a file at once, as those who renew certificates should.
func put(t *testing.T, to, from string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(to+".new", to); err != nil {
		t.Fatal(err)
	}
}

// TestCertificateReload renews a certificate in every order that can be met, wrongly too.
func TestCertificateReload(t *testing.T) {
	first, second := pair(t, "first.example"), pair(t, "second.example")
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := newCertificate(cert, key); err == nil {
		t.Error("files that are not there are a certificate")
	}
	put(t, cert, first.Certificate)
	put(t, key, second.Key)
	if _, err := newCertificate(cert, key); err == nil {
		t.Error("another's key is the certificate's")
	}
	put(t, key, first.Key)
	c, err := newCertificate(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	name := func() string {
		pair, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.Subject.CommonName
	}
	for _, step := range []struct {
		what    string
		do      func()
		changed bool
		fails   bool
		name    string
	}{
		{"nothing", func() {}, false, false, "first.example"},
		{"half a renewal", func() { put(t, cert, second.Certificate) }, false, true, "first.example"},
		{"that was told already", func() {}, false, false, "first.example"},
		{"the other half", func() { put(t, key, second.Key) }, true, false, "second.example"},
		{"a text that is no certificate", func() { put(t, cert, key) }, false, true, "second.example"},
		{"back at once", func() { put(t, cert, first.Certificate); put(t, key, first.Key) }, true, false, "first.example"},
		{"a file that is gone", func() { _ = os.Remove(cert) }, false, true, "first.example"},
		{"and comes back", func() { put(t, cert, first.Certificate) }, true, false, "first.example"},
		{"the same again", func() { put(t, cert, first.Certificate) }, true, false, "first.example"},
	} {
		step.do()
		changed, err := c.reload()
		if changed != step.changed || err != nil != step.fails || name() != step.name {
			t.Errorf("%s: changed %v, %v, and it is %s", step.what, changed, err, name())
		}
	}
}

// TestCertificateFollows: the files are looked at again and again, what is wrong is told once, and no key is told.
func TestCertificateFollows(t *testing.T) {
	first, second := pair(t, "first.example"), pair(t, "second.example")
	c, err := newCertificate(first.Certificate, first.Key)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ctx, stop := context.WithCancel(t.Context())
		go c.follow(ctx, reloadEvery, slog.New(slog.NewTextHandler(&log, nil)))
		put(t, first.Certificate, second.Certificate)
		time.Sleep(10 * reloadEvery)
		synctest.Wait()
		if n := bytes.Count(log.Bytes(), []byte("the old one stays")); n != 1 {
			t.Errorf("told %d times:\n%s", n, &log)
		}
		put(t, first.Key, second.Key)
		time.Sleep(2 * reloadEvery)
		synctest.Wait()
		if !bytes.Contains(log.Bytes(), []byte("certificate renewed")) || c.current.Load().Leaf.Subject.CommonName != "second.example" {
			t.Errorf("not renewed:\n%s", &log)
		}
		stop()
	})
}
