package vault

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
	"github.com/vouchsafe/vouchsafe/store/vaultconn/rights"
)

// unavailable holds that every call fails in the way that means "try again", and that none says a record is not there.
func unavailable(t *testing.T, s *Store, also error) {
	t.Helper()
	_, getErr := s.Get(t.Context(), "default/a")
	_, noneErr := s.Get(t.Context(), "default/none")
	_, listErr := s.List(t.Context(), "", "", 10)
	_, watchErr := s.Watch(t.Context(), "default/")
	_, sweepErr := s.Sweep(t.Context())
	for name, err := range map[string]error{
		"Get": getErr, "Get of nothing": noneErr, "List": listErr, "Watch": watchErr, "Sweep": sweepErr,
		"create": s.Apply(t.Context(), store.Write{Key: "default/new", Value: []byte("x")}),
		"update": s.Apply(t.Context(), store.Write{Key: "default/a", Version: 1, Value: []byte("x")}),
		"delete": s.Apply(t.Context(), store.Write{Key: "default/a", Version: 1}),
		"batch":  s.Apply(t.Context(), store.Write{Key: "default/b", Value: []byte("x")}, store.Write{Key: "default/c", Value: []byte("x")}),
		"large":  s.Apply(t.Context(), store.Write{Key: "default/l", Value: make([]byte, PartSize+1)}),
	} {
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) || also != nil && !errors.Is(err, also) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// works holds that the store serves what it held before an outage.
func works(t *testing.T, s *Store) {
	t.Helper()
	serves(t, s)
	expect(t, s, "default/a", 1, "as it was")
}

// serves holds that the store serves, which it may take a moment to after an outage. What default/a is does not matter: where Vault got a request and no answer came in
// time, it may have done what was asked, or do it yet.
func serves(t *testing.T, s *Store) {
	t.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err = s.Get(t.Context(), "default/a"); err == nil || errors.Is(err, store.ErrNotFound) {
			err = nil
			break
		}
	}
	if err != nil {
		t.Fatalf("after the outage: %v", err)
	}
	key := fmt.Sprintf("default/after/%d", time.Now().UnixNano())
	apply(t, s, store.Write{Key: key, Value: []byte("x")})
	apply(t, s, store.Write{Key: key, Version: 1})
}

// on is a store on a server of its own, with a record default/a.
func on(t *testing.T, server *vaulttest.Server, address string, timeout time.Duration) *Store {
	t.Helper()
	s := open(t, Config{Conn: connect(t, address, server.RootToken, timeout), Mount: mount(t, server)})
	apply(t, s, store.Write{Key: "default/a", Value: []byte("as it was")})
	return s
}

func TestSealedVault(t *testing.T) {
	server := vaulttest.Start(t)
	s := on(t, server, server.Address, 0)
	server.Seal(t)
	unavailable(t, s, nil)
	server.Unseal(t)
	works(t, s)
}

// crowd makes calls from many goroutines until stop is closed. Each creates records; it returns those that were created, and counts what the others came to.
func crowd(t *testing.T, s *Store, workers int, stop <-chan struct{}) (created map[string]bool, failed int) {
	t.Helper()
	var mu sync.Mutex
	created = make(map[string]bool)
	var wait sync.WaitGroup
	for worker := range workers {
		wait.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("default/crowd/%d-%d", worker, n)
				err := s.Apply(t.Context(), store.Write{Key: key, Value: []byte(key)})
				mu.Lock()
				if err == nil {
					created[key] = true
				} else {
					failed++
				}
				mu.Unlock()
				if err != nil && (!errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrConflict)) {
					t.Errorf("%s: %v", key, err)
				}
				if err != nil {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	wait.Wait()
	return created, failed
}

// TestKilledVault kills Vault while 64 write. What was said to be written is there afterwards, and nothing else is but what is in doubt. Vault's storage in
// files is not tried: Vault does not write them so that a kill leaves them whole, and then cannot read its own ("invalid ciphertext").
func TestKilledVault(t *testing.T) {
	for _, storage := range []string{"raft"} {
		t.Run(storage, func(t *testing.T) {
			server := vaulttest.Start(t, vaulttest.WithRaft(""))
			s := on(t, server, server.Address, time.Second)
			stop := make(chan struct{})
			time.AfterFunc(500*time.Millisecond, func() { server.Kill(t); time.AfterFunc(500*time.Millisecond, func() { close(stop) }) })
			created, failed := crowd(t, s, 64, stop)
			unavailable(t, s, nil)
			server.Restart(t)
			works(t, s)
			entries, err := s.List(t.Context(), "default/crowd/", "", 1_000_000)
			if err != nil {
				t.Fatal(err)
			}
			doubtful := 0
			for _, e := range entries {
				expect(t, s, e.Key, 1, e.Key)
				if !created[e.Key] {
					doubtful++
				}
				delete(created, e.Key)
			}
			if len(created) != 0 || doubtful > failed || failed == 0 {
				t.Errorf("%d records that were written are gone, %d are there that were not said to be, of %d in doubt", len(created), doubtful, failed)
			}
			t.Logf("%d records, %d of them in doubt; %d calls failed", len(entries), doubtful, failed)
		})
	}
}

// bounded holds that what runs meanwhile takes no more goroutines and memory than the calls themselves.
func bounded(t *testing.T, calls int) func() {
	t.Helper()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	return func() {
		t.Helper()
		runtime.GC()
		runtime.ReadMemStats(&after)
		// A connection of HTTP has two goroutines, on this side.
		if now := runtime.NumGoroutine(); now > goroutines+4*calls+20 {
			t.Errorf("%d goroutines, %d before", now, goroutines)
		}
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
			t.Errorf("memory grew by %d MiB", grown>>20)
		}
	}
}

// TestFrozenVault stops Vault for ten seconds while 16 write: calls end by their time limit, and nothing piles up.
func TestFrozenVault(t *testing.T) {
	const workers = 16
	server := vaulttest.Start(t, vaulttest.WithFile(""))
	s := on(t, server, server.Address, 500*time.Millisecond)
	within := bounded(t, workers)
	server.Freeze(t)
	for err := error(nil); err == nil; { // a signal takes a moment to reach all of a process
		_, err = s.Get(t.Context(), "default/a")
	}
	start := time.Now()
	unavailable(t, s, nil)
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("ten calls took %v", took)
	}
	stop := make(chan struct{})
	time.AfterFunc(10*time.Second-min(time.Since(start), 9*time.Second), func() { within(); server.Thaw(t); time.AfterFunc(time.Second, func() { close(stop) }) })
	_, failed := crowd(t, s, workers, stop)
	if failed == 0 {
		t.Error("no call failed")
	}
	serves(t, s)
	within()
}

// TestSlowVault has answers come two seconds late, which is longer than this store waits: the writes happen and nobody knows.
func TestSlowVault(t *testing.T) {
	server := vaulttest.Shared(t)
	proxy := vaulttest.NewProxy(t, server.Address)
	s := on(t, server, proxy.Address, 500*time.Millisecond)
	proxy.SetLatency(2 * time.Second)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			err := s.Apply(t.Context(), store.Write{Key: fmt.Sprintf("default/slow/%d", i), Value: []byte("x")})
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("a write with a late answer: %v", err)
			}
		})
	}
	wait.Wait()
	proxy.SetLatency(0)
	for i := range 8 {
		key := fmt.Sprintf("default/slow/%d", i)
		var conflict *store.ConflictError
		if err := s.Apply(t.Context(), store.Write{Key: key, Value: []byte("twice")}); !errors.As(err, &conflict) || conflict.Have != 1 {
			t.Errorf("the second try: %v", err)
		}
		expect(t, s, key, 1, "x")
	}
	works(t, s)
}

// TestCutNetwork resets connections in the middle of what they carry, again and again.
func TestCutNetwork(t *testing.T) {
	server := vaulttest.Shared(t)
	proxy := vaulttest.NewProxy(t, server.Address)
	s := on(t, server, proxy.Address, time.Second)
	stop := make(chan struct{})
	go func() {
		for range 10 {
			time.Sleep(50 * time.Millisecond)
			proxy.Cut()
			time.Sleep(20 * time.Millisecond)
			proxy.Restore()
		}
		close(stop)
	}()
	created, failed := crowd(t, s, 16, stop)
	for key := range created {
		expect(t, s, key, 1, key)
	}
	if failed == 0 || len(created) == 0 {
		t.Errorf("%d created, %d failed", len(created), failed)
	}
	works(t, s)
}

func TestMountDeleted(t *testing.T) {
	server := vaulttest.Shared(t)
	s := on(t, server, server.Address, 0)
	cached, err := Open(t.Context(), Config{Conn: server.Conn(t), Mount: s.config.Mount, Staleness: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, cached, "default/a", 1, "as it was")
	sys := server.Client(t).Sys()
	if err := sys.UnmountWithContext(t.Context(), s.config.Mount); err != nil {
		t.Fatal(err)
	}
	unavailable(t, s, nil)
	time.Sleep(60 * time.Millisecond)
	unavailable(t, cached, nil)
	if err := s.Check(t.Context()); err == nil {
		t.Error("Check does not see it")
	}
	// Enabled again it is empty, which Check tells from the store that was opened.
	if err := sys.MountWithContext(t.Context(), s.config.Mount, &api.MountInput{Type: "kv", Options: map[string]string{"version": "2"}}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = s.Check(t.Context()); errors.Is(err, ErrNoStore) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("Check of an empty engine: %v", err)
		}
	}
	unavailable(t, s, store.ErrLost)
	open(t, Config{Conn: server.Conn(t), Mount: s.config.Mount})
	if err := s.Check(t.Context()); !errors.Is(err, ErrNotStore) || !errors.Is(err, store.ErrLost) {
		t.Errorf("Check of another store in the place: %v", err)
	}
	unavailable(t, s, store.ErrLost)
}

// TestStoreLost puts an empty engine in the place of the store's, and the store's back. Each call by itself notices both, and nothing is said not to be there.
func TestStoreLost(t *testing.T) {
	server := vaulttest.Shared(t)
	sys := server.Client(t).Sys()
	for name, call := range map[string]func(*Store) error{
		"a read":            func(s *Store) error { _, err := s.Get(t.Context(), "default/a"); return err },
		"a read of nothing": func(s *Store) error { _, err := s.Get(t.Context(), "default/none"); return err },
		"a listing":         func(s *Store) error { _, err := s.List(t.Context(), "default/", "", 10); return err },
		"an update": func(s *Store) error {
			return s.Apply(t.Context(), store.Write{Key: "default/a", Version: 1, Value: []byte("x")})
		},
		"a deletion": func(s *Store) error { return s.Apply(t.Context(), store.Write{Key: "default/a", Version: 1}) },
		"Check":      func(s *Store) error { return s.Check(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			var said lines
			s := open(t, Config{Conn: server.Conn(t), Mount: mount(t, server), PollEvery: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&said, nil))})
			apply(t, s, store.Write{Key: "default/a", Value: []byte("as it was")})
			events, err := s.Watch(t.Context(), "default/")
			if err != nil {
				t.Fatal(err)
			}
			remount(t, sys, s.config.Mount, s.config.Mount+"-aside")
			input := &api.MountInput{Type: "kv", Options: map[string]string{"version": "2"}, Config: api.MountConfigInput{}}
			if err := sys.MountWithContext(t.Context(), s.config.Mount, input); err != nil {
				t.Fatal(err)
			}
			time.Sleep(presentFor)
			var lost *LostError
			for end := time.Now().Add(10 * time.Second); !errors.As(err, &lost); time.Sleep(20 * time.Millisecond) {
				if err = call(s); time.Now().After(end) || !errors.Is(err, store.ErrUnavailable) { // a new engine is not ready at once
					t.Fatalf("with an empty engine in its place: %v", err)
				}
			}
			if lost.Store != s.header.Store || !errors.Is(err, store.ErrLost) || !errors.Is(err, ErrNoStore) || !errors.Is(s.Lost(), store.ErrLost) {
				t.Errorf("%v", err)
			}
			unavailable(t, s, store.ErrLost)
			if err := sys.UnmountWithContext(t.Context(), s.config.Mount); err != nil {
				t.Fatal(err)
			}
			remount(t, sys, s.config.Mount+"-aside", s.config.Mount)
			works(t, s)
			if s.Lost() != nil {
				t.Errorf("it is back: %v", s.Lost())
			}
			for { // nobody is told that its records are gone
				e, open := <-events
				if !open || e.Key == "default/a" {
					t.Fatalf("watched: %+v, %v", e, open)
				}
				if strings.HasPrefix(e.Key, "default/after/") && e.Version == 0 {
					break
				}
			}
			if n := strings.Count(said.String(), "level=ERROR"); n != 1 || !strings.Contains(said.String(), "the store is back") {
				t.Errorf("said:\n%s", said.String())
			}
		})
	}
}

// lines is what a logger wrote.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func remount(t *testing.T, sys *api.Sys, from, to string) {
	t.Helper()
	if err := sys.RemountWithContext(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
}

// token makes a token that has these rights and no others.
func token(t *testing.T, server *vaulttest.Server, name string, may []rights.Right) string {
	t.Helper()
	if err := server.Client(t).Sys().PutPolicyWithContext(t.Context(), name, rights.HCL(may)); err != nil {
		t.Fatal(err)
	}
	secret, err := server.Client(t).Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{Policies: []string{name}})
	if err != nil {
		t.Fatal(err)
	}
	return secret.Auth.ClientToken
}

// TestRights holds that the rights which are said to be enough are, and that without them, or without the token, each call says what is missing.
func TestRights(t *testing.T) {
	server := vaulttest.Shared(t)
	on := server.Mount(t, "kv", map[string]string{"version": "2"})
	needs := rights.Store{Mount: on, Prefix: DefaultPrefix}
	create := rights.Store{Mount: on, Prefix: DefaultPrefix, Create: true}
	maker := connect(t, server.Address, token(t, server, on+"-create", create.Rights()), 0)
	if _, err := Open(t.Context(), Config{Conn: maker, Mount: on, Create: true}); err != nil {
		t.Fatalf("create: %v", err)
	}
	user := token(t, server, on, needs.Rights())
	s, err := Open(t.Context(), Config{Conn: connect(t, server.Address, user, 0), Mount: on, PollEvery: 20 * time.Millisecond})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer s.Close()
	apply(t, s, store.Write{Key: "default/a", Value: []byte("as it was")}, store.Write{Key: "default/b", Value: make([]byte, store.MaxValue)})
	apply(t, s, store.Write{Key: "default/b", Version: 1, Value: []byte("x")})
	if entries, err := s.List(t.Context(), "", "", 10); err != nil || len(entries) != 2 {
		t.Errorf("List: %v, %v", entries, err)
	}
	if _, err := s.Watch(t.Context(), ""); err != nil {
		t.Errorf("Watch: %v", err)
	}
	if _, err := s.Sweep(t.Context()); err != nil {
		t.Errorf("Sweep: %v", err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	apply(t, s, store.Write{Key: "default/b", Version: 2})
	works(t, s)

	token(t, server, on, []rights.Right{{Path: "nothing", Capabilities: []string{"read"}}}) // the policy changes under the token
	unavailable(t, s, vaultconn.ErrForbidden)
	_, err = s.Get(t.Context(), "default/a")
	if err == nil || !strings.Contains(err.Error(), "/data/"+DefaultPrefix+"/default/a") || strings.Contains(err.Error(), user) {
		t.Errorf("the error does not say which path is meant, or says the token: %v", err)
	}
	token(t, server, on, needs.Rights())
	works(t, s)

	if err := server.Client(t).Auth().Token().RevokeTreeWithContext(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	unavailable(t, s, vaultconn.ErrForbidden)
}
