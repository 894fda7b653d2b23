package node_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/dev"
	"github.com/vouchsafe/vouchsafe/broker/localca"
	"github.com/vouchsafe/vouchsafe/broker/node"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// production makes a data directory as "vouchsafe init" does, and returns what opens it.
func production(t *testing.T) node.Config {
	t.Helper()
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
	return node.Config{
		Data:      data.Config{Dir: filepath.Join(dir, "data"), Seal: key},
		Verifiers: amd, Listen: "127.0.0.1:0", HTTP: true, Logger: slog.New(slog.DiscardHandler),
	}
}

func amd(*data.Data) ([]attest.Verifier, error) {
	v, err := snp.New(snp.Config{})
	return []attest.Verifier{v}, err
}

func open(t *testing.T, c node.Config) error {
	t.Helper()
	n, err := node.Open(t.Context(), c)
	if err != nil {
		return err
	}
	if n.Data.Purpose != store.Production {
		t.Errorf("opened data for %s", n.Data.Purpose)
	}
	return n.Close()
}

// running opens a broker and runs it until the end of the test.
func running(t *testing.T, c node.Config) *node.Node {
	t.Helper()
	n, err := node.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, n.Close()); err != nil {
			t.Error(err)
		}
	})
	return n
}

// TestOpenFails: what cannot start says so and lets go of everything, so that the same directory opens afterwards.
func TestOpenFails(t *testing.T) {
	good := production(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	files, err := localca.Ensure(t.TempDir(), []string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	otherKey, err := seal.CreateKeyFile(filepath.Join(t.TempDir(), "seal.key"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	for name, spoil := range map[string]func(*node.Config){
		"no verifiers": func(c *node.Config) { c.Verifiers = nil },
		"no verifier":  func(c *node.Config) { c.Verifiers = func(*data.Data) ([]attest.Verifier, error) { return nil, nil } },
		"a verifier that cannot be made": func(c *node.Config) {
			c.Verifiers = func(*data.Data) ([]attest.Verifier, error) { return nil, broken }
		},
		"no data":                func(c *node.Config) { c.Data.Dir = filepath.Join(t.TempDir(), "nothing") },
		"another seal":           func(c *node.Config) { c.Data.Seal = otherKey },
		"a port that is taken":   func(c *node.Config) { c.Listen = taken.Addr().String() },
		"no port":                func(c *node.Config) { c.Listen = "localhost" },
		"no certificate":         func(c *node.Config) { c.HTTP = false },
		"a key of another":       func(c *node.Config) { c.HTTP, c.Certificate, c.Key = false, files.Certificate, files.CA },
		"HTTP to the world":      func(c *node.Config) { c.Listen = "0.0.0.0:0" },
		"a status of no meaning": func(c *node.Config) { c.KBS.DenyStatus = http.StatusTeapot },
		"a negative limit":       func(c *node.Config) { c.Limits.ChallengeLifetime = -time.Second },
	} {
		c := good
		spoil(&c)
		if err := open(t, c); err == nil {
			t.Errorf("%s: opened", name)
		}
		if err := open(t, good); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
	}
}

// TestPurposes: data made for development never opens for production, nor the reverse, and neither is changed by the attempt.
func TestPurposes(t *testing.T) {
	dir := t.TempDir()
	n, _, err := dev.Start(t.Context(), dev.Config{Dir: dir, Listen: "127.0.0.1:0", HTTP: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	key, err := seal.NewKeyFile(filepath.Join(dir, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	made := production(t)
	for name, c := range map[string]node.Config{
		"development for production": {Data: data.Config{Dir: filepath.Join(dir, "data"), Seal: key}, Verifiers: amd, Listen: "127.0.0.1:0", HTTP: true},
		"production for development": func() node.Config { c := made; c.Data.Purpose = store.Development; return c }(),
	} {
		path := filepath.Join(c.Data.Dir, data.StoreFile)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var purpose *bolt.PurposeError
		if err := open(t, c); !errors.As(err, &purpose) {
			t.Errorf("%s: %v", name, err)
		}
		after, err := os.ReadFile(path)
		if err != nil || string(after) != string(before) {
			t.Errorf("%s: the store was changed, %v", name, err)
		}
	}
}

// TestDefaultURL: a broker that was given no URL has that of the address it listens on.
func TestDefaultURL(t *testing.T) {
	c := production(t)
	for listen, host := range map[string]string{"127.0.0.1:0": "127.0.0.1", "localhost:0": "localhost", "[::1]:0": "::1"} {
		if l, err := net.Listen("tcp", listen); err != nil {
			t.Logf("%s: this machine has no such address", listen)
			continue
		} else if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		c.Listen = listen
		n, err := node.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		_, port, err := net.SplitHostPort(n.Addr().String())
		if want := "http://" + net.JoinHostPort(host, port); err != nil || n.URL != want {
			t.Errorf("%s: %s, not %s", listen, n.URL, want)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCloseWithoutRun: a node that never ran gives its port back.
func TestCloseWithoutRun(t *testing.T) {
	n, err := node.Open(t.Context(), production(t))
	if err != nil {
		t.Fatal(err)
	}
	address := n.Addr().String()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	_ = l.Close()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	again, err := node.Open(t.Context(), production(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(again.Run(ctx), again.Close()); err != nil {
		t.Errorf("run and closed: %v", err)
	}
}
