package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
)

func newID16() (id [16]byte) {
	_, _ = rand.Read(id[:])
	return id
}

func TestMemorySpentIsBounded(t *testing.T) {
	m := NewMemorySpent(100)
	now := start
	first := newID16()
	if err := m.Spend(t.Context(), first, now, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for range 99 {
		if err := m.Spend(t.Context(), newID16(), now, now.Add(5*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Spend(t.Context(), newID16(), now, now.Add(5*time.Minute)); !errors.Is(err, ErrFull) {
		t.Errorf("one more than it holds: %v", err)
	}
	if err := m.Spend(t.Context(), first, now, now.Add(time.Minute)); !errors.Is(err, ErrSpent) {
		t.Errorf("when it is full, what is spent stays spent: %v", err)
	}
	// When the first has expired there is room for one.
	now = now.Add(time.Minute + generation)
	if err := m.Spend(t.Context(), newID16(), now, now.Add(5*time.Minute)); err != nil {
		t.Errorf("after an expiry: %v", err)
	}
	if err := m.Spend(t.Context(), newID16(), now, now.Add(5*time.Minute)); !errors.Is(err, ErrFull) {
		t.Errorf("full again: %v", err)
	}
	now = now.Add(time.Hour)
	if err := m.Spend(t.Context(), newID16(), now, now.Add(5*time.Minute)); err != nil || m.Len() != 1 || len(m.tables) != 1 {
		t.Errorf("after an hour: %v, %d remembered in %d tables", err, m.Len(), len(m.tables))
	}
}

func TestMemorySpentRefusesWhatItForgot(t *testing.T) {
	m := NewMemorySpent(0)
	id, until := newID16(), start.Add(time.Minute)
	for _, now := range []time.Time{start, start.Add(time.Hour), start} {
		err := m.Spend(t.Context(), id, now, until)
		switch {
		case now.Equal(start) && err == nil && m.floor == generationOf(start):
		case errors.Is(err, ErrExpired):
		default:
			t.Errorf("at %v: %v", now, err)
		}
	}
}

// TestMemorySpentCost holds the constant's comment to the truth.
func TestMemorySpentCost(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a set of the default size")
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m := NewMemorySpent(0)
	for i := range DefaultSpent {
		until := start.Add(time.Duration(i%300) * time.Second)
		if err := m.Spend(context.Background(), newID16(), start, until); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	size := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d nonces in %.1f MB", m.Len(), float64(size)/1e6)
	if size > 48e6 {
		t.Errorf("the set takes %d bytes", size)
	}
	runtime.KeepAlive(m)
}

func openBolt(t testing.TB) store.Store {
	t.Helper()
	s, err := bolt.Open(bolt.Config{Path: filepath.Join(t.TempDir(), "store.db"), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func shared(t testing.TB, s store.Store, limit int) *SharedSpent {
	t.Helper()
	spent, err := StoreSpent(s, "sys/spent", limit)
	if err != nil {
		t.Fatal(err)
	}
	return spent
}

func records(t testing.TB, s store.Store) int {
	t.Helper()
	entries, err := s.List(t.Context(), "sys/spent/", "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestSharedSpentAmongBrokers(t *testing.T) {
	s := openBolt(t)
	a := newNonces(t, NoncesConfig{Spent: shared(t, s, 0)})
	b := newNonces(t, NoncesConfig{Spent: shared(t, s, 0)})
	nonce, _ := issue(t, a, testScope)
	if err := b.Spend(t.Context(), nonce, testScope); err != nil {
		t.Fatalf("a nonce of another broker: %v", err)
	}
	for name, n := range map[string]*Nonces{"its issuer": a, "who spent it": b} {
		if err := n.Spend(t.Context(), nonce, testScope); !errors.Is(err, ErrSpent) {
			t.Errorf("again at %s: %v", name, err)
		}
	}
	// After a restart nothing but the store remembers.
	again := newNonces(t, NoncesConfig{Spent: shared(t, s, 0)})
	if err := again.Spend(t.Context(), nonce, testScope); !errors.Is(err, ErrSpent) {
		t.Errorf("again after a restart: %v", err)
	}
	nonce, _ = issue(t, a, testScope)
	brokers := make(chan *Nonces, 64)
	for range 32 {
		brokers <- a
		brokers <- b
	}
	if wins := race(t, func() error { return (<-brokers).Spend(t.Context(), nonce, testScope) }); wins != 1 {
		t.Errorf("spent %d times", wins)
	}
}

func TestSharedSpentPrunes(t *testing.T) {
	s := openBolt(t)
	clock := newWall(start)
	spent := shared(t, s, 0)
	n := newNonces(t, NoncesConfig{Now: clock.now, Spent: spent})
	var first string
	for i := range 40 {
		nonce, _ := issue(t, n, testScope)
		if i == 0 {
			first = nonce
		}
		if err := n.Spend(t.Context(), nonce, testScope); err != nil {
			t.Fatal(err)
		}
	}
	if got := records(t, s); got != 40 {
		t.Fatalf("%d records", got)
	}
	// Expired, but a broker whose clock is behind might take them for good.
	clock.add(DefaultLifetime + time.Minute)
	if removed, err := spent.Prune(t.Context(), clock.now()); removed != 0 || err != nil {
		t.Fatalf("removed %d too early, %v", removed, err)
	}
	clock.add(pruneAfter)
	for range 2 * pruneEvery {
		nonce, _ := issue(t, n, testScope)
		if err := n.Spend(t.Context(), nonce, testScope); err != nil {
			t.Fatal(err)
		}
	}
	if got := records(t, s); got != 2*pruneEvery {
		t.Errorf("%d records are left, not the %d live ones", got, 2*pruneEvery)
	}
	// The set itself refuses what it removed, whatever the clock shows.
	raw, _ := parseNonce(first)
	if err := spent.Spend(t.Context(), [16]byte(raw[:16]), start, start.Add(DefaultLifetime)); !errors.Is(err, ErrExpired) {
		t.Errorf("a removed nonce: %v", err)
	}
}

// counting counts the records that are asked for in lists: a store in Vault asks for each of them.
type counting struct {
	store.Store
	listed atomic.Int64
}

func (c *counting) List(ctx context.Context, prefix, after string, limit int) ([]store.Entry, error) {
	entries, err := c.Store.List(ctx, prefix, after, limit)
	c.listed.Add(int64(len(entries)))
	return entries, err
}

// TestSharedSpentLooksAtLittle: that nothing is old enough costs next to nothing to find out, and what is old goes all the same, also when there is much of it.
func TestSharedSpentLooksAtLittle(t *testing.T) {
	s := &counting{Store: openBolt(t)}
	clock := newWall(start)
	spent := shared(t, s, 0)
	spend := func(count int) {
		t.Helper()
		until := clock.now().Add(DefaultLifetime)
		for range count {
			if err := spent.Spend(t.Context(), newID16(), clock.now(), until); err != nil {
				t.Fatal(err)
			}
		}
	}
	spend(20 * pruneEvery)
	if n := s.listed.Load(); n > 1 {
		t.Errorf("%d records were looked at of which none is old", n)
	}
	clock.add(pruneQuiet)
	spend(pruneEvery)
	if n := s.listed.Load(); n > 2 {
		t.Errorf("a minute later, %d", n)
	}
	clock.add(DefaultLifetime + pruneAfter + time.Second)
	s.listed.Store(0)
	spend(6 * pruneEvery) // each time more goes than comes
	if n := records(t, s.Store); n != 6*pruneEvery {
		t.Errorf("%d records are left, not the %d live ones", n, 6*pruneEvery)
	}
	if n := s.listed.Load(); n > 21*pruneEvery+6*(prunePage+1) {
		t.Errorf("%d records were looked at to remove %d", n, 21*pruneEvery)
	}
}

func TestSharedSpentFails(t *testing.T) {
	s := openBolt(t)
	n := newNonces(t, NoncesConfig{Spent: shared(t, s, 2)})
	for i := range 3 {
		nonce, _ := issue(t, n, testScope)
		if err := n.Spend(t.Context(), nonce, testScope); i < 2 && err != nil || i == 2 && !errors.Is(err, ErrFull) {
			t.Fatalf("nonce %d: %v", i, err)
		}
	}
	n = newNonces(t, NoncesConfig{Spent: shared(t, s, 0)})
	nonce, _ := issue(t, n, testScope)
	_ = s.Close()
	if err := n.Spend(t.Context(), nonce, testScope); !errors.Is(err, store.ErrClosed) {
		t.Errorf("over a closed store: %v", err)
	}
	for _, prefix := range []string{"", "/", "sys/sp ent", "sys//spent"} {
		if _, err := StoreSpent(s, prefix, 0); err == nil {
			t.Errorf("prefix %q accepted", prefix)
		}
	}
	if _, err := StoreSpent(nil, "sys/spent", 0); err == nil {
		t.Error("no store accepted")
	}
}

func ExampleNonces() {
	nonces, err := NewNonces(NoncesConfig{Key: testKey, Spent: NewMemorySpent(0)})
	if err != nil {
		panic(err)
	}
	scope := Scope{Protocol: "native", Namespace: "default", Kind: "snp"}
	nonce, _, _ := nonces.Issue(scope)
	fmt.Println(nonces.Spend(context.Background(), nonce, scope))
	fmt.Println(nonces.Spend(context.Background(), nonce, scope))
	// Output:
	// <nil>
	// nonce was used already
}
