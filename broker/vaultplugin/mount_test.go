package vaultplugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vouchsafe/vouchsafe/broker"
)

// counted is Vault's storage where reads are counted.
type counted struct {
	logical.InmemStorage
	reads atomic.Int64
}

func (c *counted) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	c.reads.Add(1)
	return c.InmemStorage.Get(ctx, key)
}

const production = `{"issuer":"https://vault.example/v1/vouchsafe","kinds":["snp"]}`

// TestACoreThatCannotBeMadeIsNotMadeForEveryRequest: what a stranger's requests cost while a mount is broken is bounded, each attempt is in the log with its cause,
// nobody who asks is told the cause, and what was put right counts after the pause, or at once where a configuration put it right.
func TestACoreThatCannotBeMadeIsNotMadeForEveryRequest(t *testing.T) {
	var (
		now    = time.Now()
		logged bytes.Buffer
		s      = &counted{}
	)
	m := NewMount(Options{Logger: slog.New(slog.NewTextHandler(&logged, nil)), Now: func() time.Time { return now }})
	t.Cleanup(m.Close)
	if _, err := m.Configure(t.Context(), s, []byte(production)); err != nil {
		t.Fatal(err)
	}
	m.Close()
	config, err := s.InmemStorage.Get(t.Context(), configPath)
	if err != nil {
		t.Fatal(err)
	}
	broken := &logical.StorageEntry{Key: configPath, Value: []byte(strings.Replace(string(config.Value), `"collateral_dir":""`, `"collateral_dir":"/of/the/machine"`, 1))}
	if err := s.Put(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	ask := func() *broker.Error {
		t.Helper()
		var told *broker.Error
		err := m.Broker(t.Context(), s, func(*broker.Broker, *Config) error { return nil })
		if !errors.As(err, &told) || told.Code != broker.CodeUnavailable || strings.Contains(told.Message, "machine") {
			t.Fatalf("%v", err)
		}
		return told
	}
	attempts := func() int { return strings.Count(logged.String(), "a mount is not ready") }
	ask()
	before := s.reads.Load()
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() { _ = m.Broker(t.Context(), s, func(*broker.Broker, *Config) error { return nil }) })
	}
	wait.Wait()
	if s.reads.Load() != before || attempts() != 1 || !strings.Contains(logged.String(), "/of/the/machine") {
		t.Errorf("%d reads, %d attempts: %s", s.reads.Load()-before, attempts(), logged.String())
	}
	// Each attempt is further from the next, up to a bound, by which the answer says when to come back.
	pause := time.Duration(0)
	for n := 2; n < 10; n++ {
		now = now.Add(m.failed.pause)
		told := ask()
		if attempts() != n || m.failed.pause < pause || m.failed.pause > lastPause || told.RetryAfter != m.failed.pause {
			t.Fatalf("attempt %d of %d: after %v, then %v, told %v", attempts(), n, pause, m.failed.pause, told.RetryAfter)
		}
		pause = m.failed.pause
	}
	if pause != lastPause {
		t.Errorf("the last pause is %v", pause)
	}
	// A clock that goes back does not keep a mount from being tried.
	now = now.Add(-time.Hour)
	if ask(); attempts() != 10 {
		t.Errorf("%d attempts", attempts())
	}
	// A request that gave up says nothing of the next.
	m.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Broker(ended, s, func(*broker.Broker, *Config) error { return nil }); err == nil || m.failed.err != nil {
		t.Errorf("%v, kept %v", err, m.failed.err)
	}
	ask()
	if _, err := m.Configure(t.Context(), s, []byte(`{"collateral_dir":""}`)); err != nil {
		t.Fatal(err)
	}
	if err := m.Broker(t.Context(), s, func(*broker.Broker, *Config) error { return nil }); err != nil {
		t.Error(err)
	}
}

// TestCollateralDirIsBelowTheFolderOfTheRegistration is about an operator of a mount who has no right on Vault's machine.
func TestCollateralDirIsBelowTheFolderOfTheRegistration(t *testing.T) {
	root := t.TempDir()
	for _, c := range []struct {
		registered, dir string
		good            bool
	}{
		{"", "", true}, {root, "", true}, {root, root, true}, {root, filepath.Join(root, "a", "b"), true}, {root, root + "/a/../b", true},
		{"", root, false}, {root, "/", false}, {root, filepath.Dir(root), false}, {root, root + "-beside", false}, {root, root + "/../x", false},
		{root, root + "/a/../../x", false}, {root, "a", false}, {root, ".", false}, {root, "../" + filepath.Base(root), false}, {root, root + "/a\x00/b", false},
	} {
		m := NewMount(Options{Collateral: c.registered, Logger: slog.New(slog.DiscardHandler)})
		text := strings.Replace(production, "{", `{"collateral_dir":`+quoted(t, c.dir)+",", 1)
		_, err := m.Configure(t.Context(), &logical.InmemStorage{}, []byte(text))
		m.Close()
		var told *broker.Error
		if c.good && err != nil || !c.good && (!errors.As(err, &told) || told.Code != broker.CodeInvalid) {
			t.Errorf("%q, registered for %q: %v", c.dir, c.registered, err)
		}
	}
}

func quoted(t *testing.T, text string) string {
	t.Helper()
	b, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
