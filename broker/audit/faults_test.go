package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/store"
)

// fault is what happens to an Apply.
type fault int

const (
	none   fault = iota
	before       // nothing is written, and it fails
	after        // all is written, and it fails
	late         // it fails, and is written some time later unless that conflicts
	part         // a part is written, as a store that is not atomic may, and it fails
	faults
)

// faulty is a real store whose Apply fails as next says.
type faulty struct {
	store.Store
	atomic bool
	mu     sync.Mutex
	next   func() fault
	pick   func(n int) int // how many of n writes a part is
	behind sync.WaitGroup
}

func (f *faulty) Atomic() bool { return f.atomic }

func (f *faulty) Apply(ctx context.Context, writes ...store.Write) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	injected := fmt.Errorf("%w: injected", store.ErrUnavailable)
	switch kind := f.next(); {
	case kind == before:
		return injected
	case kind == after:
		if err := f.Store.Apply(ctx, writes...); err != nil {
			return err
		}
		return injected
	case kind == late && f.atomic:
		f.behind.Go(func() {
			time.Sleep(time.Millisecond)
			f.Store.Apply(context.Background(), writes...)
		})
		return injected
	case kind == part && !f.atomic:
		if err := f.conflict(ctx, writes); err != nil {
			return err
		}
		for _, w := range writes[:f.pick(len(writes))] {
			if err := f.Store.Apply(ctx, w); err != nil {
				return err
			}
		}
		return injected
	default:
		return f.Store.Apply(ctx, writes...)
	}
}

func (f *faulty) conflict(ctx context.Context, writes []store.Write) error {
	for _, w := range writes {
		record, err := f.Store.Get(ctx, w.Key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if record.Version != w.Version {
			return &store.ConflictError{Key: w.Key, Have: record.Version, Want: w.Version}
		}
	}
	return nil
}

// acked is what a caller was told is recorded.
type acked struct {
	entry   []byte
	receipt Receipt
}

// TestFaults appends while the store fails in every way. Nothing acknowledged is lost, the log never forks, and an entry and its write
// are there together.
func TestFaults(t *testing.T) {
	for _, atomic := range []bool{true, false} {
		t.Run(fmt.Sprintf("atomic=%v", atomic), func(t *testing.T) {
			real := newBolt(t)
			random := rand.New(rand.NewPCG(3, 4))
			f := &faulty{Store: real, atomic: atomic, next: func() fault { return none }}
			f.pick = func(n int) int { return random.IntN(n + 1) }
			config := testConfig(t, f)
			config.MaxBatch = 100
			l := mustOpen(t, config)
			f.next = func() fault {
				if random.IntN(3) > 0 {
					return none
				}
				return fault(random.IntN(int(faults)))
			}

			var mu sync.Mutex
			var kept []acked
			failed := 0
			var wg sync.WaitGroup
			for caller := range 8 {
				wg.Go(func() {
					for i := range 150 {
						entry := fmt.Appendf(nil, "caller %d entry %d", caller, i)
						key := fmt.Sprintf("a/%d/%d", caller, i)
						r, err := l.Append(t.Context(), entry, store.Write{Key: key, Value: entry})
						mu.Lock()
						switch {
						case err == nil:
							kept = append(kept, acked{entry, r})
						case errors.Is(err, store.ErrUnavailable):
							failed++
						default:
							t.Errorf("append: %v", err)
						}
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			f.behind.Wait()
			if len(kept) < 300 || failed < 50 {
				t.Fatalf("%d recorded and %d failed: the test does not test", len(kept), failed)
			}
			f.next = func() fault { return none }
			shown := l.Checkpoint()
			l.Close()
			checkKept(t, mustOpen(t, config), kept, shown)
			if atomic {
				checkTogether(t, mustOpen(t, config), real)
			} else {
				checkCovered(t, mustOpen(t, config), real)
			}
		})
	}
}

// checkKept holds a log that was opened again against what it acknowledged.
func checkKept(t *testing.T, l *Log, kept []acked, shown []byte) {
	t.Helper()
	if _, err := auditLog(t, l, shown); err != nil {
		t.Fatal(err)
	}
	now := l.Head()
	for _, k := range kept {
		then := verifyReceipt(t, k.entry, k.receipt)
		proof, err := l.Consistency(t.Context(), then.Size, now.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := VerifyConsistency(then, now, proof); err != nil {
			t.Fatal(err)
		}
		if entry, err := l.Entry(t.Context(), k.receipt.Index); err != nil || !bytes.Equal(entry, k.entry) {
			t.Fatalf("entry %d was acknowledged as %q and is %q, %v", k.receipt.Index, k.entry, entry, err)
		}
	}
}

// checkCovered checks that each record under "a" has its entry in the log, which may have others.
func checkCovered(t *testing.T, l *Log, s store.Store) {
	t.Helper()
	entries := make(map[string]bool)
	for entry, err := range l.Entries(t.Context(), 0, l.Size()) {
		if err != nil {
			t.Fatal(err)
		}
		entries[string(entry.Data)] = true
	}
	page, err := s.List(t.Context(), "a/", "", 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page {
		record, err := s.Get(t.Context(), e.Key)
		if err != nil {
			t.Fatal(err)
		}
		if !entries[string(record.Value)] {
			t.Errorf("the write of %q is there, and no entry", record.Value)
		}
	}
}

// checkTogether checks that the records under "a" are those of the entries in the log, no more and no less.
func checkTogether(t *testing.T, l *Log, s store.Store) {
	t.Helper()
	written := make(map[string]bool)
	after := ""
	for {
		page, err := s.List(t.Context(), "a/", after, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			record, err := s.Get(t.Context(), e.Key)
			if err != nil {
				t.Fatal(err)
			}
			written[string(record.Value)] = true
			after = e.Key
		}
		if len(page) < 100 {
			break
		}
	}
	for entry, err := range l.Entries(t.Context(), 0, l.Size()) {
		if err != nil {
			t.Fatal(err)
		}
		if !written[string(entry.Data)] {
			t.Errorf("entry %q is in the log, and its write is not there", entry.Data)
		}
		delete(written, string(entry.Data))
	}
	for value := range written {
		t.Errorf("the write of %q is there, and no entry", value)
	}
}

// contend has callers append to two logs over one store at the same time, each entry with the writes that effects makes for it and a key of its own, and
// returns what was acknowledged. Both logs are in order afterwards.
func contend(t *testing.T, logs []*Log, effects func(key string, entry []byte) []store.Write) []acked {
	t.Helper()
	var (
		mu   sync.Mutex
		kept []acked
		wg   sync.WaitGroup
	)
	for caller := range 8 {
		wg.Go(func() {
			for i := range 40 {
				entry := fmt.Appendf(nil, "caller %d entry %d", caller, i)
				r, err := logs[caller%2].Append(t.Context(), entry, effects(fmt.Sprintf("a/%d/%d", caller, i), entry)...)
				if errors.Is(err, store.ErrUnavailable) {
					continue // the other was faster too often
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				kept = append(kept, acked{entry, r})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, l := range logs {
		if _, err := auditLog(t, l, nil); err != nil {
			t.Fatal(err)
		}
	}
	return kept
}

// TestTwoWriters has two logs on one atomic store, as two processes would: both append, neither forks.
func TestTwoWriters(t *testing.T) {
	s := newBolt(t)
	logs := []*Log{mustOpen(t, testConfig(t, s))}
	logs = append(logs, mustOpen(t, testConfig(t, s)))
	kept := contend(t, logs, func(string, []byte) []store.Write { return nil })
	if len(kept) < 100 {
		t.Fatalf("%d recorded", len(kept))
	}
	checkKept(t, mustOpen(t, testConfig(t, s)), kept, logs[0].Checkpoint())
}
