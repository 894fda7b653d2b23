package dev_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/dev"
	"github.com/vouchsafe/vouchsafe/client"
	"github.com/vouchsafe/vouchsafe/client/virtualdevice"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// serve starts a broker on a folder, calls f with it, and ends it.
func serve(t *testing.T, dir string, f func(dev.Info)) {
	t.Helper()
	n, info, err := dev.Start(t.Context(), dev.Config{Dir: dir, Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	f(info)
	stop()
	if err := errors.Join(<-done, n.Close()); err != nil {
		t.Fatal(err)
	}
}

// fetch gets the sample secret with a TEE of the folder.
func fetch(t *testing.T, info dev.Info, tee string) (string, error) {
	t.Helper()
	ca, err := os.ReadFile(info.CACert)
	if err != nil {
		t.Fatal(err)
	}
	device, err := virtualdevice.Load(tee)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	c, err := client.New(client.Config{URL: info.URL, HTTP: &http.Client{Transport: transport}, Collector: device})
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := c.Fetch(t.Context(), info.Secret)
	if err != nil {
		return "", err
	}
	return string(secrets[0].Value), nil
}

// check holds that a folder does what it is for.
func check(t *testing.T, info dev.Info) {
	t.Helper()
	if value, err := fetch(t, info, info.Tee); err != nil || value == "" {
		t.Errorf("the good TEE: %v", err)
	}
	var refused *client.Refused
	if _, err := fetch(t, info, info.TeeTampered); !errors.As(err, &refused) || refused.Decision == "" {
		t.Errorf("the tampered TEE: %v", err)
	}
}

func TestStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	var first dev.Info
	serve(t, dir, func(info dev.Info) {
		first = info
		check(t, info)
		var written dev.Info
		text, err := os.ReadFile(filepath.Join(dir, "dev.json"))
		if err != nil || json.Unmarshal(text, &written) != nil || written != info {
			t.Errorf("dev.json is %s, %v", text, err)
		}
		for _, path := range []string{info.TokenFile, info.CACert, info.Tee, info.TeeTampered, info.Policy} {
			if !filepath.IsAbs(path) {
				t.Errorf("%s is relative", path)
			}
		}
	})
	// Nothing in it is for others.
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		public := strings.HasSuffix(path, "ca.pem") || strings.HasSuffix(path, "server.pem")
		if err == nil && info.Mode().Perm()&0o077 != 0 && !public {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(first.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(first.CACert)
	if err != nil {
		t.Fatal(err)
	}
	// Everything is there again at the next start.
	serve(t, dir, func(info dev.Info) {
		check(t, info)
		for path, before := range map[string][]byte{info.TokenFile: token, info.CACert: ca} {
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("%s is another, %v", path, err)
			}
		}
	})
}

// TestInterruptedStart: whatever a first start had made when it was interrupted, the next one makes the rest.
func TestInterruptedStart(t *testing.T) {
	whole := t.TempDir()
	serve(t, whole, func(dev.Info) {})
	// What a start makes, in its order; dev.json comes last and is in none.
	order := []string{"virtual-root.pem", "seal.key", "data", "tls", "admin.token", "tee", "tee-tampered", "policy.yaml"}
	for n := range len(order) + 1 {
		dir := t.TempDir()
		for _, name := range order[:n] {
			take(t, filepath.Join(whole, name), filepath.Join(dir, name))
		}
		serve(t, dir, func(info dev.Info) { check(t, info) })
	}
	// A data directory in which nothing was made yet.
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	serve(t, dir, func(info dev.Info) { check(t, info) })
}

// take copies a file or folder.
func take(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		err = os.CopyFS(to, os.DirFS(from))
		if err == nil {
			err = os.Chmod(to, 0o700)
		}
		if err == nil { // CopyFS gives files modes for others
			err = filepath.WalkDir(to, func(path string, e os.DirEntry, err error) error {
				if err == nil && !e.IsDir() {
					err = os.Chmod(path, 0o600)
				}
				return err
			})
		}
	} else {
		var content []byte
		if content, err = os.ReadFile(from); err == nil {
			err = os.WriteFile(to, content, 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestProductionData: a folder with production data in it is refused, and nothing in it is changed.
func TestProductionData(t *testing.T) {
	dir := t.TempDir()
	key, err := seal.CreateKeyFile(filepath.Join(dir, "seal.key"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d, err := data.Create(t.Context(), data.Config{Dir: filepath.Join(dir, "data"), Seal: key, Origin: "broker.test/log"})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "data", data.StoreFile)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, with := range []string{"", "dev.json"} {
		if with != "" {
			if err := os.WriteFile(filepath.Join(dir, with), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, _, err = dev.Start(t.Context(), dev.Config{Dir: dir, Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
		var purpose *bolt.PurposeError
		if !errors.As(err, &purpose) {
			t.Errorf("with %q: %v", with, err)
		}
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the store was changed, %v", err)
	}
}

// TestClock: certificates and tokens are as of the time that the broker is given.
func TestClock(t *testing.T) {
	at := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	dir := t.TempDir()
	n, info, err := dev.Start(t.Context(), dev.Config{
		Dir: dir, Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return at },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls", "server.pem"), filepath.Join(dir, "tls", "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	if age := at.Sub(pair.Leaf.NotBefore); age < 0 || age > 2*time.Hour {
		t.Errorf("%s: the certificate is good from %v, and it is %v", info.URL, pair.Leaf.NotBefore, at)
	}
}
