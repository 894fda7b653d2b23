package vault

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/header"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
)

func TestConfig(t *testing.T) {
	good := Config{Conn: &vaultconn.Conn{}, Mount: "kv"}
	c, err := good.withDefaults()
	if err != nil || c.Prefix != DefaultPrefix || c.Purpose != store.Production || c.Staleness != 0 || c.PollEvery != time.Second || c.Parallel != DefaultParallel {
		t.Fatalf("%+v, %v", c, err)
	}
	for name, change := range map[string]func(*Config){
		"no connection":      func(c *Config) { c.Conn = nil },
		"no mount":           func(c *Config) { c.Mount = "" },
		"mount upwards":      func(c *Config) { c.Mount = "kv/../sys" },
		"mount with spaces":  func(c *Config) { c.Mount = "k v" },
		"mount with nothing": func(c *Config) { c.Mount = "a//b" },
		"prefix upwards":     func(c *Config) { c.Prefix = ".." },
		"prefix of nothing":  func(c *Config) { c.Prefix = "/" },
		"prefix with a mark": func(c *Config) { c.Prefix = "=header" },
		"long prefix":        func(c *Config) { c.Prefix = strings.Repeat("p", maxPrefix+1) },
		"purpose":            func(c *Config) { c.Purpose = "test" },
		"staleness":          func(c *Config) { c.Staleness = MaxStaleness + 1 },
		"negative staleness": func(c *Config) { c.Staleness = -1 },
		"polling":            func(c *Config) { c.PollEvery = time.Millisecond },
		"parallel":           func(c *Config) { c.Parallel = MaxParallel + 1 },
		"negative parallel":  func(c *Config) { c.Parallel = -1 },
	} {
		c := good
		change(&c)
		if _, err := Open(t.Context(), c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestOpen(t *testing.T) {
	server := vaulttest.Shared(t)
	kv := func() string { return server.Mount(t, "kv", map[string]string{"version": "2"}) }
	try := func(c Config) (*Store, error) {
		c.Conn = server.Conn(t)
		s, err := Open(t.Context(), c)
		if err == nil {
			t.Cleanup(func() { _ = s.Close() })
		}
		return s, err
	}
	write := func(path string, data map[string]any) {
		if _, err := server.Client(t).Logical().WriteWithContext(t.Context(), path, data); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(what string, c Config, command string) {
		t.Helper()
		var wrong *MountError
		if _, err := try(c); !errors.As(err, &wrong) || !strings.Contains(wrong.Command, command) || !strings.Contains(err.Error(), wrong.Command) {
			t.Errorf("%s: %v, want an error that says to run %s", what, err, command)
		}
	}
	refused("no mount", Config{Mount: "nowhere", Create: true}, "vault secrets enable -path=nowhere -version=2 kv")
	refused("another engine", Config{Mount: server.Mount(t, "transit", nil), Create: true}, "vault secrets enable")
	refused("version 1", Config{Mount: server.Mount(t, "kv", map[string]string{"version": "1"}), Create: true}, "-version=2 kv")

	on := kv()
	if _, err := try(Config{Mount: on}); !errors.Is(err, ErrNoStore) {
		t.Errorf("no store: %v", err)
	}
	s, err := try(Config{Mount: on, Create: true})
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if h := s.Header(); h.Format != Format || h.Purpose != store.Production || time.Since(h.Created) > time.Hour || s.Atomic() {
		t.Errorf("%+v", h)
	}
	config, err := server.Client(t).Logical().ReadWithContext(t.Context(), on+"/config")
	if err != nil || config.Data["max_versions"].(interface{ String() string }).String() != "1" {
		t.Errorf("the engine's configuration is %v, %v", config, err)
	}
	for _, create := range []bool{false, true} {
		if again, err := try(Config{Mount: "/" + on + "/", Create: create}); err != nil || again.Header() != s.Header() {
			t.Errorf("open again: %v", err)
		}
		var purpose *PurposeError
		if _, err := try(Config{Mount: on, Purpose: store.Development, Create: create}); !errors.As(err, &purpose) || purpose.Have != store.Production {
			t.Errorf("open for development: %v", err)
		}
	}
	dev, err := try(Config{Mount: on, Prefix: "dev", Purpose: store.Development, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	var purpose *PurposeError
	if _, err := try(Config{Mount: on, Prefix: "dev"}); !errors.As(err, &purpose) || purpose.Want != store.Production {
		t.Errorf("open for production: %v", err)
	}
	apply(t, dev, store.Write{Key: "default/a", Value: []byte("x")})
	if _, err := s.Get(t.Context(), "default/a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("stores of one engine share records: %v", err)
	}

	for _, prefix := range []string{"vouchsafe/default", "dev/a/b"} {
		if _, err := try(Config{Mount: on, Prefix: prefix, Create: true}); !errors.Is(err, ErrNotStore) {
			t.Errorf("a store inside another, at %s: %v", prefix, err)
		}
	}
	if _, err := try(Config{Mount: on, Prefix: "team/a", Create: true}); err != nil {
		t.Errorf("a store in a folder: %v", err)
	}
	if _, err := try(Config{Mount: on, Prefix: "team", Create: true}); !errors.Is(err, ErrNotStore) {
		t.Errorf("a store around another: %v", err)
	}

	write(on+"/config", map[string]any{"max_versions": 5})
	refused("more versions", Config{Mount: on}, "vault write "+on+"/config max_versions=1")
	if err := s.Check(t.Context()); err == nil {
		t.Error("Check does not see that more versions are kept")
	}
	write(on+"/config", map[string]any{"max_versions": 1, "delete_version_after": "1h"})
	refused("deletion after a time", Config{Mount: on}, "delete_version_after=0s")
	write(on+"/config", map[string]any{"delete_version_after": "0s"})
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}

	on = kv()
	write(on+"/data/somebody/else", map[string]any{"data": map[string]any{"password": "x"}})
	refused("an engine that others use", Config{Mount: on, Create: true}, "vault write "+on+"/config max_versions=1")
	write(on+"/config", map[string]any{"max_versions": 1})
	if _, err := try(Config{Mount: on, Create: true}); err != nil {
		t.Errorf("an engine that others use and that is set: %v", err)
	}
	if _, err := try(Config{Mount: on, Prefix: "somebody", Create: true}); !errors.Is(err, ErrNotStore) {
		t.Errorf("a folder that others use: %v", err)
	}

	// Headers that are not as they should be.
	hand := byHand(t, server, s)
	hand.s = &Store{config: Config{Mount: on, Prefix: DefaultPrefix}}
	var newer *header.FormatError
	hand.write(headerName, map[string]any{"format": 2})
	if _, err := try(Config{Mount: on, Create: true}); !errors.As(err, &newer) {
		t.Errorf("a newer format: %v", err)
	}
	hand.write(headerName, map[string]any{"format": 1})
	if _, err := try(Config{Mount: on, Create: true}); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("a damaged header: %v", err)
	}
	hand.do(http.MethodDelete, "data", headerName, nil)
	if _, err := try(Config{Mount: on, Create: true}); !errors.Is(err, ErrNotStore) {
		t.Errorf("a header that was deleted: %v", err)
	}
}

// TestOpenAtOnce has several brokers create one store.
func TestOpenAtOnce(t *testing.T) {
	server := vaulttest.Shared(t)
	on := server.Mount(t, "kv", map[string]string{"version": "2"})
	headers := make(chan header.Header, 8)
	var wait sync.WaitGroup
	for range cap(headers) {
		conn := server.Conn(t)
		wait.Go(func() {
			s, err := Open(t.Context(), Config{Conn: conn, Mount: on, Create: true})
			if err != nil {
				t.Error(err)
				return
			}
			headers <- s.Header()
			_ = s.Close()
		})
	}
	wait.Wait()
	close(headers)
	seen := make(map[header.Header]bool)
	for h := range headers {
		seen[h] = true
	}
	if len(seen) != 1 {
		t.Fatalf("%d stores were made", len(seen))
	}
}
