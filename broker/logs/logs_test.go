package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/keys"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
	"github.com/vouchsafe/vouchsafe/store/storetest"
)

// clock is set by tests.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }

func (c *clock) add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.at = c.at.Add(d) }

func newClock() *clock { return &clock{at: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)} }

func newSteps(t *testing.T) *storetest.Steps {
	t.Helper()
	file, err := bolt.Open(bolt.Config{Path: filepath.Join(t.TempDir(), "store"), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return storetest.NewSteps(file)
}

func config(t *testing.T, s store.Store, now func() time.Time) Config {
	t.Helper()
	ring, err := keys.Open(t.Context(), keys.Config{Store: s, Origin: "test/log"})
	if err != nil {
		t.Fatal(err)
	}
	return Config{Store: s, Keys: ring, Name: "here", Now: now, Logger: slog.New(slog.DiscardHandler), Beat: time.Hour}
}

func open(t *testing.T, steps *storetest.Steps, now func() time.Time) *Set {
	t.Helper()
	set, err := Open(t.Context(), config(t, steps.Open(), now))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

func TestSlots(t *testing.T) {
	steps, at := newSteps(t), newClock()
	one, two := open(t, steps, at.now), open(t, steps, at.now)
	if one.Slot() != 1 || two.Slot() != 2 {
		t.Fatalf("slots %d and %d", one.Slot(), two.Slot())
	}
	if _, err := one.Append(t.Context(), []byte("one")); err != nil {
		t.Fatal(err)
	}
	r, err := two.Append(t.Context(), []byte("two"))
	if err != nil {
		t.Fatal(err)
	}
	// Each reads the other's, whose names and keys differ.
	log, err := one.LogWith(t.Context(), 2, r.Index)
	if err != nil {
		t.Fatal(err)
	}
	if entry, err := log.Entry(t.Context(), r.Index); err != nil || string(entry) != "two" {
		t.Errorf("%q, %v", entry, err)
	}
	list, err := one.List(t.Context(), one.config.Keys)
	if err != nil || len(list) != 2 || list[0].Origin != "test/log/1" || list[1].Origin != "test/log/2" || !list[0].Active {
		t.Fatalf("%+v, %v", list, err)
	}
	for i, key := range []string{list[0].Key, list[1].Key} {
		verifier, err := note.NewVerifier(key)
		if err != nil {
			t.Fatal(err)
		}
		for j, set := range []*Set{one, two} {
			_, err := audit.VerifyCheckpoint(note.VerifierList(verifier), verifier.Name(), set.Own().Checkpoint())
			if (err == nil) != (i == j) {
				t.Errorf("log %d by the key of %d: %v", j+1, i+1, err)
			}
		}
	}
	if _, err := one.Log(t.Context(), 3); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a log that there is not: %v", err)
	}
	// A slot that was given back is gone on with.
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, steps, at.now)
	if again.Slot() != 1 || again.Own().Size() != 1 {
		t.Errorf("slot %d with %d entries", again.Slot(), again.Own().Size())
	}
}

func TestNoSlotLeft(t *testing.T) {
	steps, at := newSteps(t), newClock()
	s := steps.Open()
	for slot := 1; slot <= MaxSlots; slot++ {
		if _, err := take(t.Context(), s, "instance", "name", at.now); err != nil {
			t.Fatalf("slot %d: %v", slot, err)
		}
	}
	if _, err := Open(t.Context(), config(t, steps.Open(), at.now)); !errors.Is(err, ErrNoSlot) {
		t.Fatalf("the 65th broker: %v", err)
	}
	at.add(Lapse + store.MaxSkew + time.Second)
	if set := open(t, steps, at.now); set.Slot() != 1 {
		t.Errorf("slot %d after all lapsed", set.Slot())
	}
}

func TestTakenAtOnce(t *testing.T) {
	steps, at := newSteps(t), newClock()
	var (
		mu    sync.Mutex
		slots []int
		wg    sync.WaitGroup
	)
	for range 16 {
		wg.Go(func() {
			c, err := take(t.Context(), steps.Open(), "instance", "name", at.now)
			for errors.Is(err, store.ErrUnavailable) {
				c, err = take(t.Context(), steps.Open(), "instance", "name", at.now)
			}
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			slots = append(slots, c.slot)
		})
	}
	wg.Wait()
	slices.Sort(slots)
	if len(slots) != 16 || len(slices.Compact(slots)) != 16 {
		t.Errorf("slots %v", slots)
	}
}

// TestFence has a broker that cannot renew its claim stop committing long before another may take it, and go on when it can.
func TestFence(t *testing.T) {
	steps, at := newSteps(t), newClock()
	view := steps.Open()
	reachable := &switched{Store: view}
	set, err := Open(t.Context(), config(t, reachable, at.now))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	at.add(Fence)
	reachable.off.Store(true)
	if _, err := set.Append(t.Context(), []byte("late")); !errors.Is(err, store.ErrUnavailable) || set.Check() == nil {
		t.Errorf("without a renewal: %v", err)
	}
	other := open(t, steps, at.now)
	if other.Slot() != 2 {
		t.Errorf("a claim that has not lapsed was taken")
	}
	reachable.off.Store(false) // the next commit renews it
	if _, err := set.Append(t.Context(), []byte("in time")); err != nil || set.Slot() != 1 || set.Check() != nil {
		t.Errorf("after a renewal: %v", err)
	}
}

// switched is a store that cannot be written to while it is off.
type switched struct {
	store.Store
	off atomic.Bool
}

func (s *switched) Apply(ctx context.Context, writes ...store.Write) error {
	if s.off.Load() {
		return fmt.Errorf("%w: switched off", store.ErrUnavailable)
	}
	return s.Store.Apply(ctx, writes...)
}

// TestClaimGone removes a broker's claim, as when its mount was wiped: it begins no other log, and says what is wrong.
func TestClaimGone(t *testing.T) {
	steps, at := newSteps(t), newClock()
	set := open(t, steps, at.now)
	s := steps.Open()
	r, err := s.Get(t.Context(), claimKey(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), store.Write{Key: r.Key, Version: r.Version}); err != nil {
		t.Fatal(err)
	}
	set.renew(t.Context())
	at.add(Fence)
	if _, err := set.Append(t.Context(), []byte("x")); !errors.Is(err, store.ErrUnavailable) || set.Slot() != 1 || set.Check() == nil {
		t.Errorf("slot %d: %v", set.Slot(), err)
	}
}

// TestTakeOver pauses a broker until another has its slot. What it was about to commit fails, whatever its clock says; it then goes on with another slot.
func TestTakeOver(t *testing.T) {
	steps, at := newSteps(t), newClock()
	still := newClock() // the paused broker's clock stands still
	paused := open(t, steps, still.now)
	if _, err := paused.Append(t.Context(), []byte("before")); err != nil {
		t.Fatal(err)
	}
	at.add(Lapse + store.MaxSkew + time.Second)
	next := open(t, steps, at.now)
	if next.Slot() != 1 {
		t.Fatalf("slot %d", next.Slot())
	}
	if _, err := next.Append(t.Context(), []byte("after")); err != nil {
		t.Fatal(err)
	}
	_, err := paused.Append(t.Context(), []byte("paused"), store.Write{Key: "a/b", Value: []byte("x")})
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "another broker") {
		t.Errorf("%v", err)
	}
	if _, err := steps.Open().Get(t.Context(), "a/b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("changed all the same: %v", err)
	}
	paused.renew(t.Context())
	if paused.Slot() != 2 || paused.Check() != nil {
		t.Errorf("slot %d, %v", paused.Slot(), paused.Check())
	}
	if _, err := paused.Append(t.Context(), []byte("with another")); err != nil {
		t.Error(err)
	}
	// A rotation of data keys writes the claim again, which is not a loss of it.
	r, err := next.config.Store.Get(t.Context(), claimKey(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := next.config.Store.Apply(t.Context(), store.Write{Key: r.Key, Version: r.Version, Value: r.Value}); err != nil {
		t.Fatal(err)
	}
	if err := next.own.Load().claim.Renew(t.Context()); err != nil {
		t.Error(err)
	}
}
