package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/crash"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/seal"
	"github.com/vouchsafe/vouchsafe/store/seal/transit"
	"github.com/vouchsafe/vouchsafe/store/vault"
)

// place is a store below its seal, which can be opened again and again, as processes do that end in between.
type place struct {
	name string
	seal seal.Seal
	open func(t *testing.T) store.Store
}

// sealed opens a place, which it makes where there is none. through, which may be nil, puts something between the store and the seal.
func (p *place) sealed(t *testing.T, through func(store.Store) store.Store) *seal.Store {
	t.Helper()
	inner := p.open(t)
	if err := seal.Init(t.Context(), inner, p.seal, seal.Config{}); err != nil && !errors.Is(err, seal.ErrAlreadySealed) {
		t.Fatal(err)
	}
	if through != nil {
		inner = through(inner)
	}
	s, err := seal.Open(t.Context(), inner, p.seal, seal.Config{Exclusive: inner.Atomic()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newKeyFile(t *testing.T) seal.Seal {
	t.Helper()
	k, err := seal.CreateKeyFile(filepath.Join(t.TempDir(), "key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func onBolt(t *testing.T) *place {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	return &place{"bolt", newKeyFile(t), func(t *testing.T) store.Store {
		t.Helper()
		s, err := bolt.Open(bolt.Config{Path: path, Create: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}}
}

var prefixes atomic.Int64

// onVault is a store in Vault, sealed by Vault's transit engine.
func onVault(t *testing.T) *place {
	t.Helper()
	server := vaulttest.Shared(t)
	conn := server.Conn(t)
	mount, engine := server.Mount(t, "kv", map[string]string{"version": "2"}), server.Mount(t, "transit", nil)
	server.Write(t, engine+"/keys/k", nil)
	key, err := transit.New(transit.Config{Conn: conn, Mount: engine, Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	prefix := fmt.Sprintf("s%d", prefixes.Add(1))
	return &place{"vault", key, func(t *testing.T) store.Store {
		t.Helper()
		s, err := vault.Open(t.Context(), vault.Config{Conn: conn, Mount: mount, Prefix: prefix, Create: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}}
}

// fill writes records, some of them several times so that they have versions.
func fill(t *testing.T, s store.Store, n int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	value := func(size int) []byte {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	keys := []string{"sys/keys/log", "sys/audit/head", "sys/brokers/1", "default/empty", "default/a=b", "default/~!*'();", "default/" + strings.Repeat("x", 255), "a/b/c/d/e/f/g/h/i/j/k/l"}
	for i := range max(0, n-len(keys)) {
		keys = append(keys, fmt.Sprintf("default/secrets/%04d", i))
	}
	for i, key := range keys {
		size := random.IntN(200)
		if key == "default/empty" {
			size = 0
		}
		for version := range uint64(1 + i%3) {
			if err := s.Apply(t.Context(), store.Write{Key: key, Version: version, Value: value(size)}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// contents are all records of a store but the migration's own.
func contents(t *testing.T, s store.Store) map[string]string {
	t.Helper()
	entries, err := s.List(t.Context(), "", "", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		if e.Key == RecordKey {
			continue
		}
		r, err := s.Get(t.Context(), e.Key)
		if err != nil {
			t.Fatal(err)
		}
		all[e.Key] = string(r.Value)
	}
	return all
}

func versions(t *testing.T, s store.Store) []store.Entry {
	t.Helper()
	entries, err := s.List(t.Context(), "", "", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

var errDead = errors.New("the process was killed")

// mortal is a store that stops working at its kth Apply, as if the process were killed then.
type mortal struct {
	store.Store
	how string // "before", "within" or "after" the kth Apply

	mu   sync.Mutex
	left int
}

func (m *mortal) Apply(ctx context.Context, writes ...store.Write) error {
	m.mu.Lock()
	m.left--
	left := m.left
	m.mu.Unlock()
	if left < 0 {
		return errDead
	}
	if left > 0 {
		return m.Store.Apply(ctx, writes...)
	}
	switch {
	case m.how == "after":
		_ = m.Store.Apply(ctx, writes...)
	case m.how == "within" && !m.Atomic() && len(writes) > 1:
		_ = m.Store.Apply(ctx, writes[:len(writes)/2]...)
	}
	return errDead
}

func (m *mortal) Get(ctx context.Context, key string) (store.Record, error) {
	if m.dead() {
		return store.Record{}, errDead
	}
	return m.Store.Get(ctx, key)
}

func (m *mortal) List(ctx context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	if m.dead() {
		return nil, errDead
	}
	return m.Store.List(ctx, prefix, after, limit)
}

func (m *mortal) dead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left <= 0
}

// expectSame checks that a migration is finished and that the target has what the source has.
func expectSame(t *testing.T, report Report, source, target *seal.Store) {
	t.Helper()
	want, got := contents(t, source), contents(t, target)
	if !maps.Equal(want, got) {
		t.Fatalf("%d records in the source, %d in the target, and they are not the same", len(want), len(got))
	}
	if report.Records != len(want) || len(report.Digest) != 64 {
		t.Errorf("the report is %+v, for %d records", report, len(want))
	}
	if err := Check(t.Context(), target); err != nil {
		t.Errorf("it is not finished: %v", err)
	}
}

func TestMigrate(t *testing.T) {
	for _, test := range []struct {
		name     string
		from, to func(*testing.T) *place
		records  int
		page     int
		step     int // of the crashes
	}{
		{"bolt to bolt", onBolt, onBolt, 24, 7, 2},
		{"bolt to vault", onBolt, onVault, 16, 5, 7},
		{"vault to bolt", onVault, onBolt, 16, 5, 5},
		{"vault to vault", onVault, onVault, 12, 8, 9},
	} {
		if crash.Rounds(t, 0) > 0 {
			test.step = 1 // for a release: at every write
		}
		t.Run(test.name, func(t *testing.T) {
			source := test.from(t).sealed(t, nil)
			fill(t, source, test.records)
			before := versions(t, source)
			target := test.to(t).sealed(t, nil)
			config := Config{Source: source, Target: target, From: "here", To: "there", page: test.page}
			report, err := Run(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			expectSame(t, report, source, target)
			if report.Written != report.Records || report.Resumed || report.Removed != 0 {
				t.Errorf("report %+v", report)
			}
			planned, err := Plan(t.Context(), Config{Source: source})
			if err != nil || planned.Digest != report.Digest || planned.Records != report.Records || planned.Bytes != report.Bytes {
				t.Errorf("plan %+v, %v; report %+v", planned, err, report)
			}
			if _, err := Run(t.Context(), config); !errors.Is(err, ErrFinished) {
				t.Errorf("migrated twice: %v", err)
			}

			for _, how := range []string{"before", "within", "after"} {
				kills := 0
				for k := 1; ; k += test.step {
					to := test.to(t)
					if !kill(t, config, to, how, k) {
						break
					}
					kills++
					target := to.sealed(t, nil)
					// The last write may have been made, and be all that the run had left to do.
					finished := how == "after" && Check(t.Context(), target) == nil && maps.Equal(contents(t, source), contents(t, target))
					if err := Check(t.Context(), target); err == nil && len(contents(t, target)) > 0 && !finished {
						t.Errorf("killed %s write %d: a broker would open it", how, k)
					}
					again := config
					again.Target = target
					report, err := Run(t.Context(), again)
					if err != nil {
						if !errors.Is(err, ErrFinished) || !finished {
							t.Fatalf("killed %s write %d: %v", how, k, err)
						}
						report = planned
					}
					expectSame(t, report, source, target)
					if err := target.Close(); err != nil {
						t.Error(err)
					}
				}
				if kills < 2 {
					t.Errorf("killed %d times", kills)
				}
			}
			if after := versions(t, source); !slices.Equal(before, after) {
				t.Error("the source was changed")
			}
		})
	}
}

// kill runs a migration that is killed at its kth write, and reports whether it was, rather than having finished before.
func kill(t *testing.T, c Config, to *place, how string, k int) bool {
	t.Helper()
	c.Target = to.sealed(t, func(s store.Store) store.Store { return &mortal{Store: s, how: how, left: k} })
	defer c.Target.Close()
	_, err := Run(t.Context(), c)
	if err != nil && !errors.Is(err, errDead) {
		t.Fatalf("killed %s write %d: %v", how, k, err)
	}
	return err != nil
}

// TestKilledAgainAndAgain kills every run but the last, each a little further.
func TestKilledAgainAndAgain(t *testing.T) {
	source := onBolt(t).sealed(t, nil)
	fill(t, source, 120)
	to := onBolt(t)
	runs := 0
	for kill(t, Config{Source: source, page: 10}, to, "before", 5) {
		if runs++; runs > 100 {
			t.Fatal("it does not get on")
		}
	}
	expectSame(t, Report{Records: 120, Digest: strings.Repeat("0", 64)}, source, to.sealed(t, nil))
	if runs < 5 {
		t.Errorf("killed %d times only", runs)
	}
}

// TestSourceGoesOn has the source change after a run was killed, as it does when its broker is started again meanwhile.
func TestSourceGoesOn(t *testing.T) {
	for _, when := range []int{3, 8, 100} {
		source := onBolt(t).sealed(t, nil)
		fill(t, source, 100)
		to := onBolt(t)
		kill(t, Config{Source: source, page: 10}, to, "after", when)
		put := func(key string, version uint64, value []byte) {
			t.Helper()
			if err := source.Apply(t.Context(), store.Write{Key: key, Version: version, Value: value}); err != nil {
				t.Fatal(err)
			}
		}
		version := func(key string) uint64 {
			r, err := source.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			return r.Version
		}
		put("default/empty", version("default/empty"), []byte("not empty"))
		put("default/secrets/0001", version("default/secrets/0001"), nil)
		put("default/secrets/0001x", 0, []byte("new"))
		put("zzz/last", 0, []byte("new"))
		// The same version, with another value.
		put("a/b/c/d/e/f/g/h/i/j/k/l", version("a/b/c/d/e/f/g/h/i/j/k/l"), nil)
		put("a/b/c/d/e/f/g/h/i/j/k/l", 0, []byte("another"))
		put("a/b/c/d/e/f/g/h/i/j/k/l", 1, []byte("another one"))
		target := to.sealed(t, nil)
		report, err := Run(t.Context(), Config{Source: source, Target: target, page: 10})
		if errors.Is(err, ErrFinished) {
			continue
		}
		if err != nil {
			t.Fatalf("killed at %d: %v", when, err)
		}
		expectSame(t, report, source, target)
	}
}

// TestBrokerAtWork writes to the source in each stage: the migration must not become valid, and must when it is run again.
func TestBrokerAtWork(t *testing.T) {
	for _, stage := range []Stage{Copy, Compare, Settle} {
		source := onBolt(t).sealed(t, nil)
		fill(t, source, 100)
		target := onBolt(t).sealed(t, nil)
		var once sync.Once
		c := Config{Source: source, Target: target, page: 10}
		c.Progress = func(p Progress) {
			if p.Stage == stage {
				once.Do(func() {
					for _, w := range []store.Write{{Key: "default/a", Value: []byte("x")}, {Key: "zzz/a", Value: []byte("x")}} {
						if err := source.Apply(t.Context(), w); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
		_, err := Run(t.Context(), c)
		if !errors.Is(err, ErrChanged) && !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v", stage, err)
		}
		if err := Check(t.Context(), target); !errors.Is(err, ErrUnfinished) {
			t.Errorf("%s: the target is valid: %v", stage, err)
		}
		report, err := Run(t.Context(), c)
		if err != nil {
			t.Fatalf("%s: %v", stage, err)
		}
		expectSame(t, report, source, target)
	}
}

func TestRefusals(t *testing.T) {
	source, other := onBolt(t).sealed(t, nil), onBolt(t).sealed(t, nil)
	fill(t, source, 30)
	fill(t, other, 30)
	busy := errors.New("a broker runs")
	to := onBolt(t)
	kill(t, Config{Source: other, page: 10}, to, "after", 4)
	begun := to.sealed(t, nil)
	idle := func(context.Context) error { return busy }
	for name, test := range map[string]struct {
		c    Config
		want error
	}{
		"not empty":           {Config{Source: source, Target: other}, ErrNotEmpty},
		"itself":              {Config{Source: source, Target: source}, ErrSame},
		"another's":           {Config{Source: source, Target: begun}, ErrOther},
		"a broker at work":    {Config{Source: source, Target: onBolt(t).sealed(t, nil), Idle: idle}, busy},
		"settling goes wrong": {Config{Source: source, Target: onBolt(t).sealed(t, nil), Settle: func(context.Context, store.Store) error { return busy }}, busy},
	} {
		if _, err := Run(t.Context(), test.c); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if test.c.Settle != nil {
			if err := Check(t.Context(), test.c.Target); !errors.Is(err, ErrUnfinished) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if test.want != ErrSame && test.c.Idle == nil {
			if _, err := Plan(t.Context(), test.c); !errors.Is(err, test.want) {
				t.Errorf("%s: plan: %v", name, err)
			}
		}
	}
}

// TestTargetIsChanged has somebody write to the target between copying and comparing.
func TestTargetIsChanged(t *testing.T) {
	for name, change := range map[string]func(*seal.Store) store.Write{
		"changed": func(s *seal.Store) store.Write {
			return store.Write{Key: "default/empty", Version: 1, Value: []byte("x")}
		},
		"removed": func(s *seal.Store) store.Write { return store.Write{Key: "default/empty", Version: 1} },
		"more":    func(s *seal.Store) store.Write { return store.Write{Key: "default/more", Value: []byte("x")} },
		"last":    func(s *seal.Store) store.Write { return store.Write{Key: "zzz/more", Value: []byte("x")} },
	} {
		source, target := onBolt(t).sealed(t, nil), onBolt(t).sealed(t, nil)
		fill(t, source, 100)
		var once sync.Once
		c := Config{Source: source, Target: target, page: 10}
		c.Progress = func(p Progress) {
			if p.Stage == Copy && p.Records == 100 {
				once.Do(func() {
					if err := target.Apply(t.Context(), change(target)); err != nil {
						t.Error(err)
					}
				})
			}
		}
		_, err := Run(t.Context(), c)
		if name == "last" { // what comes after the last key is looked at after the last page
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else if !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		} else if _, err := Run(t.Context(), c); err != nil {
			t.Errorf("%s: again: %v", name, err)
		}
		if !maps.Equal(contents(t, source), contents(t, target)) {
			t.Errorf("%s: the target has not what the source has", name)
		}
	}
}

// TestTwoAtOnce has two migrations to one target: whatever happens, the target is whole in the end.
func TestTwoAtOnce(t *testing.T) {
	source, target := onBolt(t).sealed(t, nil), onBolt(t).sealed(t, nil)
	fill(t, source, 300)
	var both sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		both.Go(func() { _, errs[i] = Run(t.Context(), Config{Source: source, Target: target, page: 10}) })
	}
	both.Wait()
	good := 0
	for _, err := range errs {
		switch {
		case err == nil:
			good++
		case !errors.Is(err, ErrBusy) && !errors.Is(err, ErrFinished):
			t.Error(err)
		}
	}
	if good == 0 {
		if _, err := Run(t.Context(), Config{Source: source, Target: target}); err != nil {
			t.Fatal(err)
		}
	}
	if err := Check(t.Context(), target); err != nil || !maps.Equal(contents(t, source), contents(t, target)) {
		t.Errorf("%v", err)
	}
}

// flaky is a store that is away from time to time, having made the write or not.
type flaky struct {
	store.Store
	n atomic.Int64
}

func (f *flaky) Apply(ctx context.Context, writes ...store.Write) error {
	switch f.n.Add(1) % 9 {
	case 4:
		return store.ErrUnavailable
	case 8:
		_ = f.Store.Apply(ctx, writes...)
		return store.ErrUnavailable
	}
	return f.Store.Apply(ctx, writes...)
}

func TestStoreComesAndGoes(t *testing.T) {
	source := onBolt(t).sealed(t, nil)
	fill(t, source, 100)
	target := onBolt(t).sealed(t, func(s store.Store) store.Store { return &flaky{Store: s} })
	c, err := Config{Source: source, Target: target, page: 10}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	m := &migration{Config: c, source: source, target: target, pauses: make([]time.Duration, 20)}
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectSame(t, m.report, source, target)
}

// TestLargestFromVault moves a record of the largest size, from Vault, where it is in parts.
func TestLargestFromVault(t *testing.T) {
	source, target := onVault(t).sealed(t, nil), onBolt(t).sealed(t, nil)
	value := bytes.Repeat([]byte("0123456789abcdef"), seal.MaxValue/16)
	if err := source.Apply(t.Context(), store.Write{Key: "default/large", Value: value}); err != nil {
		t.Fatal(err)
	}
	report, err := Run(t.Context(), Config{Source: source, Target: target})
	if err != nil {
		t.Fatal(err)
	}
	expectSame(t, report, source, target)
}
